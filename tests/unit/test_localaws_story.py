"""The demo's page and terminal: what they say, and that hostile output does nothing in them."""

from __future__ import annotations

import io
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from keyless.localaws import headless, story
from keyless.localaws.checks import Check, Hashes, nothing_taken, right_principal, same_code
from keyless.localaws.front import LoggedCall
from keyless.localaws.headless import Attempt, Step

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)><b style='x'>bold</b>"


def notebook(*outputs: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return new_notebook(
        cells=[new_markdown_cell("# Title"), new_code_cell("1", outputs=[*outputs])]
    )


def page(*outputs: nbformat.NotebookNode, ok: bool = True, got: str = "0 keys") -> str:
    return story.page(
        notebook(*outputs),
        Hashes("aaa=", "aaa=" if ok else "bbb="),
        [Attempt("try <it>", got)],
        [Step("first", 1.5, "done")],
        [Check("all well", ok, "seen & noted")],
    )


def test_the_page_tells_the_story() -> None:
    text = page()
    assert "Every check holds" in text
    assert text.count("aaa=") == 2
    assert "try &lt;it&gt;" in text
    assert "seen &amp; noted" in text
    assert "1.50 s" in text
    assert "<svg" in text
    assert "<h1" in text


def test_the_page_says_when_a_check_failed() -> None:
    text = page(ok=False)
    assert "A check failed" in text
    assert "≠" in text


def test_the_page_fetches_nothing() -> None:
    text = page()
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", text)
    assert "<script" not in text


@pytest.mark.parametrize(
    "output",
    [
        new_output("display_data", {"text/html": EVIL, "text/plain": "plain"}),
        new_output("display_data", {"application/javascript": "alert(1)"}),
        new_output("display_data", {"image/svg+xml": "<svg onload=alert(1)></svg>"}),
        new_output("stream", name="stdout", text=EVIL),
        new_output("error", ename="E", evalue=EVIL, traceback=[EVIL]),
        new_output("display_data", {"text/latex": EVIL, "text/markdown": EVIL}),
    ],
)
def test_hostile_outputs_do_nothing(output: nbformat.NotebookNode) -> None:
    text = page(output, got=EVIL)
    assert "<script" not in text
    assert not re.search(r"<[^>&]*\bon\w+=", text)


def test_harmless_html_is_shown() -> None:
    assert "<b>bold</b>" in page(new_output("display_data", {"text/html": EVIL}))


def test_attempts_are_read_from_the_cells() -> None:
    text = "noise\n[attempt] read it → 0 keys in 3 files\n[attempt] take it → 2 keys\n"
    found = headless.attempts(notebook(new_output("stream", name="stdout", text=text)))
    assert [(a.name, a.keys) for a in found] == [("read it", 0), ("take it", 2)]


def test_progress_is_one_line_a_step() -> None:
    stream = io.StringIO()
    progress = headless.Progress(stream)
    progress.begin("one")
    progress.end("one", "fine")
    progress.begin("two")
    progress.end("two", "broken", ok=False)
    first, second = stream.getvalue().splitlines()
    assert first.split()[:2] == ["✓", "one"]
    assert second.split()[:2] == ["✗", "two"]
    assert [step.ok for step in progress.steps] == [True, False]


def test_control_sequences_do_not_reach_the_terminal() -> None:
    cell = new_code_cell(
        "1", outputs=[new_output("stream", name="stdout", text="\x1b]0;own\x07\n")]
    )
    assert headless._summary(cell) == "\ufffd]0;own\ufffd"


USER = "arn:aws:iam::123456789012:user/me"


def call(operation: str, *, principal: str = USER, allowed: bool = True) -> LoggedCall:
    return LoggedCall(0.0, "lambda", operation, "*", principal, allowed, 200)


DEPLOY = [call("CreateFunction"), call("UpdateFunctionCode")]


@pytest.mark.parametrize(
    ("log", "ok"),
    [
        (DEPLOY, True),
        ([*DEPLOY, call("ListUsers", allowed=False)], True),
        ([], False),
        (DEPLOY[:1], False),
        ([*DEPLOY, call("ListUsers")], False),
        ([*DEPLOY, call("GetFunction", principal="arn:other")], False),
    ],
)
def test_the_log_must_show_the_right_user(log: list[LoggedCall], ok: bool) -> None:
    assert right_principal(log, USER).ok is ok


@pytest.mark.parametrize(
    ("local", "remote", "ok"), [("a", "a", True), ("a", "b", False), ("", "", False)]
)
def test_the_hashes_must_be_there_and_equal(local: str, remote: str, ok: bool) -> None:
    assert same_code(Hashes(local, remote)).ok is ok


def test_the_agent_must_have_tried_and_failed() -> None:
    tries = [Attempt(str(n), "0 keys") for n in range(15)]
    assert nothing_taken(tries).ok
    assert not nothing_taken(tries[1:]).ok
    assert not nothing_taken([*tries, Attempt("x", "1 keys. AKIA")]).ok
