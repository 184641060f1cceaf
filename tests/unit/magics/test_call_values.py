"""Parameters of calls: whatever a cell holds arrives in the sidecar as it was, or is refused."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyless.magics.call_values import coded, read_parameters
from keyless.protocol.calls import MAX_NESTING, MAX_PARAMETERS, Call, read_reference
from keyless.protocol.errors import InvalidRequest
from keyless.protocol.frames import encode, request_reader
from keyless_sidecar.calls.content import Owner
from keyless_sidecar.calls.naming import find_operation
from keyless_sidecar.calls.parameters import resolve
from keyless_sidecar.workspace import WorkspaceRoot

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(
    lambda text: not text.startswith(("file://", "fileb://"))
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | texts
    | st.binary(max_size=50)
    | st.datetimes(timezones=st.just(UTC))
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def sent(parameters: dict[str, Any]) -> dict[str, Any]:
    """What the sidecar gets."""
    frame = encode(Call(id=1, service="s3", operation="x", parameters=coded(parameters)))
    (message,) = request_reader().feed(frame)
    assert isinstance(message, Call)
    return message.parameters


@settings(deadline=None)  # the first example reads the models
@given(st.dictionaries(texts, values, max_size=5))
def test_values_arrive_as_they_were(parameters: dict[str, Any]) -> None:
    model = find_operation("s3", "PutObject")
    with WorkspaceRoot("/") as root:
        assert resolve(model, sent(parameters), root, "", Owner(0, 0), lambda _: None) == parameters


class Colour(Enum):
    RED = "red"


class Number:
    """As NumPy's are."""

    def item(self) -> int:
        return 7


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        ((1, 2), [1, 2]),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (Decimal("3"), 3),
        (Decimal("0.5"), 0.5),
        (Colour.RED, "red"),
        (Number(), 7),
        (date(2024, 2, 3), "2024-02-03"),
        (math.inf, math.inf),
    ],
)
def test_other_kinds_become_plain_ones(value: Any, arrives: Any) -> None:
    assert sent({"P": value}) == {"P": arrives}


def test_a_time_without_zone_is_local() -> None:
    arrived = sent({"P": datetime(2024, 2, 3, 4)})["P"]
    assert arrived == datetime(2024, 2, 3, 4).astimezone()


@pytest.mark.parametrize(
    ("value", "path", "text"),
    [
        ("fileb://a/b.zip", "a/b.zip", False),
        ("file://policy.json", "policy.json", True),
        (Path("a.bin"), "a.bin", False),
    ],
)
def test_files_are_named_apart_from_texts(value: Any, path: str, text: bool) -> None:
    arrived = sent({"P": {"Q": [value]}})["P"]["Q"][0]
    assert read_reference(arrived) == (path, text)
    assert read_reference(str(value)) is None


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1: 2}, "names"),
        ("\ud800", "UTF-8"),
        (object(), "type object"),
        (open, "type builtin_function_or_method"),
        ("fileb://", "names no file"),
        (nested(MAX_NESTING + 1), "nested"),
        (b"x" * (MAX_PARAMETERS + 1), "workspace file"),
        (2**70, "can't be sent"),
    ],
)
def test_what_cannot_be_sent_is_said(value: Any, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        coded({"P": value})


def test_an_open_file_is_named_instead(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with (tmp_path / "a").open() as file, pytest.raises(InvalidRequest, match="fileb://NAME"):
        coded({"P": file})


@given(st.binary(max_size=200))
def test_the_sidecar_survives_any_bytes_in_place_of_parameters(data: bytes) -> None:
    raw = msgspec.msgpack.Ext(1, data)
    try:
        found = read_reference(raw)
    except UnicodeDecodeError:
        return
    assert found == (data.decode(), True)


@pytest.mark.parametrize(
    "text",
    ['{"A": [1, true, null], "B": {"C": "x"}}', "{'A': [1, True, None], 'B': {'C': 'x'}}"],
)
def test_a_body_is_json_or_python(text: str) -> None:
    assert read_parameters(text) == {"A": [1, True, None], "B": {"C": "x"}}


def test_a_python_body_may_use_the_cells_names() -> None:
    assert read_parameters("{'A': name * 2}", {"name": "ab"}) == {"A": "abab"}
    assert read_parameters("  \n ") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FunctionName: x", "neither JSON nor"),
        ("[1]", "JSON object"),
        ("{'A': name}", "neither JSON nor"),
        ("{'A': __import__('os')}", "neither JSON nor"),
    ],
)
def test_any_other_body_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        read_parameters(text)


def test_an_unknown_name_is_said() -> None:
    with pytest.raises(InvalidRequest, match="'name' is not defined"):
        read_parameters("{'A': name}", {})
