"""Heads and bodies against anything: an answer or a refusal, never another error, never a doubt."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from http.client import parse_headers
from io import BytesIO

from hypothesis import example, given
from hypothesis import strategies as st

from keyless_sidecar.egress import addressing, bodies, http1, writing
from keyless_sidecar.egress.connecting import connect
from keyless_sidecar.egress.messages import BadMessage, UpstreamFailed, replaced, without
from keyless_sidecar.egress.streams import Link
from keyless_sidecar.execution.destinations import Destination

PLACE = Destination("api.example", 443)
GOOD = b"PUT /x?y HTTP/1.1\r\nHost: api.example\r\nContent-Length: 5\r\nX-A: b\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\n"
_INSERTED = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b":", b"\x0b", b"\x85", b"0", b",", b"_", b"\\"]
)
_EDITS = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 3), _INSERTED), max_size=4)


def edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, removed, inserted in edits:
        start = place % len(data)
        data = data[:start] + inserted + data[start + removed :]
    return data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


@given(edits=_EDITS)
@example(edits=[])
def test_what_is_accepted_is_written_as_one_request(edits: list[tuple[int, int, bytes]]) -> None:
    raw = edited(GOOD, edits)
    try:
        head = http1.read_request(raw)
        request = head.request(PLACE, "https", addressing.tunnelled(head, PLACE))
    except BadMessage:
        return
    written = writing.write_request(request)
    assert written.count(b"\r\n\r\n") == 1
    again = http1.read_request(written)
    assert again.length == head.length
    assert again.target == head.target
    # A lenient reader sees the same headers.
    lenient = parse_headers(BytesIO(written.partition(b"\r\n")[2]))
    assert [(name, value) for name, value in lenient.items()] == again.headers


@given(data=st.binary(max_size=300))
def test_any_bytes_are_answered_or_refused(data: bytes) -> None:
    for read, error in ((http1.read_request, BadMessage), (http1.read_status, UpstreamFailed)):
        with contextlib.suppress(error):
            read(data + b"\r\n\r\n")


@given(edits=_EDITS)
def test_what_is_accepted_of_a_server_is_written_as_one_answer(
    edits: list[tuple[int, int, bytes]],
) -> None:
    try:
        status = http1.read_status(edited(ANSWER, edits))
    except UpstreamFailed:
        return
    if status.status >= 200:
        written = writing.write_status(status.status, status.reason, status.headers)
        assert written.count(b"\r\n\r\n") == 1
        assert http1.read_status(written).headers == status.headers


class Transport(asyncio.Transport):
    """Nothing behind it."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=300), max_size=20),
    cuts=st.lists(st.integers(0, 10_000), max_size=40),
    extension=st.sampled_from([b"", b";a", b";a=b", b';a="b"']),
    trailer=st.sampled_from([b"", b"X: y\r\n", b"X: y\r\nZ:\r\n"]),
)
async def test_chunks_are_read_however_they_come(
    pieces: list[bytes], cuts: list[int], extension: bytes, trailer: bytes
) -> None:
    coded = b"".join(b"%x%s\r\n%s\r\n" % (len(each), extension, each) for each in pieces)
    coded += b"0\r\n" + trailer + b"\r\n" + b"NEXT"
    bounds = sorted({cut % (len(coded) + 1) for cut in cuts} | {0, len(coded)})
    link = Link()
    link.connection_made(Transport())

    async def feed() -> None:
        for start, end in itertools.pairwise(bounds):
            link.data_received(coded[start:end])
            await asyncio.sleep(0)

    feeding = asyncio.create_task(feed())
    body, got = bodies.Chunked(link), b""
    while data := await body.pull():
        got += data
    await feeding
    assert got == b"".join(pieces)
    assert body.finished
    assert await link.read_until(b"NEXT", 100) == b"NEXT"


async def test_a_cancelled_pull_loses_nothing_and_ends_nothing() -> None:
    link = Link()
    link.connection_made(Transport())
    body = bodies.Chunked(link)
    link.data_received(b"3\r\nabc\r\n3")
    pulling = asyncio.create_task(body.pull())
    await asyncio.sleep(0)
    pulling.cancel()
    await asyncio.wait({pulling})
    link.data_received(b"\r\ndef\r\n0\r\n\r\n")
    assert await body.pull() == b"abcdef"
    assert body.finished


def test_header_helpers() -> None:
    headers = [("A", "1"), ("b", "2"), ("a", "3")]
    assert replaced(headers, "a", "x") == [("A", "x"), ("b", "2")]
    assert replaced(headers, "c", "x") == [*headers, ("c", "x")]
    assert without(headers, "A") == [("b", "2")]


async def test_answers_are_not_held_back_by_the_kernel() -> None:
    """A listener that was made elsewhere: asyncio alone would leave Nagle's algorithm on."""
    accepted: list[Link] = []
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Link(accepted.append), sock=listener)
    link = await connect("127.0.0.1", port)
    await link.write(b"x")
    while not accepted:
        await asyncio.sleep(0)
    for each in (link, accepted[0]):
        own = each._live().get_extra_info("socket")
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await each.close()
    server.close()
