"""Debian's Chromium, driven by Playwright; and a page in it that must not complain."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright, expect
from playwright.async_api import TimeoutError as NotYet

PROGRAM = Path("/usr/bin/chromium")
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
#: Where the pictures of the documentation go, by ``make pictures``.
DOCS = Path(__file__).parents[2] / "docs"
#: Root has no sandbox of Chromium's own; and it shall not talk to anybody.
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser of its own."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=PROGRAM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(
    browser: Browser, link: str, *, width: int = 1280, height: int = 900, **options: Any
) -> AsyncIterator[Page]:
    """The approval page in a context of its own, connected; nothing on its console at the end."""
    context = await browser.new_context(viewport={"width": width, "height": height}, **options)
    try:
        page = await connected(context, link)
        yield page
        assert complaints(page) == []
    finally:
        await context.close()


async def connected(context: BrowserContext, link: str) -> Page:
    """Open the page's link as a person does, and wait for its news."""
    page = await context.new_page()
    page.set_default_timeout(15_000)
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    _HEARD[page] = heard
    await page.goto(link)
    await page.locator("#link[data-state=on]").wait_for()
    await page.locator(".kernel").first.wait_for()
    return page


def complaints(page: Page) -> list[str]:
    """What the page wrote on its console."""
    return _HEARD[page]


async def screenshot(page: Page, name: str, part: str = "") -> None:
    """A picture of the whole page, or of one part, for people and the documentation."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    if part:
        await page.locator(part).screenshot(path=path)
    else:
        await page.screenshot(path=path, full_page=True)
    if os.environ.get("KEYLESS_PICTURES") == "docs" and (DOCS / path.name).exists():
        with Image.open(path) as image:
            image.convert("RGB").quantize(64).save(DOCS / path.name, optimize=True)


async def until(condition: Callable[[], Any], timeout: float = 15) -> None:
    """Wait until an awaitable's answer is true."""
    async with asyncio.timeout(timeout):
        while not await condition():
            await asyncio.sleep(0.05)


def question(page: Page, text: str) -> Locator:
    """The question that holds a text."""
    return page.locator("article.question:not(.done)", has_text=text)


async def press(asked: Locator, name: str) -> None:
    """Press a button of a question, and again where it had moved just before, as scrolling does."""
    button = asked.get_by_role("button", name=name)
    await button.scroll_into_view_if_needed()
    async with asyncio.timeout(15):
        while await button.count():
            with contextlib.suppress(NotYet):
                await button.click(timeout=3000)
            with contextlib.suppress(NotYet):
                await button.wait_for(state="detached", timeout=700)


async def press_key(button: Locator, key: str) -> None:
    """Press a button by keyboard, once it can be."""
    await button.focus()
    await asyncio.sleep(0.2)  # the page scrolls to it
    await expect(button).to_have_attribute("aria-disabled", "false")
    await button.page.keyboard.press(key)


_HEARD: dict[Page, list[str]] = {}
