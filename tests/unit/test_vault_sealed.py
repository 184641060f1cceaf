"""The encrypted document: what goes in comes out, and any change is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless_sidecar.vault.entries import Entry, VaultError
from keyless_sidecar.vault.keys import KEY_BYTES, KeyMethod, decode_key_file, new_key_file
from keyless_sidecar.vault.sealed import SealedVault, WrongKey

KEY = bytes(range(KEY_BYTES))
ONE = Entry("one", "token", {"value": "first-secret-value"}, ("gh",))
TWO = Entry("two", "token", {"value": "other-secret-value"}, ("gh",))

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
fields = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def vault(*entries: Entry, key: bytes = KEY) -> SealedVault:
    made = SealedVault.new(KeyMethod.key_file(), key)
    for entry in entries:
        made = made.with_entry(key, entry)
    return made


def load(document: Any) -> None:
    """Do all that a reader does: parse, verify, decrypt every entry."""
    sealed = SealedVault.parse(json.dumps(document).encode())
    sealed.verify(KEY)
    for info in sealed.infos():
        sealed.fetch(KEY, info.name)


@given(
    st.dictionaries(
        names,
        st.tuples(st.dictionaries(fields, values, min_size=1), st.lists(names)),
        max_size=5,
    )
)
def test_what_goes_in_comes_out(entries: dict[str, tuple[dict[str, str], list[str]]]) -> None:
    made = vault(*(Entry(name, "generic", *parts) for name, parts in entries.items()))  # type: ignore[arg-type]
    read = SealedVault.parse(made.dump())
    read.verify(KEY)
    assert [info.name for info in read.infos()] == sorted(entries)
    for name, (values_in, tools) in entries.items():
        entry = read.fetch(KEY, name)
        assert entry is not None
        assert dict(entry.fields) == values_in
        assert list(entry.tools) == tools


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key in value:
            yield from leaves(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(len(value)):
            yield from leaves(value[index], (*path, index))
    else:
        yield path


def changed(document: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    copied = json.loads(json.dumps(document))
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = change(inner[path[-1]])
    return copied


def alter(value: Any) -> Any:
    if isinstance(value, int):
        return value + 1
    middle = len(value) // 2
    other = "A" if value[middle : middle + 1] != "A" else "B"
    return value[:middle] + other + value[middle + 1 :]


def test_every_altered_field_is_noticed() -> None:
    document = json.loads(vault(ONE, TWO).dump())
    load(document)
    paths = list(leaves(document))
    assert len(paths) > 15
    for path in paths:
        with pytest.raises(VaultError):
            load(changed(document, path, alter))


def test_every_missing_or_added_field_is_noticed() -> None:
    document = json.loads(vault(ONE).dump())
    for path in leaves(document):
        parent = json.loads(json.dumps(document))
        inner = parent
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        with pytest.raises(VaultError):
            load(parent)
    for place in ((), ("entries", "one"), ("key",), ("seal",)):
        added = json.loads(json.dumps(document))
        inner = added
        for key in place:
            inner = inner[key]
        inner["extra"] = "x"
        with pytest.raises(VaultError):
            load(added)


def test_entries_cannot_be_swapped_renamed_removed_or_brought_from_elsewhere() -> None:
    document = json.loads(vault(ONE, TWO).dump())
    elsewhere = json.loads(vault(ONE, TWO).dump())["entries"]["one"]
    older = json.loads(vault(ONE).with_entry(KEY, TWO).dump())["entries"]["two"]
    entries = document["entries"]
    swapped = {
        name: {**entries[name], **{k: entries[other][k] for k in ("nonce", "ciphertext")}}
        for name, other in (("one", "two"), ("two", "one"))
    }
    for forged in (
        swapped,
        {"one": entries["two"], "two": entries["one"]},
        {"one": entries["one"], "three": entries["two"]},
        {"one": entries["one"]},
        {},
        {**entries, "one": elsewhere},
        {**entries, "two": older},
        {**entries, "three": entries["one"]},
    ):
        with pytest.raises(VaultError, match="altered"):
            load({**document, "entries": forged})


def test_a_changed_binding_fails_even_without_the_seal() -> None:
    document = json.loads(vault(ONE).dump())
    good = document["entries"]["one"]
    for field, value in (
        ("kind", "generic"),
        ("tools", ["gh", "evil"]),
        ("delivery", "file"),
        ("added", "2020-01-01T00:00:00+00:00"),
    ):
        document["entries"]["one"] = {**good, field: value}
        forged = SealedVault.parse(json.dumps(document).encode())
        with pytest.raises(VaultError, match="altered"):
            forged.fetch(KEY, "one")


@pytest.mark.parametrize("change", [lambda x: x + "!", lambda x: x[:4], lambda x: x[:-3] + "B=="])
def test_another_spelling_of_the_seal_is_damage(change: Callable[[str], str]) -> None:
    document = json.loads(vault(ONE).dump())
    for field in ("nonce", "ciphertext"):
        with pytest.raises(VaultError):
            load(changed(document, ("seal", field), change))


def test_another_key_is_told_apart_from_damage() -> None:
    with pytest.raises(WrongKey):
        SealedVault.parse(vault(ONE).dump()).verify(bytes(KEY_BYTES))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"null", b"[" * 100_000])
def test_what_is_no_vault_is_refused(data: bytes) -> None:
    with pytest.raises(VaultError):
        SealedVault.parse(data)


def test_nonces_are_never_used_twice() -> None:
    made = vault(ONE)
    seen = set()
    for _ in range(50):
        document = json.loads(made.dump())
        seen |= {document["seal"]["nonce"], document["entries"]["one"]["nonce"]}
        made = made.with_entry(KEY, ONE)
    assert len(seen) == 100


def test_revision_changes_with_every_change() -> None:
    first = vault(ONE)
    assert SealedVault.parse(first.dump()).revision == first.revision
    assert first.with_entry(KEY, ONE).revision != first.revision


def test_removing_an_entry_that_is_not_there() -> None:
    with pytest.raises(VaultError, match="no entry two"):
        vault(ONE).without_entry(KEY, "two")


# ---------------------------------------------------------------------------- keys


def test_a_key_file_gives_its_key() -> None:
    content, key = new_key_file()
    assert decode_key_file(content) == key
    assert len(key) == KEY_BYTES


@pytest.mark.parametrize("content", [b"", b"!!", b"QUJD\n", b"\xff" * 44])
def test_a_bad_key_file_is_refused(content: bytes) -> None:
    with pytest.raises(VaultError, match=r"vault\.key"):
        decode_key_file(content)


def test_composed_and_decomposed_passphrases_are_the_same() -> None:
    method = KeyMethod.argon2id()
    assert method.derive("caf\u00e9 caf\u00e9 caf\u00e9") == method.derive(
        "cafe\u0301 " * 2 + "cafe\u0301"
    )
    assert method.derive("one passphrase") != KeyMethod.argon2id().derive("one passphrase")


@pytest.mark.parametrize(
    "method",
    [
        KeyMethod.key_file(),
        KeyMethod("argon2id", salt="AAAA", time=3, memory=65536, lanes=4),
        KeyMethod("argon2id", salt="!", time=3, memory=65536, lanes=4),
        KeyMethod("argon2id", salt="A" * 22 + "==", time=3, memory=8, lanes=4),
        KeyMethod("argon2id", salt="A" * 22 + "==", time=3, memory=2**30, lanes=4),
        KeyMethod("argon2id", salt="A" * 22 + "==", time=10**6, memory=65536, lanes=4),
        KeyMethod("argon2id", salt="A" * 22 + "==", time=3, memory=65536, lanes=0),
    ],
)
def test_costs_outside_the_safe_range_are_refused(method: KeyMethod) -> None:
    with pytest.raises(VaultError, match="safe range"):
        method.derive("a passphrase")
