"""The page by keyboard alone, at 320 px, in the dark, and as axe-core judges it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect
from tests.support.asking import begin
from tests.support.chromium import opened, press, press_key, question
from tests.support.page import Served
from tests.support.sidecar import Sidecar

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def violations(page: Page) -> list[str]:
    """What axe-core finds wrong."""
    found: Any = await Axe().run(page)
    return [
        f"{each['id']}: {[node['html'][:150] for node in each['nodes']][:3]}"
        for each in found.response["violations"]
    ]


async def fits(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (320, "dark")])
async def test_axe_finds_nothing(
    browser: Browser, served: Served, sidecar: Sidecar, width: int, scheme: str
) -> None:
    (sidecar.workspace / "plan.txt").write_text("harmless\n")
    async with opened(browser, served.link, width=width, color_scheme=scheme) as page:
        long = sidecar.start("sleep", "15")
        waits = sidecar.start("read", "0", "plan.txt", "x\u202ey", "p\u0430ypal", "z" * 300)
        await question(page, "plan.txt").wait_for()
        await page.locator("#running-list .card").wait_for()
        await page.locator("#chart svg").wait_for()
        await page.locator(".guarantees summary").click()
        await page.locator(".entry summary").first.click()
        assert await violations(page) == []
        assert await fits(page)
        await press_key(page.get_by_role("button", name="Deny"), "Enter")
        assert (await asyncio.to_thread(sidecar.collect, waits)).failed.kind == "PolicyDenied"
        await expect(page.locator(".question.done")).to_have_count(1)
        assert await violations(page) == []
        await press_key(page.get_by_role("button", name="Stop"), "Enter")
        assert (await asyncio.to_thread(sidecar.collect, long)).failed.kind == "CommandCancelled"


async def test_the_page_that_needs_its_token_too(browser: Browser, served: Served) -> None:
    context = await browser.new_context(viewport={"width": 320, "height": 600})
    page = await context.new_page()
    await page.goto(f"{served.origin}/")
    await page.get_by_label("Link or token").wait_for()
    assert await violations(page) == []
    assert await fits(page)
    await context.close()


async def test_by_keyboard_alone(browser: Browser, served: Served, sidecar: Sidecar) -> None:
    async with opened(browser, served.link) as page:
        running = begin(sidecar, "rc", "0")
        await expect(page.locator("#news")).to_contain_text("New question from kernel 5f0c9a3e")
        seen = []
        for _ in range(20):
            await page.keyboard.press("Tab")
            name = await page.evaluate("document.activeElement.textContent.trim()")
            seen.append(name)
            if name == "Allow once":
                break
        assert seen[0] == "Skip to the questions"
        assert seen[-1] == "Allow once"
        ring = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert ring == "solid"
        await expect(page.get_by_role("button", name="Allow once")).to_have_attribute(
            "aria-disabled", "false"
        )
        await page.keyboard.press("Space")
        assert (await running).finished.exit_code == 0
        await expect(page.locator("#news")).to_contain_text("Allowed")
        # The focus stays where the person was, on nothing that could be pressed.
        assert await page.evaluate("document.activeElement.tagName") == "H3"


async def test_a_held_key_answers_nothing(
    browser: Browser, served: Served, sidecar: Sidecar
) -> None:
    async with opened(browser, served.link) as page:
        running = begin(sidecar, "rc", "0")
        button = question(page, "rc").get_by_role("button", name="Allow once")
        await expect(button).to_have_attribute("aria-disabled", "false")
        await page.evaluate("document.body.focus()")
        await page.keyboard.down("Enter")
        await button.focus()
        for _ in range(3):
            await page.keyboard.down("Enter")  # it repeats
        await page.keyboard.up("Enter")
        await asyncio.sleep(0.2)
        assert not running.done()
        await press(question(page, "rc"), "Deny")
        await running
