"""A real kernel, a local AWS, and a person at the page: allow, deny, stop, watch.

The pictures of the documentation are made here, in ``build/screenshots``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from jupyter_client.manager import AsyncKernelManager
from playwright.async_api import Browser, Locator, Page, expect
from tests.support.chromium import opened, press, question, screenshot, until
from tests.support.kernels import SANDBOX_UID, Cell
from tests.support.page import Served, page_server
from tests.support.policies import write_policy
from tests.support.sidecar import leaky

from keyless.localaws.server import LocalAws

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: What is in force where a person wrote no policy.
DEFAULT = Path(__file__).parents[2] / "sidecar" / "keyless_sidecar" / "policy" / "default.cedar"

CREATE = """%%secure_exec aws
lambda create-function --function-name thumbnailer --runtime python3.11 \\
    --region us-east-1 --role arn:aws:iam::123456789012:role/lambda-run \\
    --handler handler.handler --zip-file fileb://function.zip"""
CALL = "%secure_call s3 put_object {'Bucket': 'pictures', 'Key': 'index.html', 'Body': 'hello'}"


class Kernel:
    """A real kernel, as a Jupyter server starts it, and a client of it."""

    def __init__(self) -> None:
        self.manager = AsyncKernelManager(kernel_name="keyless")

    async def start(self, **options: Any) -> None:
        await self.manager.start_kernel(**options)
        self._client = self.manager.client()
        self._client.start_channels()
        await self._client.wait_for_ready(timeout=60)

    def cell(self, code: str) -> asyncio.Future[Cell]:
        """Run a cell; give its result later."""
        return asyncio.ensure_future(self._run(code))

    async def _run(self, code: str) -> Cell:
        messages: list[dict[str, Any]] = []
        reply = await self._client.execute_interactive(
            code, timeout=40, output_hook=messages.append, allow_stdin=False
        )
        return Cell(messages, reply)

    async def stop(self) -> None:
        self._client.stop_channels()
        await self.manager.shutdown_kernel(now=True)


@dataclass
class Scene:
    """A kernel of a person, the page for it, and the AWS that it acts on."""

    kernel: Kernel
    served: Served
    aws: LocalAws

    def cell(self, code: str) -> asyncio.Future[Cell]:
        """Run a cell in it; give its result later."""
        return self.kernel.cell(code)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Scene]:
    """One of each."""
    home = Path(tempfile.mkdtemp(prefix="kl-"))
    home.chmod(0o755)
    for name in ("config", "data", "runtime"):
        (home / name).mkdir(mode=0o700)
    workspace = home / "work"
    workspace.mkdir()
    with zipfile.ZipFile(workspace / "function.zip", "w") as archive:
        archive.writestr("handler.py", "def handler(event, context):\n    return event\n")
    if os.geteuid() == 0:
        os.chown(workspace, SANDBOX_UID, SANDBOX_UID)
    write_policy(home / "config" / "keyless" / "policy.cedar", DEFAULT.read_text())
    with LocalAws(bucket="pictures") as aws, pytest.MonkeyPatch.context() as patch:
        for name in ("config", "data", "runtime"):
            patch.setenv(f"JUPYTER_{name.upper()}_DIR", str(home / name))
        (home / "config" / "jupyter_keyless_config.py").write_text(
            f"c.Tools.declared = { ({'report': leaky()})!r}\n"
            f"c.Egress.upstreams = {{'*.amazonaws.com': {aws.endpoint!r}}}\n"
        )
        key = {"access_key_id": aws.access_key_id, "secret_access_key": aws.secret_access_key}
        kernel = Kernel()
        await kernel.start(
            env={**os.environ, "JPY_SESSION_NAME": "thumbnails/deploy.ipynb"},
            keyless_workspace=str(workspace),
            keyless_credentials=[
                {"name": "work", "kind": "aws", "fields": key | {"region": aws.region},
                 "tools": ["aws", "sdk"]},
                {"name": "reports", "kind": "generic", "tools": ["report"],
                 "fields": {"value": "kJ7vQ2xW9mZ4tR8bN3cY6hL1pD5sF0gA"}},
            ],
        )  # fmt: skip
        try:
            with page_server(home / "runtime") as served:
                yield Scene(kernel, served, aws)
        finally:
            await kernel.stop()
            shutil.rmtree(home, ignore_errors=True)


