"""The start-up protocol's parser: what it takes, and that nothing else breaks it."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless_sidecar.postgres import wire

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
names = texts.filter(lambda name: name and not name.startswith("_pq_."))


def first(code: int, rest: bytes = b"") -> bytes:
    return struct.pack("!I", code) + rest


@given(st.dictionaries(names, texts, max_size=20))
def test_a_startup_message_is_read_as_it_was_written(parameters: dict[str, str]) -> None:
    raw = wire.startup_message(parameters)
    if len(raw) > wire.MAX_STARTUP:
        return
    assert wire.first_length(raw[:4]) == len(raw) - 4
    assert wire.parse_first(raw[4:]) == wire.Startup(0, parameters)


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_read_but_never_breaks_the_parser(raw: bytes) -> None:
    with contextlib.suppress(wire.WireError):
        wire.parse_first(raw)


@given(st.binary(max_size=200), st.sampled_from([0x30000, 0x30002, 80877102, 80877103, 80877104]))
def test_garbage_after_a_known_code_never_breaks_the_parser(rest: bytes, code: int) -> None:
    try:
        found = wire.parse_first(first(code, rest))
    except wire.WireError:
        return
    if isinstance(found, wire.Startup):
        assert rest.endswith(b"\0")
        assert not any("\0" in text for pair in found.parameters.items() for text in pair)


@pytest.mark.parametrize("length", [0, 4, 7, 10_001, 2**31, 2**32 - 1, 0x16030100])
def test_lengths_out_of_range_are_refused(length: int) -> None:
    with pytest.raises(wire.WireError, match="length"):
        wire.first_length(struct.pack("!I", length))


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        (b"", "no end"),
        (b"user\0app\0", "no end"),
        (b"user\0app", "no end"),
        (b"user\0", "no end"),
        (b"user\0app\0\0x", "after its end"),
        (b"user\0app\0\0\0", "after its end"),
        (b"user\0a\0user\0b\0\0", "twice"),
        (b"user\0\xff\xfe\0\0", "UTF-8"),
        (b"".join(b"a%d\0b\0" % number for number in range(65)) + b"\0", "too many"),
    ],
)
def test_startup_packets_with_another_layout_are_refused(rest: bytes, why: str) -> None:
    with pytest.raises(wire.WireError, match=why):
        wire.parse_first(first(0x30000, rest))


@pytest.mark.parametrize("code", [0, 0x20000, 0x40000, 0x48545450, 80877105])
def test_other_protocols_are_refused(code: int) -> None:
    with pytest.raises(wire.WireError, match="protocol 3"):
        wire.parse_first(first(code, b"\0"))


def test_minor_versions_and_extensions_are_kept_apart() -> None:
    found = wire.parse_first(first(0x30002, b"user\0app\0_pq_.x\0on\0\0"))
    assert found == wire.Startup(2, {"user": "app"}, ("_pq_.x",))
    answer = wire.negotiate_version(("_pq_.x",))
    assert answer == b"v\0\0\0\x13" + struct.pack("!ii", 0x30000, 1) + b"_pq_.x\0"


def test_cancel_requests() -> None:
    key = wire.BackendKey(-5, b"\1\2\3\4")
    raw = wire.cancel_request(key)
    assert wire.parse_first(raw[4:]) == wire.CancelRequest(key.pid, key.secret)
    longest = wire.BackendKey(7, bytes(256))
    assert wire.parse_first(wire.cancel_request(longest)[4:]) == wire.CancelRequest(7, bytes(256))
    for secret in (b"", b"123", bytes(257)):
        with pytest.raises(wire.WireError):
            wire.parse_first(wire.cancel_request(wire.BackendKey(7, secret))[4:])
    assert "1, 2" not in repr(key)
    assert "secret" not in repr(key)


def test_encryption_requests_hold_nothing_else() -> None:
    assert wire.parse_first(wire.ssl_request()[4:]) == wire.EncryptionRequest("ssl")
    with pytest.raises(wire.WireError):
        wire.parse_first(first(80877103, b"more"))


@given(texts, texts, texts)
def test_an_error_response_says_what_it_was_given(sentence: str, hint: str, detail: str) -> None:
    raw = wire.error_response(sentence, "28000", hint=hint, detail=detail)
    assert raw[:1] == b"E"
    assert int.from_bytes(raw[1:5], "big") == len(raw) - 1
    fields = wire.notice_fields(raw[5:])
    assert fields["S"] == "FATAL"
    assert fields["C"] == "28000"
    assert (fields.get("M", ""), fields.get("H", ""), fields.get("D", "")) == (
        sentence,
        hint,
        detail,
    )


@given(st.binary(max_size=100))
def test_a_servers_error_never_breaks_the_parser(body: bytes) -> None:
    try:
        fields = wire.notice_fields(body)
    except wire.WireError:
        return
    assert all("\0" not in text for text in fields.values())


@given(st.binary(max_size=100))
def test_texts_stay_as_they_are_where_nothing_is_changed(body: bytes) -> None:
    assert wire.rewrite_texts(body, str) == body


def test_texts_are_changed_one_by_one() -> None:
    body = b"name\0a secret here\0"
    assert wire.rewrite_texts(body, lambda text: text.replace("secret", "-")) == b"name\0a - here\0"


@pytest.mark.parametrize("parameters", [{"": "x"}, {"a\0b": "x"}, {"a": "x\0y"}, {"a": "\ud800"}])
def test_what_cant_be_sent_is_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(wire.WireError):
        wire.startup_message(parameters)


@pytest.mark.parametrize("size", [0, 4, 7, 261])
def test_backend_keys_of_odd_length_are_refused(size: int) -> None:
    with pytest.raises(wire.WireError):
        wire.parse_backend_key(bytes(size))
