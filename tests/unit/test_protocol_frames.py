"""Frames: whatever arrives, in whatever pieces, gives messages or a ``ProtocolError``."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless.protocol import messages as m
from keyless.protocol.frames import (
    MAX_FRAME,
    FrameReader,
    ProtocolError,
    encode,
    reply_reader,
    request_reader,
)

ids = st.integers(1, 2**53)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.dictionaries(words, st.integers(0, 100), max_size=3)

requests = st.one_of(
    st.builds(m.Hello, version=st.integers(-(2**60), 2**60)),
    st.builds(
        m.Exec,
        id=ids,
        tool=st.text("abc", min_size=1, max_size=128),
        argv=st.lists(words, max_size=5),
        credentials=st.none() | st.lists(st.text("abc", min_size=1, max_size=9), max_size=16),
        timeout=st.none() | st.floats(allow_nan=False),
        isolated=st.booleans(),
        cwd=words,
        stdin_size=st.none() | st.integers(0, m.MAX_STDIN_BYTES),
        dry_run=st.booleans(),
        terminal=st.none()
        | st.builds(m.Terminal, rows=st.integers(1, 500), columns=st.integers(1, 500)),
        refused=words,
        cell=st.builds(m.CellInfo, execution_count=st.integers(0, 99), cell_hash=words),
    ),
    st.builds(m.Stdin, id=ids, data=st.binary(max_size=100)),
    st.builds(m.Keys, id=ids, data=st.binary(min_size=1, max_size=100)),
    st.builds(m.Resize, id=ids, rows=st.integers(1, 500), columns=st.integers(1, 500)),
    st.builds(m.Cancel, id=ids),
    st.builds(m.Credit, id=ids, size=st.integers(1, 2**31)),
    st.builds(m.StatusQuery, id=ids),
)
replies = st.one_of(
    st.builds(m.Welcome, version=st.integers(0, 9), kernel_id=words, level=words),
    st.builds(m.Started, id=ids, record_id=words),
    st.builds(m.Output, id=ids, stream=st.sampled_from(["stdout", "stderr"]), data=words),
    st.builds(m.Waiting, id=ids, echo=st.booleans()),
    st.builds(
        m.Finished,
        id=ids,
        exit_code=st.integers(-300, 300),
        duration=st.floats(0, 1e6),
        record_id=words,
        redactions=counts,
        files=st.lists(
            st.builds(m.WrittenFile, path=words, size=st.integers(0, 2**60), sha256=words),
            max_size=3,
        ),
        notes=st.lists(words, max_size=3),
    ),
    st.builds(
        m.Failed,
        id=ids,
        kind=st.sampled_from(["PolicyDenied", "InvalidRequest", "CommandTimeout"]),
        message=words,
        record_id=words,
        duration=st.floats(0, 1e6),
        redactions=counts,
    ),
)


def frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def packed(**fields: object) -> bytes:
    return frame(msgspec.msgpack.encode(fields))


EXEC = {"type": "exec", "id": 1, "tool": "aws", "argv": []}


@given(st.lists(requests, max_size=6), st.data())
def test_requests_survive_any_chunking(sent: list[m.Request], data: st.DataObject) -> None:
    stream = b"".join(encode(message) for message in sent)
    reader = request_reader()
    got: list[m.Request] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got.extend(reader.feed(stream[:size]))
        stream = stream[size:]
    assert got == sent
    assert reader.pending == 0


@given(st.lists(replies, max_size=6), st.integers(1, 50))
def test_replies_survive_any_chunking(sent: list[m.Reply], size: int) -> None:
    stream = b"".join(encode(message) for message in sent)
    reader = reply_reader()
    got: list[m.Reply] = []
    for start in range(0, len(stream), size):
        got.extend(reader.feed(stream[start : start + size]))
    assert got == sent


@given(st.lists(st.binary(max_size=200)), st.booleans())
def test_random_bytes_never_crash_a_reader(pieces: list[bytes], framed: bool) -> None:
    readers: list[FrameReader[Any]] = [request_reader(), reply_reader()]
    for reader in readers:
        try:
            for piece in pieces:
                for message in reader.feed(frame(piece) if framed else piece):
                    assert isinstance(message, m.Request | m.Reply)
        except ProtocolError:
            continue


@given(requests, st.data())
def test_a_damaged_request_never_crashes_a_reader(request_: m.Request, data: st.DataObject) -> None:
    damaged = bytearray(encode(request_))
    position = data.draw(st.integers(4, len(damaged) - 1))
    damaged[position] = data.draw(st.integers(0, 255))
    try:
        for message in request_reader().feed(bytes(damaged)):
            assert isinstance(message, m.Request)
    except ProtocolError:
        return


@pytest.mark.parametrize(
    "garbage",
    [
        frame(b""),
        struct.pack(">I", MAX_FRAME + 1) + b"x",
        struct.pack(">I", 0xFFFFFFFF),
        struct.pack("<I", 0x7FFFFFFF),
        b"GET / HTTP/1.1\r\n\r\n",
        frame(b"\xc1"),
        frame(b"{}"),
        frame(msgspec.msgpack.encode([1, 2])),
        frame(msgspec.msgpack.encode(EXEC) + b"\x00"),
        frame(b"\x91" * 100_000 + b"\x00"),
        frame(b"\x81\xa4type\xa2\xff\xfe"),
        packed(id=1),
        packed(type="nonsense", id=1),
        packed(type="finished", id=1, exit_code=0, duration=1.0, record_id="x"),
        packed(**EXEC, extra=1),
        packed(**EXEC | {"id": 0}),
        packed(**EXEC | {"id": 2**53 + 1}),
        packed(**EXEC | {"id": "1"}),
        packed(**EXEC | {"tool": ""}),
        packed(**EXEC | {"tool": "x" * 129}),
        packed(**EXEC | {"argv": "ls"}),
        packed(**EXEC | {"argv": [b"ls"]}),
        packed(**EXEC | {"argv": ["x"] * 16385}),
        packed(**EXEC, cwd="x" * 4097),
        packed(**EXEC, credentials=["x"] * 17),
        packed(**EXEC, refused="x" * 1025),
        packed(**EXEC, stdin_size=-1),
        packed(**EXEC, stdin_size=m.MAX_STDIN_BYTES + 1),
        packed(type="stdin", id=1, data=b"x" * (m.MAX_STDIN_CHUNK + 1)),
        packed(**EXEC, terminal={"rows": 0, "columns": 80}),
        packed(**EXEC, terminal={"rows": 24, "columns": 501}),
        packed(**EXEC, terminal={"rows": 24, "columns": 80, "name": "x"}),
        packed(type="keys", id=1, data=b""),
        packed(type="keys", id=1, data=b"x" * (m.MAX_KEYS + 1)),
        packed(type="resize", id=1, rows=24, columns=2**31),
        packed(type="credit", id=1, size=0),
        packed(type="credit", id=1, size=2**31 + 1),
        packed(type="cancel"),
    ],
)
def test_what_is_no_request_is_an_error(garbage: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(request_reader().feed(garbage))


def test_good_messages_before_a_bad_one_still_come_out() -> None:
    messages = request_reader().feed(encode(m.Cancel(id=1)) + frame(b"\xc1"))
    assert next(messages) == m.Cancel(id=1)
    with pytest.raises(ProtocolError):
        next(messages)


def test_the_length_is_checked_before_the_body_arrives() -> None:
    with pytest.raises(ProtocolError, match="allowed"):
        list(request_reader().feed(struct.pack(">I", MAX_FRAME + 1)))


def test_the_largest_frame_passes_and_one_byte_more_does_not() -> None:
    room = MAX_FRAME - len(encode(m.Output(id=1, stream="stdout", data="x" * 70_000))) + 4 + 70_000
    largest = m.Output(id=1, stream="stdout", data="x" * room)
    assert len(encode(largest)) == MAX_FRAME + 4
    assert list(reply_reader().feed(encode(largest))) == [largest]
    with pytest.raises(ProtocolError, match="exceeds"):
        encode(m.Output(id=1, stream="stdout", data="x" * (room + 1)))


def test_a_reader_may_have_a_smaller_limit() -> None:
    reader: FrameReader[m.Cancel] = FrameReader(m.Cancel, max_frame=10)
    with pytest.raises(ProtocolError, match="1 to 10"):
        list(reader.feed(struct.pack(">I", 11)))


def test_a_full_command_and_its_input_fit_into_frames() -> None:
    argv = ["x" * 15] * 16384
    encode(m.Exec(id=2**53, tool="x" * 128, argv=argv, cwd="é" * 4096))
    encode(m.Stdin(id=2**53, data=b"x" * m.MAX_STDIN_CHUNK))
