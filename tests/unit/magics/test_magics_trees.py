"""Answers to look into: nothing in them becomes markup, and none is too large for a notebook."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless.magics.call_results import CallFacts, CallResult
from keyless.magics.results import ExecResult
from keyless.magics.trees import MAX_HTML, tree

HOSTILE = "<script>alert(1)</script></details></table><img src=x onerror=y>\"'&<!--"
TEXTS = st.text(max_size=20) | st.just(HOSTILE)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


class Page(HTMLParser):
    """What a browser makes of it: tags, attributes, text, and whether each tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[tuple[str, str]] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes.update((name, value or "") for name, value in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@given(JSON)
def test_no_key_and_no_value_makes_markup(value: Any) -> None:
    page = Page(tree(value))
    assert set(page.tags) <= {
        "div", "details", "summary", "small", "b", "span", "code",
        "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert {name for name, _ in page.attributes} <= {"style", "open"}
    assert all(re.fullmatch(r"[\w: .;-]*", value) for _, value in page.attributes)
    assert not re.search("[\x00-\x08\x1b\u202e]", page.text)


@given(JSON)
def test_a_small_answer_is_shown_whole(value: Any) -> None:
    shown = Page(tree({"answer": value})).text
    for number in re.findall(r"(?<![\w.])\d{1,15}(?![\w.])", json.dumps(_numbers(value))):
        assert number in shown


def _numbers(value: Any) -> list[int]:
    if isinstance(value, dict):
        return [number for each in value.values() for number in _numbers(each)]
    if isinstance(value, list):
        return [number for each in value for number in _numbers(each)]
    return [value] if type(value) is int else []


def test_a_list_of_flat_objects_is_a_table() -> None:
    rows = [{"Name": "a", "Size": 1}, {"Name": HOSTILE, "Size": None, "Late": True}]
    page = Page(tree({"Functions": rows, "NextToken": "t"}))
    assert page.tags.count("table") == 1
    assert page.tags.count("th") == 3
    assert page.tags.count("td") == 6
    assert HOSTILE in page.text


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([{"n": n} for n in range(100_000)], "more rows"),
        ([{str(n): n for n in range(1000)}], "984 more columns"),
        (list(range(100_000)), "99800 more"),
        ({str(n): {"a": ["x" * 1000]} for n in range(10_000)}, "more"),
        ({"text": "x" * 10_000_000}, "…"),
        ({"k" * 1_000_000: [{"k" * 1_000_000: "v" * 1_000_000}] * 1000}, "more rows"),
    ],
)
def test_a_large_answer_is_shown_in_part(value: Any, says: str) -> None:
    html = tree(value)
    assert len(html) < 1.5 * MAX_HTML
    assert says in Page(html).text


def test_a_deep_answer_ends_somewhere() -> None:
    value: Any = "the bottom"
    for _ in range(300):
        value = [value]
    assert "nested too deep" in Page(tree(value)).text


def command(**fields: Any) -> dict[str, str]:
    return ExecResult(
        **{"tool": "aws", "argv": ("x",), "exit_code": 0} | fields
    )._repr_mimebundle_()


def test_json_of_a_command_is_a_tree_and_its_text_is_whole() -> None:
    printed = json.dumps({"Functions": [{"Name": "thumb", "Size": 7}]}, indent=1)
    bundle = command(stdout=printed, duration=1.5, record_id="k1-7", redactions={"work": 2})
    assert "<table>" in bundle["text/html"]
    assert bundle["text/plain"] == (
        "aws: done, 1.50 s, 2 redacted (work ×2), record k1-7\n" + printed
    )


def test_what_was_printed_is_not_shown_twice() -> None:
    bundle = command(stdout='{"Name": "thumb"}', streamed=True)
    assert "thumb" not in bundle["text/plain"]
    # One click away, and folded until then.
    page = bundle["text/html"]
    assert page.index("<details><summary>look into the answer") < page.index("thumb")


@pytest.mark.parametrize("stdout", ["[1, 2", "{'a': 1}", '"text"', "7", "", "[" * 100_000])
def test_other_output_is_shown_as_it_is(stdout: str) -> None:
    bundle = command(stdout=stdout)
    assert "<table>" not in bundle["text/html"]
    assert stdout[-100:] in bundle["text/plain"]


def test_a_call_shows_a_tree_and_json_as_text() -> None:
    answer = {"Name": HOSTILE, "Body": b"\x00\xff", "ResponseMetadata": {"HTTPStatusCode": 200}}
    facts = CallFacts("s3", "GetObject", "k1-9", 0.25, {"work": 1})
    bundle = CallResult(answer, facts)._repr_mimebundle_()
    page = Page(bundle["text/html"])
    assert "s3.GetObject done · 0.25 s · 1 redacted (work ×1) · record k1-9" in page.text
    assert "ResponseMetadata" not in page.text + bundle["text/plain"]
    assert "<2 bytes>" in page.text
    assert {name for name, _ in page.attributes} <= {"style", "open"}
    first, rest = bundle["text/plain"].split("\n", 1)
    assert first == "s3.GetObject: done, 0.25 s, 1 redacted (work ×1), record k1-9"
    assert json.loads(rest) == {"Name": HOSTILE, "Body": "<2 bytes>"}
