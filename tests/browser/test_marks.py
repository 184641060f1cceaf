"""What the page's own functions make of text that deceives, and of audit records."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser
from tests.support.chromium import opened
from tests.support.page import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOWN = {
    "aws s3 ls": "aws s3 ls",
    "naïve Žižek привет 日本語 مرحبا हिन्दी": "naïve Žižek привет 日本語 مرحبا हिन्दी",
    "cod\u202egpj.exe": "cod⟨U+202E⟩gpj.exe",
    "cod\\u202egpj": "cod⟨U+202E⟩gpj",  # as the sidecar writes it
    "a\\x1b[2Kb": "a⟨U+001B⟩[2Kb",
    "\\U000e0041x": "⟨U+E0041⟩x",
    "C:\\user\\x41 \\u00e9": "C:\\user\\x41 \\u00e9",  # a text with backslashes
    "one\\x0atwo": "one⏎two",
    "x\\x0a\\x0a\\x0ay": "x⟨U+000A × 3⟩y",
    "zero\u200bwidth\u00adsoft": "zero⟨U+200B⟩width⟨U+00AD⟩soft",
    "no\u00a0break\u3000wide": "no⟨U+00A0⟩break⟨U+3000⟩wide",
    "filler\u3164\u115f\u2800x": "filler⟨U+3164⟩⟨U+115F⟩⟨U+2800⟩x",
    "e\u0301": "e⟨U+0301⟩",
    "a     b": "a⟨5 spaces⟩b",
    "p\u0430ypal.com": "pа⟨U+0430⟩ypal.com",
    "\u0440\u0430\u0443": "р⟨U+0440⟩а⟨U+0430⟩у⟨U+0443⟩",  # nothing but look-alikes
    "\u03bfrg": "ο⟨U+03BF⟩rg",
    "rm \uff0drf": "rm －⟨U+FF0D⟩rf",
    "a\u2010b \u2013x": "a‐⟨U+2010⟩b –⟨U+2013⟩x",
    "s3:\u2215\u2215b": "s3:∕⟨U+2215⟩∕⟨U+2215⟩b",
    "\U0001d41aws": "𝐚⟨U+1D41A⟩ws",
    "adm\u0131n": "admı⟨U+0131⟩n",
    "b\u00fccher \u20ac": "bücher €",
    "": "",
}
NOW = "2026-01-01T00:00:0{}+00:00"


async def test_what_hides_or_deceives_is_marked(browser: Browser, served: Served) -> None:
    async with opened(browser, served.link) as page:
        shown = await page.evaluate(
            """async (texts) => {
                const { pieces } = await import("/marks.js");
                return texts.map((text) => pieces(text).map((piece) => piece.text).join(""));
            }""",
            list(SHOWN),
        )
        assert dict(zip(SHOWN, shown, strict=True)) == SHOWN


async def test_text_never_becomes_markup(browser: Browser, served: Served) -> None:
    async with opened(browser, served.link) as page:
        found = await page.evaluate(
            """async (text) => {
                const { exact, command } = await import("/dom.js");
                const made = [exact(text), command(text, [text])];
                return made.map((each) => [
                    each.textContent.includes(text), each.querySelectorAll("img, script").length,
                ]);
            }""",
            "<img src=x onerror=alert(1)><script>alert(2)</script>",
        )
        assert found == [[True, 0], [True, 0]]


def record(seq: int, kind: str, second: int, **fields: Any) -> dict[str, Any]:
    return {
        "record_id": f"k000000-{seq:06d}",
        "kind": kind,
        "time": NOW.format(second),
        "fields": fields,
        "hash": "0" * 64,
    }


async def test_records_become_commands_and_lanes(browser: Browser, served: Served) -> None:
    first, second = "k000000-000001", "k000000-000005"
    records = [
        record(0, "audit.open", 0, level="namespaces"),
        record(1, "exec.request", 1, tool="aws", argv=["s3", "ls"]),
        record(2, "exec.decision", 2, request=first, allowed=True, credentials=["work"]),
        record(3, "egress.request", 3, request=first, stage="request", credential="role"),
        record(4, "exec.result", 4, request=first, outcome="Finished", exit_code=0),
        record(5, "exec.request", 5, tool="gh", argv=["api"]),
        record(6, "exec.decision", 6, request=second, allowed=False, message="No."),
    ]
    async with opened(browser, served.link) as page:
        found, lanes, searched = await page.evaluate(
            """async (records) => {
                const { entries, filtered, lanes } = await import("/audit.js");
                const all = entries("k", records);
                const shown = ({ tool, state, records, credentials }) =>
                    [tool, state, records.length, [...credentials]];
                const times = ({ name, bars }) => [name, bars.map(({ from, to }) => [from, to])];
                return [
                    all.map(shown),
                    lanes(all, 0).map(times),
                    filtered(all, "S3 work", 0).map((each) => each.words.join(" ")),
                ];
            }""",
            records,
        )
        assert found == [
            ["gh", "denied", 2, []],
            ["aws", "ok", 4, ["work", "role"]],
            ["audit.open", "note", 1, []],
        ]
        bars = [[1767225602000, 1767225604000]]
        assert lanes == [["role", bars], ["work", bars]]
        assert searched == ["s3 ls"]
