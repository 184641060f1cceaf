"""The network gate over real sockets: what passes, what is refused, what it costs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from keyless_sidecar.execution.destinations import Allowed, Destination, allowed_for
from keyless_sidecar.execution.egress import EgressGate

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[int]:
    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            await handler(reader, writer)
        writer.close()

    running = await asyncio.start_server(guarded, "127.0.0.1", 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()


class Proxy:
    def __init__(self, gate: EgressGate, port: int) -> None:
        self.gate = gate
        self.port = port

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, raw: bytes) -> bytes:
        reader, writer = await self.open()
        writer.write(raw)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer


@contextlib.asynccontextmanager
async def proxy(allowed: Allowed, connections: int = 64, **options: object) -> AsyncIterator[Proxy]:
    listener = socket.create_server(("127.0.0.1", 0))
    gate = EgressGate(listener, allowed, connections=connections, **options)  # type: ignore[arg-type]
    await gate.start()
    try:
        yield Proxy(gate, listener.getsockname()[1])
    finally:
        await gate.close()


def upstream(port: int) -> Allowed:
    return Allowed((), frozenset({Destination("127.0.0.1", port)}))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with what it got, after a moment in which more could come."""
    got = await reader.readuntil(b"\r\n\r\n")
    with contextlib.suppress(TimeoutError):
        while data := await asyncio.wait_for(reader.read(65536), 0.3):
            got += data
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(got) + got)
    await writer.drain()


async def test_tunnel_to_a_configured_upstream() -> None:
    async with server(echo) as port, proxy(upstream(port)) as gate:
        reader, writer = await gate.open()
        writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\nhello".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 Connection established\r\n\r\n"
        assert await reader.readexactly(5) == b"hello"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert not gate.gate.refused


async def test_large_transfer_both_ways() -> None:
    async with server(echo) as port, proxy(upstream(port)) as gate:
        reader, writer = await gate.open()
        writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        data = bytes(range(256)) * 16384

        async def feed() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        feeding = asyncio.create_task(feed())
        assert await reader.read(-1) == data
        await feeding
        writer.close()


async def test_plain_request_reaches_the_upstream_in_origin_form() -> None:
    async with server(request) as port, proxy(upstream(port)) as gate:
        answer = await gate.ask(
            f"POST http://127.0.0.1:{port}/x HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            "Content-Length: 3\r\n\r\nabcGET /smuggled HTTP/1.1\r\n\r\n".encode()
        )
        assert b"POST /x HTTP/1.1\r\n" in answer
        assert answer.endswith(b"abc")
        assert b"smuggled" not in answer


async def test_chunked_body_ends_where_it_ends() -> None:
    async with server(request) as port, proxy(upstream(port)) as gate:
        answer = await gate.ask(
            f"POST http://127.0.0.1:{port}/x HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\nsmuggled".encode()
        )
        assert answer.endswith(b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n")


@pytest.mark.parametrize("chunk", [b"zz\r\nabc", b"3\r\nabcdef\r\n0\r\n\r\n", b"-1\r\n"])
async def test_malformed_chunks_end_the_connection(chunk: bytes) -> None:
    async with server(request) as port, proxy(upstream(port)) as gate:
        answer = await gate.ask(
            f"POST http://127.0.0.1:{port}/x HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
            + chunk
        )
        assert answer == b""


@pytest.mark.parametrize(
    "target",
    [
        "127.0.0.1:{other}",
        "localhost:{port}",
        "169.254.169.254:80",
        "[::1]:{port}",
        "x.example:443",
    ],
)
async def test_other_destinations_are_refused_and_counted(target: str) -> None:
    async with server(echo) as port, server(echo) as other, proxy(upstream(port)) as gate:
        name = target.format(port=port, other=other)
        answer = await gate.ask(f"CONNECT {name} HTTP/1.1\r\n\r\n".encode())
        reason = f"Keyless: {name} is not among the hosts that this tool may reach"
        line, _, rest = answer.decode().partition("\r\n")
        assert line == f"HTTP/1.1 403 {reason}."
        assert rest.endswith(f"\r\n\r\n{reason}.\n")
        assert gate.gate.refused == {name: 1}
        await gate.ask(f"CONNECT {name} HTTP/1.1\r\n\r\n".encode())
        assert gate.gate.notes() == [
            f"egress refused: {name} (2 times): it is not among the hosts that this tool may reach"
        ]


async def test_name_is_resolved_once_and_its_address_checked() -> None:
    asked = []

    async def rebinding(destination: Destination) -> Sequence[str]:
        asked.append(destination)
        return ["93.184.216.34"] if len(asked) > 1 else ["127.0.0.1"]

    allowed, _ = allowed_for(["rebind.example:443"], {})
    async with proxy(allowed, resolver=rebinding) as gate:
        answer = await gate.ask(b"CONNECT rebind.example:443 HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 403")
        assert b"not public" in answer
        assert len(asked) == 1


async def test_name_that_does_not_resolve() -> None:
    async def nothing(_: Destination) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    allowed, _ = allowed_for(["gone.example:443"], {})
    async with proxy(allowed, resolver=nothing) as gate:
        answer = await gate.ask(b"CONNECT gone.example:443 HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 502")


async def test_upstream_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with proxy(upstream(port)) as gate:
        answer = await gate.ask(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 502")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"400"),
        (b"CONNECT " + b"a" * 70000 + b"\r\n\r\n", b"431"),
    ],
)
async def test_bad_heads(raw: bytes, status: bytes) -> None:
    async with proxy(Allowed()) as gate:
        assert (await gate.ask(raw)).startswith(b"HTTP/1.1 " + status)


async def test_connections_are_capped_and_all_closed_at_the_end() -> None:
    async with server(echo) as port:
        async with proxy(upstream(port), connections=2) as gate:
            held = []
            for _ in range(2):
                reader, writer = await gate.open()
                writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
                await reader.readuntil(b"\r\n\r\n")
                held.append((reader, writer))
            with contextlib.suppress(ConnectionError):
                assert await gate.ask(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode()) == b""
        for reader, writer in held:
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()


async def test_names_of_refused_destinations_are_bounded() -> None:
    async with proxy(Allowed()) as gate:
        for number in range(40):
            await gate.ask(f"CONNECT h{number}.example:443 HTTP/1.1\r\n\r\n".encode())
        assert len(gate.gate.refused) == 33
        assert gate.gate.refused["further destinations"] == 8
