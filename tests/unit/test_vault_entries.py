"""What a vault entry accepts, and that it shows no value."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from keyless_sidecar.vault import KINDS, Entry, SecretFields, VaultError

SECRET = "q7Zr-Kw92_xTnB4vLm8c"
AWS = {"access_key_id": "AKIAQ7ZRKW92XTNB4VLM", "secret_access_key": SECRET * 2}


def entry(**changes: object) -> Entry:
    values: dict[str, object] = {
        "name": "prod",
        "kind": "token",
        "fields": {"value": SECRET},
        "tools": ("gh",),
    }
    return Entry(**{**values, **changes})  # type: ignore[arg-type]


def test_no_value_is_shown_by_accident() -> None:
    made = entry(kind="aws", fields=AWS)
    for shown in (repr(made), str(made), f"{made}", repr(made.fields), str(made.fields)):
        assert SECRET not in shown
        assert AWS["access_key_id"] not in shown
    assert made.fields["secret_access_key"] == SECRET * 2


@pytest.mark.parametrize("copier", [pickle.dumps, copy.deepcopy, dataclasses.asdict])
def test_values_are_not_copied_or_pickled(copier: object) -> None:
    with pytest.raises(TypeError, match="can't be copied"):
        copier(entry())  # type: ignore[operator]


def test_secrets_are_all_fields_but_the_plain_ones() -> None:
    made = entry(kind="aws", fields={**AWS, "region": "eu-west-1"})
    assert made.secrets() == [("prod", value.encode()) for value in AWS.values()]
    basic = entry(kind="basic", fields={"username": "alice", "password": SECRET})
    assert basic.secrets() == [("prod", SECRET.encode())]


def test_only_bound_tools_are_allowed() -> None:
    made = entry(tools=["gh", "git"])
    assert made.info.allows("git")
    assert not made.info.allows("aws")
    assert not entry(tools=()).info.allows("gh")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "../x"},
        {"name": "a" * 65},
        {"name": "a\n"},
        {"kind": "nothing"},
        {"delivery": "argv"},
        {"tools": ("",)},
        {"tools": ("a/b",)},
        {"fields": {}},
        {"fields": {"value": ""}},
        {"fields": {"value": 7}},
        {"fields": {"value": f"{SECRET}\0"}},
        {"fields": {"value": "\ud800" + SECRET}},
        {"fields": {"value": SECRET * 4000}},
        {"fields": {"other": SECRET}},
        {"fields": {"value": SECRET, "other": SECRET}},
        {"kind": "generic", "fields": {}},
        {"kind": "generic", "fields": {"a b": SECRET}},
        {"kind": "aws", "fields": {"access_key_id": SECRET}},
    ],
)
def test_bad_entries_are_refused_without_repeating_the_value(changes: dict[str, object]) -> None:
    with pytest.raises(VaultError) as caught:
        entry(**changes)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", ["x7K2p", "password123", "aaaaaaaaaaaaaaaa"])
def test_weak_values_are_refused(value: str) -> None:
    with pytest.raises(VaultError, match="prod: value can't be kept") as caught:
        entry(fields={"value": value}).require_strong()
    assert value not in str(caught.value).removeprefix("prod: value can't be kept")


def test_plain_fields_may_be_weak() -> None:
    entry(kind="basic", fields={"username": "x", "password": SECRET}).require_strong()


def test_kinds_name_their_fields_consistently() -> None:
    for kind in KINDS.values():
        assert kind.plain <= {*kind.required, *kind.optional}


def test_fields_are_a_mapping() -> None:
    fields = SecretFields({"a": "1", "b": "2"})
    assert list(fields) == ["a", "b"]
    assert len(fields) == 2
    assert dict(fields) == {"a": "1", "b": "2"}
