"""The channel with a fake service: order, limits, and a peer that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from keyless.protocol.calls import Call, Describe, Description
from keyless.protocol.frames import encode, reply_reader
from keyless.protocol.messages import (
    Cancel,
    CloseSession,
    Exec,
    Failed,
    FailureKind,
    Finished,
    Hello,
    OpenSession,
    Output,
    Reply,
    Request,
    Status,
    StatusQuery,
    Stdin,
)
from keyless_sidecar.channel import Channel, Send
from keyless_sidecar.dispatch import Violation
from keyless_sidecar.flow import CallFlow, Flow


class Service:
    """Does what the tool's name says."""

    def __init__(self) -> None:
        self.ended: list[int] = []

    async def serve(self, flow: Flow, send: Send) -> None:
        request = flow.request
        try:
            if request.tool == "wait":
                await flow.cancelled.wait()
            elif request.tool == "flood":
                while True:
                    await send(Output(id=request.id, stream="stdout", data="x" * 10000))
            elif request.tool == "input":
                assert flow.stdin is not None
                await flow.stdin.complete.wait()
            elif request.tool == "forever":
                await asyncio.Event().wait()
            await send(Finished(id=request.id, exit_code=0, duration=0.0, record_id="r"))
        finally:
            self.ended.append(request.id)
            flow.close()

    async def refuse(self, request: Exec, kind: FailureKind, message: str, rule: str) -> Reply:
        return Failed(id=request.id, kind=kind, message=message, record_id="r")


class Calls:
    """Makes no calls; knows one name."""

    async def serve(self, flow: CallFlow, send: Send) -> None:
        await send(Failed(id=flow.request.id, kind="InvalidRequest", message="No calls here."))

    async def refuse(self, request: Call, kind: FailureKind, message: str, rule: str) -> Reply:
        return Failed(id=request.id, kind=kind, message=message, record_id="r")

    async def describe(self, question: Describe) -> Description:
        return Description(id=question.id, names=["sts"])


class NoSessions:
    """Nobody may have any."""

    async def serve(self, request: OpenSession | CloseSession, send: Send) -> None:
        await send(Failed(id=request.id, kind="PolicyDenied", message="off", record_id="r"))

    async def cancel(self, request: int) -> None:
        return


class Peer:
    """The kernel's end."""

    def __init__(self, sock: socket.socket, service: Service) -> None:
        self.sock = sock
        self.service = service
        self._frames = reply_reader()
        self._queue: list[Reply] = []

    async def send(self, *messages: Request) -> None:
        await asyncio.get_running_loop().sock_sendall(
            self.sock, b"".join(encode(message) for message in messages)
        )

    async def receive(self) -> Reply:
        while not self._queue:
            data = await asyncio.wait_for(
                asyncio.get_running_loop().sock_recv(self.sock, 65536), 10
            )
            if not data:
                raise EOFError
            self._queue += self._frames.feed(data)
        return self._queue.pop(0)


async def status(request_id: int) -> Status:
    return Status(
        id=request_id,
        kernel_id="k",
        level="l",
        guarantees=[],
        workspace="/workspace",
        tools=[],
        credentials=[],
        commands=0,
        audit_records=0,
    )


@contextlib.asynccontextmanager
async def connected(most: int = 4) -> AsyncIterator[tuple[Peer, asyncio.Task[None], Channel]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    service = Service()
    channel = Channel(
        kernel_id="k",
        level="l",
        service=service,
        calls=Calls(),
        status=status,
        sessions=NoSessions(),
        most=most,
    )
    serving = asyncio.create_task(channel.serve(theirs))
    try:
        yield Peer(ours, service), serving, channel
    finally:
        ours.close()
        await channel.close()
        with contextlib.suppress(Violation):
            await asyncio.wait_for(serving, 10)


async def test_a_request_and_a_query() -> None:
    async with connected() as (peer, _, _):
        await peer.send(Hello(version=1), Exec(id=1, tool="now", argv=[]), StatusQuery(id=2))
        kinds = [type(await peer.receive()).__name__ for _ in range(3)]
        assert kinds[0] == "Welcome"
        assert sorted(kinds[1:]) == ["Finished", "Status"]


async def test_a_violation_ends_the_serving() -> None:
    async with connected() as (peer, serving, _):
        await peer.send(Hello(version=1), Exec(id=1, tool="wait", argv=[]), Cancel(id=2))
        with pytest.raises(Violation, match="never came"):
            await serving
        assert peer.service.ended == []


async def test_closing_ends_what_is_under_way() -> None:
    async with connected() as (peer, serving, channel):
        await peer.send(Hello(version=1), Exec(id=1, tool="forever", argv=[]))
        await peer.receive()
        peer.sock.close()
        await serving
        await channel.close()
        assert peer.service.ended == [1]


async def test_requests_beyond_the_cap_are_refused_not_queued() -> None:
    async with connected(most=2) as (peer, _, _):
        await peer.send(Hello(version=1))
        await peer.send(*(Exec(id=number, tool="wait", argv=[]) for number in (1, 2, 3)))
        await peer.receive()
        refused = await peer.receive()
        assert isinstance(refused, Failed)
        assert refused.id == 3
        assert "2 commands are under way" in refused.message
        await peer.send(Cancel(id=1))
        assert isinstance(await peer.receive(), Finished)


async def test_input_is_collected_and_counted() -> None:
    async with connected() as (peer, serving, _):
        await peer.send(Hello(version=1), Exec(id=1, tool="input", argv=[], stdin_size=4))
        await peer.send(Stdin(id=1, data=b"ab"), Stdin(id=1, data=b"cd"))
        await peer.receive()
        assert isinstance(await peer.receive(), Finished)
        await peer.send(Exec(id=2, tool="input", argv=[], stdin_size=1), Stdin(id=2, data=b"xy"))
        with pytest.raises(Violation, match="more standard input"):
            await serving


async def test_a_peer_that_reads_nothing_holds_the_sender_up() -> None:
    async with connected() as (peer, _, channel):
        await peer.send(Hello(version=1), Exec(id=1, tool="flood", argv=[]))
        await asyncio.sleep(0.3)
        writer = channel._writer
        assert writer is not None
        waiting = writer.transport.get_write_buffer_size()
        assert waiting < 1024 * 1024
        await asyncio.sleep(0.2)
        assert writer.transport.get_write_buffer_size() == waiting


async def test_sending_before_the_start_and_after_the_end() -> None:
    channel = Channel(
        kernel_id="k",
        level="l",
        service=Service(),
        calls=Calls(),
        status=status,
        sessions=NoSessions(),
        most=1,
    )
    with pytest.raises(ConnectionError):
        await channel.send(await status(1))
    async with connected() as (peer, serving, running):
        await peer.send(Hello(version=1))
        await peer.receive()
        peer.sock.close()
        await serving
        await running.close()
        with pytest.raises(ConnectionError):
            await running.send(await status(1))
