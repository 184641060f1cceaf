"""Servers that speak PostgreSQL's start-up as a test's script says, and raw clients."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from scramp import ScramMechanism
from tests.support.postgres import PASSWORD, Authority, Pair

from keyless_sidecar.postgres import wire


class Peer:
    """One connection of the fake server; records all that came in, before and within TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.got = b""

    async def read(self, size: int) -> bytes:
        """Exactly that much."""
        data = await self.reader.readexactly(size)
        self.got += data
        return data

    async def packet(self) -> bytes:
        """A packet without a type byte."""
        header = await self.read(4)
        return await self.read(int.from_bytes(header, "big") - 4)

    async def message(self) -> tuple[bytes, bytes]:
        """A message with one."""
        kind = await self.read(1)
        return kind, await self.packet()

    async def send(self, *data: bytes) -> None:
        """Send it."""
        self.writer.write(b"".join(data))
        await self.writer.drain()

    async def tls(self, context: ssl.SSLContext) -> None:
        """Answer an SSLRequest by S, and go on in TLS."""
        await self.packet()
        await self.send(b"S")
        await self.writer.start_tls(context)

    async def rest(self) -> None:
        """Read until the other side has gone."""
        while data := await self.reader.read(65536):
            self.got += data

    async def scram(self, password: str = PASSWORD) -> None:
        """An honest SCRAM-SHA-256 exchange."""
        mechanism = ScramMechanism("SCRAM-SHA-256")
        info = mechanism.make_auth_info(password)
        server = mechanism.make_server(lambda _: info)
        await self.send(wire.authentication_request(10, b"SCRAM-SHA-256\0\0"))
        _, body = await self.message()
        _, _, rest = body.partition(b"\0")
        server.set_client_first(rest[4:].decode())
        await self.send(wire.authentication_request(11, server.get_server_first().encode()))
        _, body = await self.message()
        server.set_client_final(body.decode())
        await self.send(wire.authentication_request(12, server.get_server_final().encode()))
        await self.send(wire.authentication_request(0))


KEY = wire.BackendKey(4711, b"real")
READY = wire.message(b"Z", b"I")

Script = Callable[[Peer], Awaitable[None]]


class Fake:
    """A fake server and what it saw."""

    def __init__(self) -> None:
        self.port = 0
        self.peers: list[Peer] = []

    @property
    def got(self) -> bytes:
        """All that came in."""
        return b"".join(peer.got for peer in self.peers)

    def fields(self, **more: str) -> dict[str, str]:
        """Fields of an entry for it."""
        base = {"host": "127.0.0.1", "port": str(self.port), "username": "app"}
        return {**base, "password": PASSWORD, "database": "shop", "sslmode": "disable", **more}


@contextlib.asynccontextmanager
async def faking(script: Script) -> AsyncIterator[Fake]:
    """Serve ``script`` for each connection."""
    fake = Fake()

    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        fake.peers.append(peer)
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await script(peer)
        except (OSError, EOFError):
            pass  # the other side is gone
        finally:
            peer.writer.close()
            running.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        for peer in fake.peers:
            peer.writer.transport.abort()
        if running:
            await asyncio.wait(running)


def server_context(pair: Pair) -> ssl.SSLContext:
    """TLS of a server with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pair.pem"
        path.write_text(pair.certificate + pair.key)
        context.load_cert_chain(path)
    return context


def startup(**parameters: str) -> bytes:
    """A client's StartupMessage, for the database that entries of tests name."""
    return wire.startup_message({"user": "app", "database": "shop", **parameters})


def raw_startup(code: int, rest: bytes) -> bytes:
    """A first packet with any content."""
    return struct.pack("!ii", len(rest) + 8, code) + rest


async def ask(port: int, data: bytes, *, host: str = "127.0.0.1") -> bytes:
    """Send bytes, and give all that comes back until the other side closes."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(data)
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


def fatal(answer: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse that is all of an answer."""
    if answer[:1] != b"E" or int.from_bytes(answer[1:5], "big") != len(answer) - 1:
        raise AssertionError(f"no lone error: {answer!r}")
    return wire.notice_fields(answer[5:])


__all__ = ["KEY", "READY", "Authority", "Fake", "Peer", "ask", "faking", "fatal", "raw_startup"]
__all__ += ["server_context", "startup"]
