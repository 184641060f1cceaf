"""One TCP or TLS connection of the proxy: bounded buffers, backpressure both ways, TLS on top.

Used by everything in this package that does I/O.  ``asyncio``'s own streams copy each byte twice,
and lose what they hold when TLS begins, so this is a protocol of its own.  Owned by the thread of
the event loop; one task reads and one writes at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator

#: The largest piece that is handed on.
CHUNK = 256 * 1024
#: Unread bytes at which reading stops; one more piece may be under way.
_HIGH, _LOW = 2 * CHUNK, CHUNK
#: Parts up to this size together become one piece, and one record of TLS.
_JOINED = 64 * 1024
HANDSHAKE_TIMEOUT = 20.0
SHUTDOWN_TIMEOUT = 2.0


class TooLong(Exception):
    """No separator within the limit."""


class Link(asyncio.Protocol):
    """A connection, of a tool or to a server.

    Args:
        accepted: called with the new link where a listener made it.
    """

    def __init__(self, accepted: Callable[[Link], None] | None = None) -> None:
        self._accepted = accepted
        self._transport: asyncio.Transport | None = None
        self._tls = False
        self._chunks: deque[bytes] = deque()
        self._offset = 0  # into the first chunk
        self._size = 0
        self._paused = False
        self._eof = False
        self._reader: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()
        self._when_lost: Callable[[], object] | None = None
        self._held: list[bytes] = []
        self._flushing: asyncio.Handle | None = None

    # What the event loop calls.
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a link needs a stream")
        self._transport = transport
        self._tls = transport.get_extra_info("sslcontext") is not None
        transport.set_write_buffer_limits(high=CHUNK)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family != socket.AF_UNIX:
            # asyncio leaves it out for a listener that others made; it costs 40 ms an answer.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._accepted is not None:
            self._accepted(self)

    def data_received(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        if self._size >= _HIGH and not self._paused:
            self._paused = True
            self._live().pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._eof = True
        self._wake()
        return not self._tls  # TLS has no half-open connections

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()
        self._writable.set()
        self._wake()
        if self._when_lost is not None:
            self._when_lost()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _live(self) -> asyncio.Transport:
        if self._transport is None:
            raise ConnectionError("not connected")
        return self._transport

    # Reading.

    @property
    def buffered(self) -> int:
        """Bytes that have come and were not read."""
        return self._size

    @property
    def usable(self) -> bool:
        """Whether nothing has come and both directions are open, as when a connection is idle."""
        return not (self._size or self._eof or self._lost.is_set() or self._live().is_closing())

    async def wait(self) -> bool:
        """Until there is something to read; False at the end.

        Raises:
            ConnectionError: it broke.
        """
        while not self._size:
            if not await self._more():
                return False
        return True

    async def read_some(self, most: int = CHUNK) -> bytes:
        """The next bytes, ``most`` at most; none at the end.

        Raises:
            ConnectionError: it broke, or ended without saying so.
        """
        if not await self.wait():
            return b""
        first = self._chunks[0]
        start, rest = self._offset, len(first) - self._offset
        if rest > most:
            data = first[start : start + most]
            self._offset += most
        else:
            data = first[start:] if start else first
            self._chunks.popleft()
            self._offset = 0
        self._taken(len(data))
        return data

    async def read_until(self, separator: bytes, limit: int) -> bytes:
        """Up to and with ``separator``; empty when it ended before the first byte.

        Raises:
            TooLong: more than ``limit`` bytes without one.
            EOFError: it ended in between.
            ConnectionError: it broke.
        """
        searched = 0
        while True:
            if self._chunks:
                first = self._gathered(limit)
                begin = max(self._offset, self._offset + searched - len(separator) + 1)
                found = first.find(separator, begin, self._offset + limit)
                if found >= 0:
                    end = found + len(separator)
                    data = first[self._offset : end]
                    self._offset = end
                    if end == len(first):
                        self._chunks.popleft()
                        self._offset = 0
                    self._taken(len(data))
                    return data
                if self._size >= limit:
                    raise TooLong
                searched = self._size
            if not await self._more():
                if self._size:
                    raise EOFError("the connection ended within a line")
                return b""

    def _gathered(self, limit: int) -> bytes:
        """The first chunk, after it was joined with the next ones to ``limit`` bytes or more."""
        while len(self._chunks) > 1 and len(self._chunks[0]) - self._offset < limit:
            head = self._chunks.popleft()[self._offset :]
            self._chunks[0] = head + self._chunks[0]
            self._offset = 0
        return self._chunks[0]

    def _taken(self, count: int) -> None:
        self._size -= count
        if self._paused and self._size <= _LOW:
            self._paused = False
            if not self._lost.is_set():
                self._live().resume_reading()

    async def _more(self) -> bool:
        """Wait for a change; False at the proper end."""
        if self._eof:
            return False
        if self._lost.is_set():
            raise ConnectionResetError("the connection broke")
        if self._reader is not None:
            raise RuntimeError("two tasks read one connection")
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None
        return True

    # Writing.

    def hold(self, *parts: bytes) -> None:
        """Send small parts with what is written next, or when the event loop gets to it."""
        self._held += parts
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_soon(self.flush)

    async def write(self, *parts: bytes) -> None:
        """Send, after what is held, and wait while the other side doesn't keep up.

        Raises:
            ConnectionError: it broke.
        """
        if self._lost.is_set() or self._live().is_closing():
            raise ConnectionResetError("the connection broke")
        self.flush(*parts)
        if not self._writable.is_set():
            await self._writable.wait()
            if self._lost.is_set():
                raise ConnectionResetError("the connection broke")

    def flush(self, *parts: bytes) -> None:
        """Send what is held, and more; doesn't wait."""
        held, self._held = [*self._held, *parts], []
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if held and not self._lost.is_set():
            small = sum(map(len, held)) <= _JOINED
            self._live().writelines([b"".join(held)] if small else held)

    def write_eof(self) -> None:
        """Say that nothing more comes; reading goes on.  TLS connections can't."""
        self.flush()
        if not self._lost.is_set() and self._live().can_write_eof():
            with contextlib.suppress(OSError):
                self._live().write_eof()

    # The life of it.

    async def serve_tls(self, context: ssl.SSLContext) -> None:
        """Be the server of a TLS handshake.  Nothing may have come in before.

        Raises:
            OSError: the handshake failed or took too long.
        """
        if self._size or self._eof:
            raise ConnectionError("TLS can't begin behind other bytes")
        self._transport = await asyncio.get_running_loop().start_tls(
            self._live(),
            self,
            context,
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
        )
        self._tls = True
        self._live().set_write_buffer_limits(high=CHUNK)

    @property
    def is_lost(self) -> bool:
        """Whether the connection is gone."""
        return self._lost.is_set()

    @contextlib.contextmanager
    def when_lost(self, call: Callable[[], object]) -> Iterator[None]:
        """Have something called when the connection goes, at once where it is gone already."""
        self._when_lost = call
        if self._lost.is_set():
            call()
        try:
            yield
        finally:
            self._when_lost = None

    def abort(self) -> None:
        """End it at once; the other side sees a reset or a missing end."""
        self._held = []
        if self._transport is not None:
            self._transport.abort()

    async def close(self, seconds: float = 5.0) -> None:
        """Send what is still to be sent, for ``seconds`` at most, and end it."""
        if self._transport is None:
            return
        self.flush()
        self._transport.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._lost.wait()
        if not self._lost.is_set():
            self._transport.abort()
            await self._lost.wait()
