"""The book of placeholders, as the proxy uses it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless_sidecar import placeholders
from keyless_sidecar.placeholders import AwsKeys, PlaceholderBook, is_placeholder
from keyless_sidecar.vault import EntryInfo

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def entry(name: str = "prod", kind: str = "aws") -> EntryInfo:
    return EntryInfo(name, kind, ("aws",), "env", "memory")


def real(number: int = 1, hours: float = 1) -> AwsKeys:
    return AwsKeys(f"ASIAREAL{number:012}", f"s{number}" * 20, f"t{number}" * 50, later(hours))


def later(hours: float) -> datetime:
    return NOW + timedelta(hours=hours)


def test_shapes() -> None:
    keys = PlaceholderBook().for_entry(entry())
    assert re.fullmatch(r"AKIAKEYLESS[A-Z2-7]{9}", keys.access_key_id)
    assert re.fullmatch(r"keyless0[A-Za-z0-9+/]{32}", keys.secret_access_key)
    assert keys.session_token == ""
    assert keys.expires is None


def test_an_entry_keeps_its_placeholder_and_two_entries_differ() -> None:
    book = PlaceholderBook()
    first = book.for_entry(entry())
    assert book.for_entry(entry()) == first
    assert book.for_entry(entry("other")) != first
    found = book.find(first.access_key_id)
    assert found is not None
    assert (found.entry, found.real, found.captured) == ("prod", None, False)
    assert PlaceholderBook().find(first.access_key_id) is None


@pytest.mark.parametrize("shape", ["", "ghp_", "github_pat_", "glpat-", "sk-ant-", "npm_"])
def test_tokens_keep_the_prefix_that_clients_look_for(shape: str) -> None:
    book = PlaceholderBook()
    token = book.token_for(entry("gh", "token"), shape)
    assert token == book.token_for(entry("gh", "token"), shape)
    assert token.startswith(shape)
    assert is_placeholder(token)
    found = book.find_text(token)
    assert found is not None
    assert (found.entry, found.value) == ("gh", "")
    if shape == "ghp_":
        assert re.fullmatch(r"ghp_keyless[A-Za-z0-9]{29}", token)
        assert len(token) == 40


@pytest.mark.parametrize("shape", ["ghp", "a" * 20 + "_", "x y_", "\n_", "_"])
def test_odd_shapes_are_refused(shape: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        PlaceholderBook().token_for(entry("gh", "token"), shape)


def test_no_secret_in_a_repr() -> None:
    book = PlaceholderBook()
    parent = book.find(book.for_entry(entry()).access_key_id)
    assert parent is not None
    captured = book.find(book.capture(real(), parent).access_key_id)
    text = book.find_text(book.capture_text("kind", "the-very-secret", parent))
    shown = repr(captured) + repr(text) + repr(real()) + repr(parent)
    assert not any(value in shown for value in real().values()[1:])
    assert "the-very-secret" not in shown
    assert parent.placeholder.secret_access_key not in shown


def test_captured_credentials_have_the_real_ones_shape_and_end() -> None:
    book = PlaceholderBook(Clock())
    parent = book.find(book.for_entry(entry()).access_key_id)
    assert parent is not None
    session = book.capture(real(), parent)
    assert re.fullmatch(r"ASIAKEYLESS[A-Z2-7]{9}", session.access_key_id)
    assert re.fullmatch(r"keylessplaceholder/[A-Za-z0-9+/]{200}", session.session_token)
    assert session.expires == later(1)
    assert book.capture(real(), parent) == session
    lasting = book.capture(AwsKeys("AKIAREAL", "s" * 40), parent)
    assert lasting.access_key_id.startswith("AKIAKEYLESS")
    assert (lasting.session_token, lasting.expires) == ("", None)


def test_an_expired_one_is_known_but_its_values_are_gone() -> None:
    clock = Clock()
    book = PlaceholderBook(clock)
    parent = book.find(book.for_entry(entry()).access_key_id)
    assert parent is not None
    session = book.capture(real(hours=1), parent)
    clock.now = later(1)
    found = book.find(session.access_key_id)
    assert found is not None
    assert found.expired(clock.now)
    assert found.real is None
    assert found.captured
    assert book.captured_values() == []


def test_the_same_session_for_two_entries_ends_with_each_alone() -> None:
    book = PlaceholderBook(Clock())
    parents = [book.find(book.for_entry(entry(n)).access_key_id) for n in ("one", "two")]
    first, second = (book.capture(real(), parent) for parent in parents if parent)
    assert first != second
    book.forget("one")
    assert book.find(first.access_key_id) is None
    assert book.find(second.access_key_id) is not None


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_forgetting_the_root_ends_every_chain(parents: list[int]) -> None:
    book = PlaceholderBook(Clock())
    chain = [book.for_entry(entry())]
    for number, at in enumerate(parents):
        parent = book.find(chain[at % len(chain)].access_key_id)
        assert parent is not None
        chain.append(book.capture(real(number), parent))
    root = book.find(chain[0].access_key_id)
    assert root is not None
    text = book.capture_text("kind", "value of a secret", root)
    other = book.for_entry(entry("other"))
    before = book.revision
    book.forget("prod")
    assert all(book.find(keys.access_key_id) is None for keys in chain)
    assert book.find_text(text) is None
    assert book.captured_values() == []
    assert book.find(other.access_key_id) is not None
    assert book.revision > before
    assert book.for_entry(entry()) != chain[0]


def test_captured_values_are_told_to_the_sanitizer() -> None:
    book = PlaceholderBook(Clock())
    parent = book.find(book.for_entry(entry()).access_key_id)
    assert parent is not None
    before = book.revision
    book.capture(real(), parent)
    placeholder = book.capture_text("secretsmanager:GetSecretValue", "hunter2hunter2", parent)
    assert placeholder == book.capture_text(
        "secretsmanager:GetSecretValue", "hunter2hunter2", parent
    )
    values = [value.decode() for _, value in book.captured_values()]
    assert sorted(values) == sorted([*real().values(), "hunter2hunter2"])
    assert {label for label, _ in book.captured_values()} == {"prod"}
    assert book.revision == before + 2


def test_a_flood_of_captures_drops_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placeholders, "MAX_CAPTURED", 10)
    book = PlaceholderBook(Clock())
    own = book.for_entry(entry())
    parent = book.find(own.access_key_id)
    assert parent is not None
    made = [book.capture(real(n), parent) for n in range(50)]
    texts = [book.capture_text("kind", f"secret text {n}", parent) for n in range(50)]
    assert book.find(own.access_key_id) is not None
    assert [book.find(k.access_key_id) is not None for k in made] == [False] * 40 + [True] * 10
    assert [book.find_text(t) is not None for t in texts] == [False] * 40 + [True] * 10
    assert book.capture(real(0), parent) != made[0]
