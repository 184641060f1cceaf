"""Credit, standard input, and the two streams of a command."""

from __future__ import annotations

import asyncio
import os

import pytest

from keyless.protocol.messages import Exec
from keyless_sidecar.execution.streams import PIECE, Stream, Streams, merge
from keyless_sidecar.flow import Credit, Flow, FlowError, StandardInput
from keyless_sidecar.sanitize import Patterns

SECRET = "kJ7vQ2xW9mZ4tR8bN3cY6hL1pD5sF0gA"


async def test_credit_is_waited_for() -> None:
    credit = Credit(10)
    await credit.take(10)
    taking = [asyncio.create_task(credit.take(5)) for _ in range(2)]
    await asyncio.sleep(0)
    credit.add(6)
    await asyncio.sleep(0.01)
    assert sorted(task.done() for task in taking) == [False, True]
    credit.add(4)
    await asyncio.wait_for(asyncio.gather(*taking), 5)


async def test_credit_does_not_grow_without_bound() -> None:
    credit = Credit(0)
    for _ in range(4):
        credit.add(2**31)
    await credit.take(2**31)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(credit.take(1), 0.01)


async def test_standard_input_is_complete_when_all_has_come() -> None:
    stdin = StandardInput(6)
    stdin.feed(b"abc")
    assert not stdin.complete.is_set()
    stdin.feed(b"def")
    assert stdin.complete.is_set()
    descriptor = stdin.open()
    stdin.close()
    stdin.close()
    assert os.read(descriptor, 100) == b"abcdef"
    with pytest.raises(OSError):
        os.write(descriptor, b"x")
    os.close(descriptor)


async def test_input_that_was_not_announced() -> None:
    with pytest.raises(FlowError):
        Flow(Exec(id=1, tool="t", argv=[])).feed_stdin(b"")
    flow = Flow(Exec(id=1, tool="t", argv=[], stdin_size=1))
    flow.close()
    flow.feed_stdin(b"x")  # ended meanwhile: dropped
    with pytest.raises(FlowError):
        flow.feed_stdin(b"y")


class Source:
    """Two scripted streams."""

    def __init__(self, stdout: list[bytes], stderr: list[bytes]) -> None:
        self._data = {"stdout": [*stdout, b""], "stderr": [*stderr, b""]}

    async def read(self, stream: str, size: int) -> bytes:
        await asyncio.sleep(0)
        return self._data[stream].pop(0)


class Sink:
    def __init__(self) -> None:
        self.text = {"stdout": "", "stderr": ""}
        self.pieces: list[int] = []
        self.limited = 0

    async def emit(self, stream: Stream, text: str) -> None:
        self.text[stream] += text
        self.pieces.append(len(text))

    def limit(self) -> None:
        self.limited += 1


async def pump(
    stdout: list[bytes], stderr: list[bytes], limit: int = 1 << 20
) -> tuple[Streams, Sink]:
    sink = Sink()
    patterns = Patterns.build([("canary", SECRET.encode())])
    streams = Streams(Source(stdout, stderr), patterns, limit, sink.emit, sink.limit)
    await streams.run()
    return streams, sink


async def test_redactions_of_both_streams_are_added_up() -> None:
    halves = [SECRET[:10].encode(), SECRET[10:].encode()]
    streams, sink = await pump(halves, [SECRET.encode(), b"\n", SECRET.encode()])
    assert sink.text["stdout"] == "[redacted:canary]"
    assert sink.text["stderr"] == "[redacted:canary]\n[redacted:canary]"
    assert streams.redactions == {"canary": 3}
    assert streams.size == 3 * len(SECRET) + 1


async def test_limit_counts_both_streams_and_stops_both() -> None:
    streams, sink = await pump([b"0123456789"] * 3, [], limit=25)
    assert sink.text["stdout"] == "0123456789" * 2 + "01234"
    assert streams.over
    assert sink.limited == 1


async def test_output_up_to_the_limit_is_fine() -> None:
    streams, sink = await pump([b"01234"], [b"56789"], limit=10)
    assert not streams.over
    assert sink.limited == 0


async def test_text_goes_out_in_pieces_that_a_window_covers() -> None:
    _, sink = await pump([("ä" * 100000).encode()], [])
    assert sink.text["stdout"] == "ä" * 100000
    assert max(sink.pieces) <= PIECE


def test_merge() -> None:
    assert merge({"a": 1}, {}, {"a": 2, "b": 1}) == {"a": 3, "b": 1}
