"""JupyterLab in a real browser: what a person sees, and what a hostile notebook gets there."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from tests.support.chromium import connected, press, question
from tests.support.jupyter import TOKEN, Home, Server, home, server
from tests.support.page import page_server

from keyless.control_client import ControlClient, kernels

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: What any page of another origin tries.
ATTACK = (Path(__file__).parent / "hostile_page.js").read_text()
HOSTILE = (Path(__file__).parent / "hostile.js").read_text()
#: Looks like a token of GitHub's.
PASTED = "ghp_" + "aB3d" * 9
CELLS = (
    "from keyless import secure_exec\n"
    "secure_exec('say', ['read it', '<img src=x onerror=alert(1)>']).stdout",
    "%secure_exec say 'write it'",
    f"from IPython.display import HTML\nHTML('<script>' + {HOSTILE!r} + '</script>')",
    f"key = '{PASTED}'",
)
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"


@pytest.fixture(scope="module")
def place() -> Iterator[Home]:
    with home() as made:
        settings = made.folder / "config" / "labconfig"
        settings.mkdir()
        # It would ask whether it may fetch news from the network.
        disabled = {"@jupyterlab/apputils-extension:announcements": True}
        (settings / "page_config.json").write_text(json.dumps({"disabledExtensions": disabled}))
        spec = {"name": "keyless", "display_name": "Python 3 (Keyless)", "language": "python"}
        cells = [
            {"cell_type": "code", "source": code, "id": f"c{number}", "metadata": {}}
            | {"outputs": [], "execution_count": None}
            for number, code in enumerate(CELLS)
        ]
        book = {"cells": cells, "metadata": {"kernelspec": spec}, "nbformat": 4}
        (made.root / "book.ipynb").write_text(json.dumps(book | {"nbformat_minor": 5}))
        yield made


@pytest.fixture(scope="module")
def lab(place: Home) -> Iterator[Server]:
    with server(place, program="jupyterlab") as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(lab: Server, browser: Browser) -> AsyncIterator[Page]:
    """The notebook, open, with its kernel running."""
    context = await browser.new_context(viewport={"width": 1400, "height": 900})
    opened = await context.new_page()
    opened.set_default_timeout(30_000)
    await opened.goto(f"{lab.url}lab/tree/book.ipynb?token={TOKEN}")
    await opened.locator(".keyless-status", has_text="namespaces").wait_for()
    yield opened
    await context.close()


async def run(page: Page, number: int) -> None:
    """Run one cell, as a person does."""
    await page.locator(".jp-CodeCell").nth(number).locator(".cm-content").click()
    await page.keyboard.press("Shift+Enter")


async def shot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / f"{name}.png")


@contextlib.asynccontextmanager
async def person(lab: Server) -> AsyncIterator[ControlClient]:
    """Somebody who may answer, at a terminal."""
    (kernel,) = (await asyncio.to_thread(lab.ask, "GET", "api/kernels")).json
    control = ControlClient(kernels(lab.home.folder / "runtime")[kernel["id"]], via="terminal")

    async def listen() -> None:
        async with contextlib.aclosing(control.events()) as events:
            async for _ in events:
                pass

    task = asyncio.create_task(listen())
    while not (await control.status())["approvers"]:
        await asyncio.sleep(0.05)
    yield control
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_audit_stands_beside_its_cell(page: Page) -> None:
    await run(page, 0)
    below = page.locator(".jp-CodeCell").nth(0).locator(".keyless-below")
    await expect(below).to_contain_text("done")
    await expect(below).to_contain_text("say 'read it' '<img src=x onerror=alert(1)>'")
    assert await page.locator(".keyless-below img, .keyless-panel img").count() == 0
    await page.locator(".keyless-status").click()
    panel = page.locator(".keyless-panel")
    await expect(panel).to_contain_text("Nobody answers questions now")
    await expect(panel.locator(".keyless-list .keyless-entry")).to_have_count(1)
    await panel.locator(".keyless-cell", has_text="[1]").click()
    await shot(page, "lab-audit")


async def test_a_question_is_told_of(page: Page, lab: Server) -> None:
    async with person(lab) as control:
        await run(page, 1)
        await expect(page.locator(".keyless-status")).to_contain_text("1 waiting for you")
        toast = page.locator(".jp-toast-message")
        await expect(toast).to_contain_text("say waits for your answer")
        await expect(toast).to_contain_text("jupyter keyless page")
        await shot(page, "lab-question")
        (question,) = await control.pending()
        await control.deny(question["id"], "not today")
        below = page.locator(".jp-CodeCell").nth(1).locator(".keyless-below")
        await expect(below).to_contain_text("denied")
        await expect(toast).to_have_count(0)


async def test_a_script_in_an_output_approves_nothing(page: Page, lab: Server) -> None:
    """It runs in the person's own session, in JupyterLab's page, while a question waits."""
    await run(page, 2)  # from now on the script waits for its moment
    async with person(lab) as control:
        await run(page, 1)
        await expect(page.locator(".keyless-status")).to_contain_text("1 waiting for you")
        (question,) = await control.pending()
        await page.wait_for_function("() => window.keylessAttempts", timeout=60_000)
        attempts: dict[str, Any] = await page.evaluate("() => window.keylessAttempts")
        assert [each["id"] for each in await control.pending()] == [question["id"]]
        await control.deny(question["id"])
    assert attempts["look"]["status"] == 200
    for name, got in attempts.items():
        if name not in ("look", "channels"):
            assert not str(got["status"]).startswith("2"), (name, got)
    running = (await asyncio.to_thread(lab.ask, "GET", "api/kernels")).json
    assert [each["name"] for each in running] == ["keyless"]
    told = json.dumps(attempts)
    token = (kernels(lab.home.folder / "runtime")[running[0]["id"]] / "control.token").read_text()
    assert token.strip() not in told
    assert [str(path) for path in lab.home.folder.rglob("evil.py")] == []


@pytest.mark.attack(
    wall="origin and bearer token of the approval page",
    title="Approve by a script in JupyterLab's page, with the approval page open in the next tab",
)
async def test_nor_does_it_with_the_approval_page_in_the_next_tab(page: Page, lab: Server) -> None:
    with page_server(lab.home.folder / "runtime") as served:
        approvals = await connected(page.context, served.link)
        await run(page, 1)
        asked = question(approvals, "write it")
        await expect(asked).to_contain_text("book.ipynb")
        (kernel,) = kernels(lab.home.folder / "runtime").items()
        (waits,) = await ControlClient(kernel[1]).pending()
        order = json.dumps({"kernel": kernel[0], "id": waits["id"]})
        assert await page.evaluate(ATTACK, [served.origin, order, "A" * 43]) == []
        # Nor does it find the other tab's token in anything that the two might share.
        shared = await page.evaluate(
            "[document.cookie, JSON.stringify(localStorage), JSON.stringify(sessionStorage)].join()"
        )
        assert served.token not in shared
        assert [each["id"] for each in await ControlClient(kernel[1]).pending()] == [waits["id"]]
        await approvals.bring_to_front()
        await press(asked, "Allow once")
        below = page.locator(".jp-CodeCell").nth(1).locator(".keyless-below")
        await expect(below).to_contain_text("done")
        await approvals.close()


async def test_what_is_saved_holds_no_secret_and_a_person_is_told(page: Page, lab: Server) -> None:
    await page.locator(".jp-CodeCell").nth(3).locator(".cm-content").click()
    await page.keyboard.press("Control+s")
    told = page.locator(".jp-toast-message", has_text="taken out of the saved file")
    await expect(told).to_contain_text("github-token, cell 4, source")
    await shot(page, "lab-saved")
    assert PASTED not in (lab.home.root / "book.ipynb").read_text()
