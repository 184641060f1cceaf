"""The approval page in a real browser: what a person sees, and what the buttons do."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from playwright.async_api import Browser, Locator, Page, expect
from tests.support.asking import begin
from tests.support.chromium import complaints, opened, press, question, until
from tests.support.page import Served
from tests.support.sidecar import Sidecar

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def outcome(page: Page) -> str:
    return (await page.locator(".outcome").last.inner_text()).strip()


async def test_the_token_leaves_the_address_and_is_kept_nowhere(
    browser: Browser, served: Served
) -> None:
    async with opened(browser, served.link) as page:
        assert page.url == f"{served.origin}/"
        kept = await page.evaluate(
            "[localStorage.length, sessionStorage.length, document.cookie, history.state, "
            "document.documentElement.outerHTML, history.length].join(' ')"
        )
        assert served.token not in kept
        assert kept.startswith("0 0  ")
        assert await page.context.cookies() == []
        await page.reload()
        await expect(page.get_by_text("This page needs its token")).to_be_visible()
        box = page.get_by_label("Link or token")
        await box.fill("not a token")
        await box.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("isn’t a token")
        await box.fill("A" * 43)
        await box.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("isn’t the page’s")
        await box.fill(served.link)
        await box.press("Enter")
        await expect(page.locator("#link-text")).to_have_text("Live")
        # The browser itself writes about the refused request.
        heard = complaints(page)
        assert all("401" in line for line in heard)
        heard.clear()


async def test_a_question_is_shown_whole_and_allowed_once(
    browser: Browser, served: Served, sidecar: Sidecar
) -> None:
    sidecar.begin_anew()
    (sidecar.workspace / "plan.txt").write_text("harmless\n")
    async with opened(browser, served.link) as page:
        running = begin(sidecar, "read", "0", "plan.txt")
        asked = question(page, "plan.txt")
        await asked.wait_for()
        shown = await asked.inner_text()
        digest = hashlib.sha256(b"harmless\n").hexdigest()
        for part in ("changes something", "It changes something.", "policy.cedar:careful",
                     "canary", "9 bytes", digest, "kernel 5f0c9a3e", "exec"):  # fmt: skip
            assert part in shown
        words = await asked.locator(".word").all_inner_texts()
        assert words == ["leaky", "read", "0", "plan.txt"]
        assert await page.title() == "(1) Keyless"
        await press(asked, "Allow once")
        assert "harmless" in (await running).stdout
        assert (await outcome(page)).startswith("✓ Allowed A person approved it")
        assert await page.title() == "Keyless"
        await until(lambda: page.locator(".entry .badge.ok").count())


async def test_a_denial_gives_its_reason_to_the_cell(
    browser: Browser, served: Served, sidecar: Sidecar
) -> None:
    async with opened(browser, served.link) as page:
        running = begin(sidecar, "rc", "7")
        asked = question(page, "rc")
        await asked.get_by_placeholder("a sentence for the cell").fill("not on a Friday")
        await press(asked, "Deny")
        failed = (await running).failed
        assert failed.kind == "PolicyDenied"
        assert "not on a Friday" in failed.message
        assert "not on a Friday" in await outcome(page)


async def test_allowed_for_some_minutes_it_isnt_asked_again(
    browser: Browser, served: Served, sidecar: Sidecar
) -> None:
    async with opened(browser, served.link) as page:
        running = begin(sidecar, "argv", "again")
        asked = question(page, "again")
        await asked.get_by_label("minutes").fill("5")
        await press(asked, "Allow for this kernel for")
        await running
        assert "again" in (await begin(sidecar, "argv", "again")).stdout
        answer = next(r for r in reversed(sidecar.records()) if r["kind"] == "approval.answer")
        assert answer["fields"]["minutes"] == 5


async def test_a_command_is_stopped(browser: Browser, served: Served, sidecar: Sidecar) -> None:
    async with opened(browser, served.link) as page:
        running = begin(sidecar, "sleep", "30")
        row = page.locator("#running-list .card", has_text="sleep")
        await row.wait_for()
        assert "canary" in await row.inner_text()
        await press(row, "Stop leaky")
        failed = (await running).failed
        assert failed.message.startswith("A person stopped leaky")
        await expect(page.locator("#no-running")).to_be_visible()
        await until(lambda: page.locator(".entry .badge.stopped").count())
        await page.get_by_label("Search").fill("exec.stopped page")
        await expect(page.locator(".entry")).to_have_count(1)
        await expect(page.locator("#found")).to_contain_text("1 of ")
        picture = page.locator("#chart svg")
        assert "canary in use" in str(await picture.get_attribute("aria-label"))
        assert await picture.locator("rect.use.stopped").count() == 1


async def test_the_end_of_a_long_argument_is_there(
    browser: Browser, served: Served, sidecar: Sidecar
) -> None:
    long = "x" * 60_000 + "THE-END"
    async with opened(browser, served.link, width=320) as page:
        running = begin(sidecar, "argv", long, "--force")
        asked = question(page, "THE-END")
        words = asked.locator(".word")
        await expect(words).to_have_count(4)
        assert (await words.nth(2).inner_text()).replace("\n", "") == long
        inside = await asked.evaluate(
            """card => {
                const command = card.querySelector(".command");
                const end = [...card.querySelectorAll(".word")].at(-1).getBoundingClientRect();
                const box = command.getBoundingClientRect();
                return command.scrollWidth <= command.clientWidth
                    && command.scrollHeight <= command.clientHeight
                    && end.right <= box.right && end.bottom <= box.bottom
                    && document.documentElement.scrollWidth <= innerWidth;
            }"""
        )
        assert inside
        # Whoever presses a button has all of the command above it.
        order = await asked.evaluate(
            """card => card.querySelector('.command').getBoundingClientRect().bottom
                <= card.querySelector('button').getBoundingClientRect().top"""
        )
        assert order
        await press(asked, "Deny")
        assert (await running).failed.kind == "PolicyDenied"


# ------------------------------------------------------------------ what doesn't count


async def test_a_button_counts_only_after_a_moment_of_rest(
    browser: Browser, served: Served, sidecar: Sidecar
) -> None:
    async with opened(browser, served.link) as page:
        first = begin(sidecar, "rc", "1")
        button = question(page, "rc").get_by_role("button", name="Allow once")
        await button.wait_for()
        box = await button.bounding_box()
        assert box
        x, y = box["x"] + 5, box["y"] + 5
        # It came under the pointer: a click that was under way means nothing.
        await page.mouse.click(x, y)
        await expect(button).to_be_visible()
        await expect(button).to_have_attribute("aria-disabled", "false")
        # A script's click, a double click, a window that has just come to the front.
        await button.evaluate("button => button.click()")
        await button.dispatch_event("click")
        await page.evaluate("window.dispatchEvent(new Event('focus'))")
        await page.mouse.click(x, y)
        await expect(button).to_have_attribute("aria-disabled", "false")
        # It moves away from where it was when the press began.
        await page.mouse.move(x, y)
        await page.mouse.down()
        await page.evaluate("document.querySelector('main').style.paddingTop = '60px'")
        await page.mouse.up()
        await asyncio.sleep(0.2)
        assert not first.done()
        assert all(r["kind"] != "approval.answer" for r in _since(sidecar))
        await page.evaluate("document.querySelector('main').style.paddingTop = ''")
        await expect(button).to_have_attribute("aria-disabled", "false")
        await press(question(page, "rc"), "Deny")
        await first


def _since(sidecar: Sidecar) -> list[dict[str, object]]:
    """The records since the last question."""
    records = sidecar.records()
    last = max(n for n, record in enumerate(records) if record["kind"] == "approval.question")
    return records[last:]


async def _place(element: Locator) -> float:
    """Where it stands on the page, wherever that was scrolled to."""
    place: float = await element.evaluate(
        "element => element.getBoundingClientRect().top + window.scrollY"
    )
    return place


async def test_nothing_moves_under_the_pointer(
    browser: Browser, served: Served, sidecar: Sidecar
) -> None:
    async with opened(browser, served.link) as page:
        requests = [sidecar.start("rc", "11"), sidecar.start("rc", "12")]
        await question(page, "12").wait_for()
        second = question(page, "12")
        before = await _place(second)
        await press(question(page, "11"), "Deny")
        await expect(page.locator(".question.done")).to_have_count(1)
        # New ones come last, and an answered one keeps its place.
        requests.append(sidecar.start("rc", "13"))
        await question(page, "13").wait_for()
        assert await _place(second) == before
        await second.hover()
        before = await _place(second)  # it scrolled
        await asyncio.sleep(3.7)
        assert await _place(second) == before
        await press(second, "Deny")
        await press(question(page, "13"), "Deny")
        for request in requests:
            await asyncio.to_thread(sidecar.collect, request)


async def test_answered_elsewhere_it_waits_here_no_more(
    browser: Browser, served: Served, sidecar: Sidecar
) -> None:
    async with opened(browser, served.link) as page, opened(browser, served.link) as other:
        running = begin(sidecar, "rc", "3")
        await question(other, "rc").wait_for()
        await press(question(page, "rc"), "Allow once")
        await running
        await expect(question(other, "rc")).to_have_count(0)
        assert (await outcome(other)).startswith("✓ Allowed")
