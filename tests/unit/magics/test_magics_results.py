"""Results: JSON, text, and HTML that hostile output can't break out of."""

from __future__ import annotations

import asyncio
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless.magics.rendering import last_line, one_line
from keyless.magics.results import ExecResult, ExecResults
from keyless.protocol.errors import ExecError
from keyless.protocol.messages import WrittenFile


def result(**fields: Any) -> ExecResult:
    usual: dict[str, Any] = {
        "tool": "aws",
        "argv": ("s3", "ls"),
        "exit_code": 0,
        "record_id": "k1-000001",
    }
    return ExecResult(**usual | fields)


class Tags(HTMLParser):
    """Every tag and attribute that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes.update(name for name, _ in attrs)


@given(st.text())
def test_hostile_text_stays_text(text: str) -> None:
    hostile = f"<script>alert(1)</script><img src=x onerror=y>\"'&</pre></details>{text}"
    shown = result(
        tool=hostile,
        argv=(hostile,),
        stdout=hostile,
        stderr=hostile,
        record_id=hostile,
        redactions={hostile: 1},
        files=(WrittenFile(path=hostile, size=1, sha256=hostile),),
        notes=(hostile,),
        exit_code=1,
    )
    bundle = shown._repr_mimebundle_()
    tags = Tags(bundle["text/html"])
    assert tags.seen <= {"div", "b", "code", "details", "summary", "pre"}
    assert tags.attributes <= {"style", "open"}
    assert len(repr(shown).splitlines()) <= 2
    assert "\x1b" not in bundle["text/plain"] + bundle["text/html"]


def test_what_the_box_shows() -> None:
    shown = result(
        stdout="listing\n",
        stderr="warning 1\nwarning 2\n",
        duration=1.234,
        redactions={"aws": 2, "token": 1},
        files=(WrittenFile(path="out.txt", size=5, sha256="ab" * 32),),
        notes=("The file x was withheld.",),
    )
    html = shown._repr_mimebundle_()["text/html"]
    for part in (
        "aws s3 ls",
        "done",
        "1.23 s",
        "3 redacted (aws ×2, token ×1)",
        "k1-000001",
        "out.txt",
        "withheld",
        "listing",
        "<details><summary>stderr (2 lines)</summary>",
    ):
        assert part in html
    assert repr(shown) == (
        "aws: done, 1.23 s, 3 redacted (aws ×2, token ×1), record k1-000001\n"
        "  wrote out.txt (5 bytes); The file x was withheld."
    )


def test_output_that_was_streamed_is_not_shown_again() -> None:
    shown = result(stdout="a long listing", streamed=True)._repr_mimebundle_()
    assert "a long listing" not in shown["text/html"] + shown["text/plain"]


def test_long_output_is_shown_in_part() -> None:
    html = result(stdout="first" + "x" * 1_000_000 + "last")._repr_mimebundle_()["text/html"]
    assert len(html) < 30_000
    assert "last" in html
    assert "first" not in html


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"exit_code": 3}, "exit code 3"),
        ({"exit_code": None}, "ended early"),
        ({"dry_run": True}, "dry run, nothing ran"),
        ({"truncated": True}, "kept in part"),
    ],
)
def test_the_status_in_words(fields: dict[str, Any], says: str) -> None:
    shown = result(**fields)._repr_mimebundle_()
    assert says in shown["text/plain"]
    assert says in shown["text/html"]


def test_json() -> None:
    assert result(stdout='{"a": [1]}').json() == {"a": [1]}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"stdout": ""}, "printed nothing"),
        ({"stdout": "NAME  SIZE"}, "begins with 'NAME  SIZE'; ask the tool for JSON"),
        ({"stdout": "[1, 2", "truncated": True}, "too long to keep"),
        ({"stdout": "[" * 200_000}, "aws printed no valid JSON"),
        ({"dry_run": True}, "dry run"),
    ],
)
def test_no_json_says_what_came_instead(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ExecError, match="no valid JSON") as caught:
        result(**fields).json()
    assert says in str(caught.value)
    assert isinstance(caught.value.result, ExecResult)


def test_a_result_is_its_output_as_text_and_can_be_awaited() -> None:
    shown = result(stdout="text\n")

    async def wait() -> ExecResult:
        return await shown

    assert str(shown) == "text\n"
    assert asyncio.run(wait()) is shown
    assert shown.ok
    assert not result(exit_code=None).ok


def test_several_results_show_one_after_the_other() -> None:
    bundle = ExecResults([result(), result(exit_code=2)])._repr_mimebundle_()
    assert bundle["text/plain"].splitlines() == [
        "aws: done, 0.00 s, record k1-000001",
        "aws: exit code 2, 0.00 s, record k1-000001",
    ]
    assert "exit code 2" in bundle["text/html"]


def test_one_line_and_last_line() -> None:
    assert one_line("a\n\x1b[31mred\x1b[0m\tb\x00", 50) == "a red b"
    assert one_line("x" * 100, 10) == "x" * 9 + "…"
    assert last_line("one\ntwo \n\n \n") == "two"
    assert last_line("\n \n") == ""
