"""From a source's answer to fields."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless_sidecar.vault import KINDS, Entry, EntryInfo, VaultError, secret_files
from keyless_sidecar.vault.answers import expiry, fields_of, fields_of_text

SECRET = "q7Zr-Kw92_xTnB4vLm8c"
OTHER = "Hk3pWq8s-ZtYv61_NdRj"


@pytest.mark.parametrize(
    ("kind", "text", "mapping", "fields"),
    [
        ("token", SECRET, {}, {"value": SECRET}),
        ("token", json.dumps({"k": SECRET}), {"value": "k"}, {"value": SECRET}),
        ("token", json.dumps({"a": {"b/c": SECRET}}), {"value": "/a/b~1c"}, {"value": SECRET}),
        ("generic", json.dumps({"k": SECRET}), {}, {"value": json.dumps({"k": SECRET})}),
        ("generic", json.dumps({"k": SECRET, "l": 1}), {"key": "k"}, {"key": SECRET}),
        ("basic", json.dumps({"username": "a", "password": SECRET, "x": []}), {}, None),
        (
            "aws",
            json.dumps({"AccessKeyId": "A", "SecretAccessKey": SECRET, "SessionToken": None}),
            {},
            {"access_key_id": "A", "secret_access_key": SECRET},
        ),
    ],
)
def test_fields(kind: str, text: str, mapping: dict[str, str], fields: Any) -> None:
    wanted = fields or {"username": "a", "password": SECRET}
    assert fields_of_text("it", kind, text, mapping) == wanted


@pytest.mark.parametrize(
    ("text", "mapping", "said"),
    [
        (SECRET, {"value": "k"}, "no JSON object"),
        (json.dumps([SECRET]), {"value": "k"}, "no JSON object"),
        (json.dumps({SECRET: 1}), {"value": "k"}, "no member for value"),
        (json.dumps({"k": [SECRET]}), {"value": "k"}, "value in the source's answer is no text"),
        (json.dumps({"k": True}), {"value": "k"}, "is no text"),
        ("[" * 100_000, {"value": "k"}, "no JSON object"),
    ],
)
def test_what_fits_not_is_said_and_not_repeated(
    text: str, mapping: dict[str, str], said: str
) -> None:
    with pytest.raises(VaultError, match=said) as caught:
        fields_of_text("it", "token", text, mapping)
    assert SECRET not in str(caught.value)


_members = st.none() | st.integers() | st.text() | st.lists(st.text())


@given(
    st.sampled_from(sorted(KINDS)),
    st.dictionaries(st.text(max_size=8), _members),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8)),
)
def test_any_object_gives_texts_or_a_refusal(
    kind: str, answer: dict[str, Any], mapping: dict[str, str]
) -> None:
    try:
        fields = fields_of("it", kind, answer, mapping)
    except VaultError:
        return
    assert all(isinstance(value, str) for value in fields.values())


def test_an_end_that_is_not_understood_is_not_taken_for_none() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    assert expiry("it", {}) is None
    assert expiry("it", {"expires": "2030-01-01T00:00:00Z"}) == moment
    assert expiry("it", {"Expiration": "2030-01-01T01:00:00+01:00"}) == moment
    assert expiry("it", {"expires": moment.timestamp()}) == moment
    for odd in ("tomorrow", "2030-01-01T00:00:00", True, [], 1e300):
        with pytest.raises(VaultError, match="no time with a zone"):
            expiry("it", {"expires": odd})


# ---------------------------------------------------------------------- delivery "file"


def netrc(name: str, file: str, content: str = f"machine x login al password {SECRET}") -> Entry:
    return Entry(name, "file", {"content": content}, ("git",), file=file)


def test_files_for_a_tools_home() -> None:
    key = Entry("key", "token", {"value": OTHER}, ("t",), "file", file=".config/t/token")
    env = Entry("env", "token", {"value": OTHER}, ("t",))
    assert secret_files([netrc("n", ".netrc"), key, env]) == {
        ".netrc": f"machine x login al password {SECRET}\n".encode(),
        ".config/t/token": f"{OTHER}\n".encode(),
    }
    assert netrc("n", ".netrc").delivery == "file"


@pytest.mark.parametrize("other", [".netrc", ".netrc/x"])
def test_two_entries_for_one_file(other: str) -> None:
    with pytest.raises(VaultError, match="would both be the file"):
        secret_files([netrc("a", ".netrc"), netrc("b", other)])


def test_the_words_of_a_file_are_secrets_of_their_own() -> None:
    values = [value for _, value in netrc("n", ".netrc").secrets()]
    assert SECRET.encode() in values
    assert b"password" not in values


def test_infos_are_checked_too() -> None:
    with pytest.raises(VaultError, match="more than one text"):
        EntryInfo("a", "basic", (), "file", file=".netrc")
    with pytest.raises(VaultError, match="no time zone"):
        Entry("a", "token", {"value": SECRET}, (), expires=datetime(2030, 1, 1))
