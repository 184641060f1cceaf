"""A hostile kernel side: whatever it sends, the sidecar runs nothing wrong and never crashes."""

from __future__ import annotations

import contextlib
import struct

import msgspec
import pytest
from tests.support.sidecar import Sidecar

from keyless.protocol.frames import encode
from keyless.protocol.messages import (
    Cancel,
    Credit,
    Exec,
    Failed,
    Hello,
    Request,
    StatusQuery,
    Stdin,
)

from .conftest import StartSidecar


def closed(sidecar: Sidecar) -> str:
    """The channel was closed for good, with a record and without a crash; its reason."""
    with contextlib.suppress(EOFError, ConnectionError):
        while sidecar.receive():
            pass
    assert sidecar.wait() == 3
    assert "Traceback" not in sidecar.log()
    records = sidecar.records()
    assert records[-1]["kind"] == "audit.close"
    (violation,) = [record for record in records if record["kind"] == "channel.violation"]
    return str(violation["fields"]["reason"])


def frame(value: object) -> bytes:
    body = msgspec.msgpack.encode(value)
    return struct.pack(">I", len(body)) + body


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack(">I", 0),
        struct.pack(">I", 0xFFFFFFFF) + b"x",
        struct.pack("<I", 0x7FFFFFFF) + b"x",
        struct.pack(">I", 1024 * 1024 + 1),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"{" * 100000,
        b"\n" * 10,
        struct.pack(">I", 3) + b"\xff\xfe\xfd",
        struct.pack(">I", 4) + b"\x80\x04\x95\x0c",
        struct.pack(">I", 100000) + b"\x91" * 100000,
        frame({"type": "nosuch"}),
        frame({"type": "exec"}),
        frame([1, 2, 3]),
        frame("hello"),
        frame(None),
        frame({"type": "hello", "version": 1, "more": 1}),
        frame({"type": "hello", "version": "1"}),
        frame({"type": "exec", "id": 0, "tool": "leaky", "argv": []}),
        frame({"type": "exec", "id": 2**60, "tool": "leaky", "argv": []}),
        frame({"type": "exec", "id": 1, "tool": "", "argv": []}),
        frame({"type": "exec", "id": 1, "tool": "leaky", "argv": [b"\xff"]}),
        frame({"type": "exec", "id": 1, "tool": "leaky", "argv": [], "path": "/bin/sh"}),
        frame({"type": "exec", "id": 1, "tool": "leaky", "argv": [], "stdin_size": 2**40}),
        frame({"type": "finished", "id": 1, "exit_code": 0, "duration": 0.0, "record_id": "x"}),
    ],
)
@pytest.mark.parametrize("greeted", [False, True])
def test_malformed_frames(start_sidecar: StartSidecar, raw: bytes, greeted: bool) -> None:
    sidecar = start_sidecar()
    if greeted:
        sidecar.hello()
    sidecar.channel.sendall(raw)
    assert closed(sidecar)


@pytest.mark.parametrize(
    "message",
    [
        Exec(id=1, tool="leaky", argv=["plain"]),
        StatusQuery(id=1),
        Stdin(id=1, data=b"x"),
        Cancel(id=1),
        Credit(id=1, size=1),
        Hello(version=2),
    ],
)
def test_nothing_goes_before_hello(start_sidecar: StartSidecar, message: Request) -> None:
    sidecar = start_sidecar()
    sidecar.send(message)
    assert closed(sidecar)


@pytest.mark.parametrize(
    "messages",
    [
        (Hello(version=1),),
        (Exec(id=5, tool="x", argv=[]), Exec(id=5, tool="x", argv=[])),
        (Exec(id=5, tool="x", argv=[]), Exec(id=4, tool="x", argv=[])),
        (Exec(id=5, tool="x", argv=[]), StatusQuery(id=5)),
        (Cancel(id=1),),
        (Credit(id=1, size=1),),
        (Stdin(id=1, data=b"x"),),
        (
            Exec(id=5, tool="leaky", argv=["stdin"], stdin_size=1),
            Stdin(id=5, data=b"xy"),
        ),
        (Exec(id=5, tool="leaky", argv=["sleep", "5"]), Stdin(id=5, data=b"x")),
    ],
)
def test_messages_out_of_place(sidecar: Sidecar, messages: tuple[Request, ...]) -> None:
    sidecar.send(*messages)
    assert closed(sidecar)


def test_recorded_frames_do_not_run_again(sidecar: Sidecar) -> None:
    recorded = encode(Exec(id=1, tool="leaky", argv=["rc", "0"]))
    sidecar.channel.sendall(recorded)
    sidecar.collect(1)
    sidecar.channel.sendall(recorded)
    closed(sidecar)
    requests = [record for record in sidecar.records() if record["kind"] == "exec.request"]
    assert len(requests) == 1


def test_late_messages_for_an_ended_request_are_harmless(sidecar: Sidecar) -> None:
    request = sidecar.start("x", tool="nosuch", stdin=b"input for nobody")
    assert isinstance(sidecar.collect(request).end, Failed)
    sidecar.send(Cancel(id=request), Credit(id=request, size=10), Stdin(id=request, data=b"x"))
    assert sidecar.run("rc", "0").finished.exit_code == 0


def test_half_a_frame_and_then_the_end(sidecar: Sidecar) -> None:
    sidecar.channel.sendall(encode(StatusQuery(id=1))[:-3])
    sidecar.channel.close()
    assert sidecar.wait() == 0


def test_a_frame_in_small_pieces(sidecar: Sidecar) -> None:
    for byte in encode(Exec(id=1, tool="leaky", argv=["rc", "3"])):
        sidecar.channel.sendall(bytes([byte]))
    assert sidecar.collect(1).finished.exit_code == 3


def test_queries_that_nobody_reads_the_answers_of(sidecar: Sidecar) -> None:
    sidecar.channel.settimeout(2)
    before = sidecar.memory()
    number = 0
    with contextlib.suppress(TimeoutError):
        while number < 10**6:
            number += 1
            sidecar.send(StatusQuery(id=number))
    assert number < 10**6
    assert sidecar.memory() - before < 16 << 20
    sidecar.channel.close()
    assert sidecar.wait() == 0
