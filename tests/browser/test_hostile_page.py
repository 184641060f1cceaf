"""Pages of other origins, in the same browser and beside the open approval page, get nowhere.

What such a page tries is first tried on a server that checks nothing, where it must win.
"""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page
from tests.support.asking import begin
from tests.support.chromium import complaints, opened, press, question
from tests.support.page import Served
from tests.support.sidecar import Sidecar

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: All that a page can do towards another origin; gives what it could read or reach.
ATTACK = (Path(__file__).parent / "hostile_page.js").read_text()


class _Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def hostile_site() -> type[_Quiet]:
    """A page without anything, on an origin of the attacker's."""

    class Site(_Quiet):
        def do_GET(self) -> None:
            page = b"<!doctype html><title>hello</title><body>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

    return Site


def careless_page(approved: list[bytes]) -> type[_Quiet]:
    """A page like ours that believes whoever reaches it: what attacks are proven against."""

    class Careless(_Quiet):
        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Headers", "*")
            self.send_header("Content-Type", "text/javascript")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._answer(b"export const secret = 1;")

        do_OPTIONS = do_GET

        def do_POST(self) -> None:
            approved.append(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(b"{}")

    return Careless


@contextmanager
def site(handler: type[_Quiet]) -> Iterator[str]:
    """Serve it; its origin."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def attack(page: Page, evil: str, target: str, body: str) -> list[str]:
    """Open the attacker's page beside the other one, and let it try."""
    other = await page.context.new_page()
    await other.goto(evil)
    await other.mouse.click(5, 5)  # so that it may open windows
    return list(await other.evaluate(ATTACK, [target, body, "A" * 43]))


async def test_the_attack_wins_where_nothing_is_checked(browser: Browser) -> None:
    approved: list[bytes] = []
    with site(hostile_site()) as evil, site(careless_page(approved)) as careless:
        context = await browser.new_context()
        won = await attack(await context.new_page(), evil, careless, '{"id":"00000000"}')
        await context.close()
    assert len(approved) >= 5  # fetch twice, blind, beacon, form
    assert {line.partition(":")[0] for line in won} >= {"read /", "fetch", "module"}


@pytest.mark.attack(
    wall="origin and bearer token of the approval page",
    title="Approve from a page of another origin beside the approval page: fetch, form, frame, "
    "window, socket, worker",
)
async def test_a_page_of_another_origin_gets_nowhere(
    browser: Browser, served: Served, sidecar: Sidecar
) -> None:
    sidecar.begin_anew()
    async with opened(browser, served.link) as page:
        running = begin(sidecar, "rc", "0")
        asked = question(page, "rc")
        await asked.wait_for()
        waits = next(r for r in sidecar.records() if r["kind"] == "approval.question")
        order = json.dumps({"kernel": "5f0c9a3e-7d1b-4c55-9b60-1d3a8a1c2e77",
                            "id": waits["fields"]["approval"]})  # fmt: skip
        with site(hostile_site()) as evil:
            for target in (served.origin, served.origin.replace("127.0.0.1", "localhost")):
                assert await attack(page, evil, target, order) == []
            # The same host by another name: "same site", another origin all the same.
            named = evil.replace("127.0.0.1", "localhost")
            assert await attack(page, named, served.origin, order) == []
        assert not running.done()
        assert all(not r["kind"].startswith("approval.a") for r in sidecar.records())
        await page.bring_to_front()
        await press(asked, "Deny")
        assert (await running).failed.kind == "PolicyDenied"


async def test_what_the_page_shows_cannot_run(
    browser: Browser, served: Served, sidecar: Sidecar
) -> None:
    nasty = (
        "<img src=x onerror=\"fetch('/api/kernels')\"><svg onload=alert(1)>\"'><script>x</script>"
    )
    async with opened(browser, served.link) as page:
        running = begin(sidecar, "argv", nasty)
        asked = question(page, "onerror")
        await asked.wait_for()
        assert nasty in (await asked.locator(".word").all_inner_texts())
        assert await page.locator("main img, main script").count() == 0
        # Nor would it where somebody made a mistake.
        refused = await page.evaluate(
            """() => {
                try { document.body.innerHTML = "<b>x</b>"; } catch (error) { return error.name; }
            }"""
        )
        assert refused == "TypeError"
        await press(asked, "Deny")
        await asyncio.wait_for(running, 20)
        complaints(page).clear()  # the refusal of innerHTML
