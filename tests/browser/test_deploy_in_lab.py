"""A person's afternoon: the deploy notebook in JupyterLab, the approval page in the next tab."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect
from tests.support.chromium import connected, press, question, screenshot
from tests.support.jupyter import TOKEN, Home, Server, home, server
from tests.support.page import PROGRAM, page_server
from tests.support.policies import write_policy

from keyless.localaws.server import LocalAws
from keyless_sidecar.policy.loading import built_in_text

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01-deploy-lambda.ipynb"
SLOW = "%secure_exec wait 60"


@pytest.fixture(scope="module")
def lab() -> Iterator[Server]:
    """JupyterLab with the notebook, the built-in policy, and a key of a local AWS in the vault."""
    with home() as place, LocalAws() as aws:
        _furnish(place, aws)
        with server(place, program="jupyterlab") as started:
            yield started


def _furnish(place: Home, aws: LocalAws) -> None:
    write_policy(place.folder / "config" / "keyless" / "policy.cedar", built_in_text("default"))
    wait = {"path": "/usr/bin/sleep", "delivery": "none", "timeout": 90}
    place.configure(
        f"c.Tools.declared = { ({'wait': wait})!r}\n"
        "c.Tools.aws = None\n"
        f"c.Egress.upstreams = {{'*.amazonaws.com': {aws.endpoint!r}}}\n"
    )
    fields = {
        "access_key_id": aws.access_key_id,
        "secret_access_key": aws.secret_access_key,
        "region": aws.region,
    }
    subprocess.run(
        [PROGRAM, "vault", "add", "aws", "--from-stdin"],
        input=json.dumps(fields),
        text=True,
        check=True,
        capture_output=True,
        env=place.variables(),
    )
    book = json.loads(NOTEBOOK.read_text())
    cell = {"cell_type": "code", "source": SLOW, "id": "slow", "metadata": {}}
    book["cells"].insert(0, cell | {"outputs": [], "execution_count": None})
    (place.root / "deploy.ipynb").write_text(json.dumps(book))


async def _menu(page: Page, menu: str, item: str) -> None:
    await page.locator(".lm-MenuBar-itemLabel", has_text=menu).first.click()
    await page.locator(".lm-Menu-itemLabel", has_text=item).first.click()


async def test_a_deployment_is_allowed_in_part(browser: Browser, lab: Server) -> None:
    context = await browser.new_context(viewport={"width": 1400, "height": 900})
    try:
        with page_server(lab.home.folder / "runtime") as served:
            page = await context.new_page()
            page.set_default_timeout(30_000)
            await page.goto(f"{lab.url}lab/tree/deploy.ipynb?token={TOKEN}")
            await page.locator(".keyless-status", has_text="namespaces").wait_for()
            approvals = await connected(context, served.link)

            # A command that takes too long is stopped; that ends the run of the other cells, too.
            await page.bring_to_front()
            await _menu(page, "Run", "Run All Cells")
            await approvals.bring_to_front()
            await press(approvals.locator("#running-list .card"), "Stop wait")
            await page.bring_to_front()
            await expect(page.locator(".jp-OutputArea").first).to_contain_text("A person stopped")

            # The notebook itself: one change is allowed, the next one isn't.
            await page.locator(".jp-CodeCell").nth(1).locator(".cm-content").click()
            await _menu(page, "Run", "Run Selected Cell and All Below")
            await expect(page.locator(".keyless-status")).to_contain_text("1 waiting for you")
            await approvals.bring_to_front()
            asked = question(approvals, "create-function")
            await expect(asked).to_contain_text("deploy.ipynb")
            await expect(asked).to_contain_text("aws:lambda:CreateFunction")
            await expect(asked).to_contain_text("function.zip")
            await press(asked, "Allow once")
            asked = question(approvals, "dusk.png")
            await asked.get_by_placeholder("a sentence for the cell").fill("no pictures today")
            await press(asked, "Deny")

            # Both sides tell the same.
            entries = approvals.locator(".entry")
            for words, state in (
                ("wait 60", "stopped"),
                ("lambda create-function", "done"),
                ("s3 cp dusk.png", "denied"),
            ):
                await expect(entries.filter(has_text=words).first).to_contain_text(state)
            await screenshot(approvals, "deploy-timeline")
            await page.bring_to_front()
            refused = page.locator(".jp-OutputArea", has_text="PolicyDenied")
            await expect(refused).to_contain_text("no pictures today")
            await expect(page.locator(".keyless-below", has_text="denied")).to_have_count(1)
            await refused.scroll_into_view_if_needed()
            await screenshot(page, "deploy-in-lab")
    finally:
        await context.close()
