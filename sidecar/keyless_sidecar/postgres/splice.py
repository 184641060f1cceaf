"""Copying bytes between a client and its server, with backpressure and a count."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from keyless_sidecar.postgres.upstream import CHUNK

__all__ = ["Traffic", "close_gently", "splice", "tune"]

#: Seconds for a server to end after its client did, and for a client to take what is left.
GRACE = 10.0
_TERMINATE = b"X\0\0\0\4"


@dataclass
class Traffic:
    """What went through a session so far."""

    to_server: int = 0
    to_client: int = 0
    #: The client's last bytes, which say whether it ended in an orderly way.
    tail: bytes = b""

    @property
    def terminated(self) -> bool:
        """The client's last message was Terminate."""
        return self.tail == _TERMINATE

    def sent(self, data: bytes) -> None:
        """Count what the client sent."""
        self.to_server += len(data)
        size = len(_TERMINATE)
        self.tail = data[-size:] if len(data) >= size else (self.tail + data)[-size:]

    def received(self, data: bytes) -> None:
        """Count what the server sent."""
        self.to_client += len(data)


async def splice(
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    traffic: Traffic,
    *,
    grace: float = GRACE,
) -> Literal["client", "server"]:
    """Copy both ways until one side has ended.

    Returns:
        who ended: what the server sent is then with the client, or on its way.
    """
    up = asyncio.ensure_future(_copy(client[0], server[1], traffic.sent))
    down = asyncio.ensure_future(_copy(server[0], client[1], traffic.received))
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        if not down.done() and (traffic.terminated or not up.result()):
            # After Terminate a server still answers what came before it, then ends; one that takes
            # no more may have said why.  A client that just went away waits for nothing.
            with contextlib.suppress(OSError):
                if server[1].can_write_eof():
                    server[1].write_eof()
            await asyncio.wait({down}, timeout=grace)
        return "server" if down.done() and down.result() else "client"
    finally:
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[bytes], None]
) -> bool:
    """Copy to the end of input; False where writing failed, since the other side is gone."""
    while True:
        try:
            data = await reader.read(CHUNK)
        except OSError:
            return True
        if not data:
            return True
        count(data)
        try:
            writer.write(data)
            await writer.drain()
        except OSError:
            return False


def tune(writer: asyncio.StreamWriter) -> None:
    """Let a client's connection hold little, and send what there is at once."""
    writer.transport.set_write_buffer_limits(high=CHUNK)
    connection: socket.socket = writer.get_extra_info("socket")
    if connection.family != socket.AF_UNIX:
        # asyncio does that only where the listener names its protocol.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def close_gently(writer: asyncio.StreamWriter, *, grace: float = GRACE) -> None:
    """Close when what is buffered has been taken, or after a while."""
    writer.close()
    await _within(writer.wait_closed(), grace)
    writer.transport.abort()


async def _within(waiting: Awaitable[None], seconds: float) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(waiting, seconds)
