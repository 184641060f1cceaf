"""What the engine's tests stand on: a server, a proxy in front of it, a raw client, handlers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from keyless_sidecar.egress.authority import Authority
from keyless_sidecar.egress.conversation import Patience
from keyless_sidecar.egress.messages import Forward, Request, Response
from keyless_sidecar.egress.server import EgressProxy
from keyless_sidecar.execution.destinations import Allowed, Destination

HOST = "api.example"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Origin:
    """A server that keeps what it was sent.  Its answers are scripted."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.port = 0
        self.connections = 0
        #: The heads of the requests, first line and all.
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with contextlib.suppress(OSError, EOFError):
                await self._script(reader, writer)
        finally:
            self.ended.set()
            writer.close()

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """Read one request; its body."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        found = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        if found:
            body = await reader.readexactly(int(found.group(1)))
        elif b"transfer-encoding: chunked" in head.lower():
            body = b""
            while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readexactly(2)
        else:
            body = b""
        self.bodies.append(body)
        return body


def answering(*answers: bytes) -> Origin:
    """A server that gives these answers in turn (the last one again and again), keeping alive."""
    left = list(answers)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await origin.request(reader)
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()

    origin = Origin(script)
    return origin


def plain(body: bytes = b"hello", headers: str = "", status: str = "200 OK") -> bytes:
    """An answer with a length."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@contextlib.asynccontextmanager
async def running(origin: Origin, context: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0, ssl=context, limit=2**20)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()
        for _ in range(3):
            await asyncio.sleep(0)


class Passing:
    """Claims everything, and passes it on."""

    def __init__(self) -> None:
        self.seen: list[Request] = []

    def claims(self, destination: Destination) -> bool:
        return True

    async def handle(self, request: Request, forward: Forward) -> Response:
        self.seen.append(request)
        return await forward(request)


class Answering(Passing):
    """Claims everything, and answers itself."""

    def __init__(self, act: Callable[[Request, Forward], Awaitable[Response]]) -> None:
        super().__init__()
        self._act = act

    async def handle(self, request: Request, forward: Forward) -> Response:
        self.seen.append(request)
        return await self._act(request, forward)


def trusting(*authorities: Authority) -> ssl.SSLContext:
    """A client context that trusts only these."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for authority in authorities:
        context.load_verify_locations(cadata=authority.pem)
    return context


@dataclasses.dataclass
class Client:
    """A raw connection through the proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)

    async def answer(self) -> tuple[bytes, bytes]:
        """Head and body of one answer."""
        head = await self.head()
        found = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        if found:
            return head, await asyncio.wait_for(self.reader.readexactly(int(found.group(1))), 20)
        body = b""
        if b"transfer-encoding: chunked" in head.lower():
            while size := int((await self.reader.readuntil(b"\r\n")).strip(), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)
        return head, body

    async def rest(self) -> bytes:
        """All that comes until the end; a reset is an end."""
        data = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while piece := await asyncio.wait_for(self.reader.read(65536), 20):
                data += piece
        return data

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()


@dataclasses.dataclass
class Stage:
    """A proxy, and what stands behind it."""

    proxy: EgressProxy
    port: int
    authority: Authority
    clients: list[Client] = dataclasses.field(default_factory=list)

    async def open(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        client = Client(reader, writer)
        self.clients.append(client)
        return client

    async def tunnel(self, host: str = HOST, port: int = 443, **tls: Any) -> Client:
        """A connection on which TLS with the proxy was established."""
        client = await self.open()
        await client.send(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = await client.head()
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionRefusedError(head.decode())
        context = tls.pop("context", None) or trusting(self.authority)
        await client.writer.start_tls(context, **{"server_hostname": host, **tls})
        return client

    async def ask(self, raw: bytes) -> bytes:
        """Send something on a connection of its own; all that comes back."""
        client = await self.open()
        await client.send(raw)
        return await client.rest()


@contextlib.asynccontextmanager
async def staged(
    origin: Origin | None = None,
    *,
    tls: bool = False,
    handler: Passing | None = None,
    upstream_tls: ssl.SSLContext | None = None,
    patterns: Sequence[tuple[str, int]] = (("*.example", 0),),
    **options: Any,
) -> AsyncIterator[Stage]:
    """A proxy for which ``origin`` stands in for every host."""
    authority, other = Authority(), Authority()
    context = upstream_tls or (other.context_for("localhost") if tls else None)

    async def loopback(_: Destination) -> Sequence[str]:
        return ["127.0.0.1"]

    async with contextlib.AsyncExitStack() as stack:
        options = {
            "allowed": Allowed(tuple(patterns)),
            "resolver": loopback,
            "patience": Patience(quiet=0.05),
            "trust": trusting(other),
            **options,
        }
        if origin is not None:
            await stack.enter_async_context(running(origin, context))
            scheme = "https" if context else "http"
            options.setdefault("upstreams", {"*": f"{scheme}://localhost:{origin.port}"})
        listener = socket.create_server(("127.0.0.1", 0))
        proxy = EgressProxy(
            listener,
            handlers=[handler or Passing()],
            authority=authority,
            **options,
        )
        stage = Stage(proxy, listener.getsockname()[1], authority)
        await proxy.start()
        try:
            yield stage
        finally:
            await proxy.close()
            for client in stage.clients:
                client.writer.transport.abort()
                await client.close()
