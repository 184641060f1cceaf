"""Bodies that flow, stall, break off or are not wanted."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from tests.unit.egress.engine.stage import (
    HOST,
    Answering,
    Client,
    Origin,
    Passing,
    answering,
    plain,
    staged,
)

from keyless_sidecar.egress.conversation import Patience
from keyless_sidecar.egress.exchange import Limits
from keyless_sidecar.egress.messages import BodyTooLarge, Forward, Request, Response

GET = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
EXPECT = (
    f"PUT /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n".encode()
)
FAST = Patience(quiet=0.05)


def put(length: int) -> bytes:
    return f"PUT /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n".encode()


async def test_a_refusal_comes_before_100_continue() -> None:
    async def refuse(request: Request, forward: Forward) -> Response:
        assert request.expects_continue
        return Response.of(403, b"denied")

    origin, handler = answering(plain()), Answering(refuse)
    async with staged(origin, handler=handler) as stage:
        client = await stage.tunnel()
        await client.send(EXPECT)
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"Connection: close" in answer
        assert b"100 Continue" not in answer
        assert origin.connections == 0


async def test_100_continue_comes_with_the_first_pull() -> None:
    async def read(request: Request, forward: Forward) -> Response:
        return Response.of(200, await request.read(100))

    async with staged(answering(plain()), handler=Answering(read)) as stage:
        client = await stage.tunnel()
        for _ in range(2):
            await client.send(EXPECT)
            assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(b"hello")
            assert (await client.answer())[1] == b"hello"


async def test_an_early_answer_of_the_server_spares_the_body() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            origin.heads.append(head)
            writer.write(plain(b"go there", "Location: /y\r\n", "307 Temporary Redirect"))
            await writer.drain()

    origin = Origin(script)
    async with staged(origin) as stage:
        client = await stage.tunnel()
        await client.send(EXPECT)
        assert (await client.rest()).startswith(b"HTTP/1.1 307 ")
        assert b"Expect: 100-continue" in origin.heads[0]


async def test_a_server_that_says_continue_gets_the_body() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.write(plain(await reader.readexactly(5)))
        await writer.drain()

    async with staged(Origin(script), limits=Limits(early=1000)) as stage:
        client = await stage.tunnel()
        await client.send(EXPECT)
        await client.head()
        await client.send(b"hello")
        assert (await client.answer())[1] == b"hello"


async def test_a_server_that_does_not_know_expect_gets_the_body_after_a_moment() -> None:
    async with staged(answering(plain()), limits=Limits(early=0.01)) as stage:
        client = await stage.tunnel()
        await client.send(EXPECT)
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hello")
        assert (await client.answer())[1] == b"hello"


async def test_an_unread_body_is_not_taken_for_a_request() -> None:
    async def refuse(request: Request, forward: Forward) -> Response:
        return Response.of(403, b"denied")

    handler = Answering(refuse)
    async with staged(answering(plain()), handler=handler) as stage:
        client = await stage.tunnel()
        await client.send(put(len(GET)) + GET + GET)
        answer = await client.rest()
        assert answer.count(b"HTTP/1.1 ") == 1
        assert len(handler.seen) == 1


async def test_a_tool_that_sends_it_all_first_still_gets_the_refusal() -> None:
    async def refuse(request: Request, forward: Forward) -> Response:
        return Response.of(403, b"denied")

    async with staged(answering(plain()), handler=Answering(refuse)) as stage:
        client = await stage.tunnel()
        size = 30_000_000
        await client.send(put(size))
        for _ in range(30):
            await client.send(bytes(size // 30))
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 403 ")
        assert body == b"denied"


async def test_a_body_above_the_cap() -> None:
    async def read(request: Request, forward: Forward) -> Response:
        with pytest.raises(BodyTooLarge):
            await request.read(10)
        return Response.of(413, b"")

    async def unhandled(request: Request, forward: Forward) -> Response:
        return Response.of(200, await request.read(10))

    for act in (read, unhandled):
        async with staged(answering(plain()), handler=Answering(act)) as stage:
            for raw in (
                put(11) + b"x" * 11,
                f"PUT / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
                + b"b\r\n"
                + b"x" * 11
                + b"\r\n0\r\n\r\n",
            ):
                client = await stage.tunnel()
                await client.send(raw)
                assert (await client.head()).startswith(b"HTTP/1.1 413 ")


async def test_a_tool_that_breaks_off_its_body() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        origin.bodies.append(await reader.read(-1))

    origin = Origin(script)
    async with staged(origin) as stage:
        client = await stage.tunnel()
        await client.send(put(1000) + b"x" * 10)
        await client.close()
        await asyncio.wait_for(origin.ended.wait(), 10)
        assert origin.bodies in ([], [b"x" * 10])


async def test_a_tool_that_goes_away_ends_its_request() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(request: Request, forward: Forward) -> Response:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with staged(answering(plain()), handler=Answering(wait)) as stage:
        client = await stage.tunnel()
        await client.send(GET)
        await asyncio.wait_for(started.wait(), 10)
        await client.close()
        await asyncio.wait_for(cancelled.wait(), 10)


async def test_an_early_answer_while_the_body_flows() -> None:
    """The answer comes at once; what follows of the body is still taken."""
    taken = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(3)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await writer.drain()
        await reader.readexactly(3)
        taken.set()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
        await writer.drain()

    async with staged(Origin(script)) as stage:
        client = await stage.tunnel()
        await client.send(put(6) + b"abc")
        head = await client.head()
        assert b"Connection: close" in head
        assert await client.reader.readexactly(8) == b"3\r\none\r\n"
        assert not taken.is_set()
        await client.send(b"def")
        assert await client.reader.readexactly(13) == b"3\r\ntwo\r\n0\r\n\r\n"


async def _blocked(sent: list[int]) -> int:
    """Until a sender made no progress for a while; how much it sent."""
    before = -1
    while sent[0] != before:
        before = sent[0]
        await asyncio.sleep(0.2)
    return before


@pytest.mark.parametrize("tls", [False, True])
async def test_a_tool_that_does_not_read_holds_the_server_back(tls: bool) -> None:
    sent = [0]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        for _ in range(1000):
            writer.write(bytes(1_000_000))
            await writer.drain()
            sent[0] += 1_000_000

    async with staged(Origin(script), tls=tls) as stage:
        client = await stage.tunnel()
        await client.send(GET)
        await client.head()
        assert await _blocked(sent) < 50_000_000


@pytest.mark.parametrize("tls", [False, True])
async def test_a_server_that_does_not_read_holds_the_tool_back(tls: bool) -> None:
    release = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await release.wait()

    sent = [0]

    async def feed(client: Client) -> None:
        for _ in range(1000):
            await client.send(bytes(1_000_000))
            sent[0] += 1_000_000

    async with staged(Origin(script), tls=tls) as stage:
        client = await stage.tunnel()
        await client.send(put(1_000_000_000))
        feeding = asyncio.create_task(feed(client))
        assert await _blocked(sent) < 50_000_000
        feeding.cancel()
        release.set()
        await asyncio.gather(feeding, return_exceptions=True)


async def test_slow_peers_are_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async def stalls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await reader.read(-1)

    limits = Limits(head=0.1, idle=0.1)
    async with staged(Origin(silent), limits=limits) as stage:
        client = await stage.tunnel()
        await client.send(GET)
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"didn't answer in 0.1 seconds" in body
    async with staged(Origin(stalls), limits=limits) as stage:
        client = await stage.tunnel()
        await client.send(GET)
        assert (await client.rest()).endswith(b"\r\n\r\nhalf")

    patience = dataclasses.replace(FAST, head=0.1, idle=0.1)
    for part in (b"", b"CONNECT ", b"CONNECT api.example:443 HTTP/1.1\r\n"):
        async with staged(answering(plain()), patience=patience) as stage:
            assert await stage.ask(part) == b""
    origin = answering(plain())
    async with staged(origin, patience=patience) as stage:
        client = await stage.tunnel()
        await client.send(put(10) + b"half")
        assert b"broke off" in await client.rest()
        assert origin.bodies == []


async def test_the_token_comes_first() -> None:
    token = b"t" * 32
    handler = Passing()
    async with staged(answering(plain()), handler=handler, token=token) as stage:
        plain_get = f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
        assert (await stage.ask(token + plain_get.encode())).endswith(b"hello")
        assert await stage.ask(b"x" * 32 + plain_get.encode()) == b""
        assert await stage.ask(plain_get.encode()) == b""
        assert len(handler.seen) == 1