async def settled(page: Page, asked: Locator) -> None:
    """As somebody sees it who comes to the page now: only what waits, ready to be pressed."""
    await page.mouse.move(1, 1)
    await page.evaluate("document.activeElement.blur()")
    await expect(page.locator(".question.done")).to_have_count(0, timeout=9000)
    await expect(asked.get_by_role("button", name="Deny")).to_have_attribute(
        "aria-disabled", "false"
    )


async def test_a_person_allows_denies_stops_and_watches(browser: Browser, scene: Scene) -> None:
    async with opened(browser, scene.served.link) as page:
        kernel = page.locator(".kernel")
        await expect(kernel).to_contain_text("deploy.ipynb")
        await expect(kernel.locator(".badge.level")).to_contain_text("namespaces")
        await expect(kernel).to_contain_text("holds placeholders for work")

        done = await scene.cell("%%secure_exec aws\nsts get-caller-identity")
        assert not done.error

        # Stopped.
        slow = scene.cell("%secure_exec report sleep 20")
        await press(question(page, "report"), "Allow for this kernel for")
        await press(page.locator("#running-list .card"), "Stop report")
        assert "A person stopped report" in (await slow).error

        # Allowed.
        cell = scene.cell(CREATE)
        asked = question(page, "create-function")
        await asked.wait_for()
        text = await asked.inner_text()
        for part in ("deploy.ipynb", "aws:lambda:CreateFunction", "changes something", "work",
                     "us-east-1", "FunctionName", "thumbnailer", "function.zip", "sha256",
                     "It changes something in AWS, which a person must approve."):  # fmt: skip
            assert part in text, text
        await settled(page, asked)
        await screenshot(page, "approval-page")
        await press(asked, "Allow once")
        created = await cell
        assert "thumbnailer" in created.text, created.error

        # Denied: nothing reaches AWS.
        before = len(scene.aws.requests)
        cell = scene.cell("%secure_exec aws lambda delete-function --function-name thumbnailer")
        asked = question(page, "delete-function")
        await asked.get_by_placeholder("a sentence for the cell").fill("we still need it")
        await press(asked, "Deny")
        assert "PolicyDenied" in (await cell).error
        assert "we still need it" in (await cell).error
        assert len(scene.aws.requests) == before

        # The timeline has it all.
        entries = page.locator(".entry")
        for words, state in (
            ("lambda create-function", "done"),
            ("lambda delete-function", "denied"),
            ("report sleep", "stopped"),
        ):
            await expect(entries.filter(has_text=words)).to_contain_text(state)
        lanes = await page.locator("#chart svg text.lane").all_text_contents()
        assert lanes == ["reports", "work"]
        await screenshot(page, "timeline", "#timeline")
        await entries.filter(has_text="create-function").locator("summary").click()
        await expect(page.locator(".records")).to_contain_text("approval.answer")


async def test_a_call_without_a_tool_asks_here_too(browser: Browser, scene: Scene) -> None:
    async with opened(browser, scene.served.link, color_scheme="dark") as page:
        cell = scene.cell(CALL)
        asked = question(page, "PutObject")
        await asked.wait_for()
        await settled(page, asked)
        await screenshot(page, "approval-page-dark")
        await press(asked, "Allow once")
        assert not (await cell).error
        await until(lambda: page.locator(".entry .badge.ok", has_text="done").count())


async def test_two_kernels_and_a_small_screen(browser: Browser, scene: Scene) -> None:
    async with opened(browser, scene.served.link, width=320, height=700) as page:
        other = Kernel()
        await other.start()
        try:
            await expect(page.locator(".kernel")).to_have_count(2)
            cell = scene.cell("%secure_exec aws s3 rm s3://pictures/index.html")
            asked = question(page, "s3://pictures/index.html")
            await asked.wait_for()
            await settled(page, asked)
            await screenshot(page, "approval-page-small", "#questions")
            await press(asked, "Deny")
            await cell
        finally:
            await other.stop()
        await expect(page.locator(".kernel")).to_have_count(1)
