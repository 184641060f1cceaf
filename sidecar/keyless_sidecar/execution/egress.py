"""The network gate of one tool child: a small HTTP proxy on a listener inside its sandbox.

:mod:`keyless_sidecar.execution.command` opens one for each command and closes it at its end.  It
does ``CONNECT host:port`` and ``http://`` requests to the allowed destinations, checks what a name
resolves to before it connects to exactly that address, and copies bytes.  Whatever it refuses is
answered with 403, the reason in the status line too, and counted, for the notes and the audit.

It serves tools that hold their credential themselves, or none; those that hold placeholders get
:class:`keyless_sidecar.egress.server.EgressProxy` in its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import re
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from keyless_sidecar.egress.messages import phrase
from keyless_sidecar.execution import http_head
from keyless_sidecar.execution.destinations import Allowed, Destination

CHUNK = 64 * 1024
HEAD_TIMEOUT = 30.0
CONNECT_TIMEOUT = 20.0
#: Different refused destinations that are kept by name; more are counted as one.
MAX_NAMED = 32

Resolver = Callable[[Destination], Awaitable[Sequence[str]]]


class _Answer(Exception):
    """End the connection with this status and sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


async def resolve(destination: Destination) -> list[str]:
    """The addresses of a destination, from the system's resolver (in a thread).

    Raises:
        OSError: no such name.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        destination.host, destination.port, type=socket.SOCK_STREAM
    )
    return [str(entry[4][0]) for entry in found]


class EgressGate:
    """Serves one listener.  Owned by the event loop's thread.

    Args:
        listener: a listening TCP socket; the gate closes it.
        allowed: what may be reached.
        connections: how many may be open at once.
        token: what each connection must begin with; empty where nobody else can reach the listener.
        resolver: turns a destination into addresses (tests inject their own).
    """

    def __init__(
        self,
        listener: socket.socket,
        allowed: Allowed,
        *,
        connections: int = 64,
        token: bytes = b"",
        resolver: Resolver = resolve,
    ) -> None:
        self._listener = listener
        self._allowed = allowed
        self._limit = connections
        self._token = token
        self._resolve = resolver
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._why: dict[str, str] = {}
        #: Refused destinations and how often.
        self.refused: Counter[str] = Counter()

    async def start(self) -> None:
        """Begin to accept."""
        self._server = await asyncio.start_server(
            self._accept, sock=self._listener, limit=http_head.MAX_HEAD
        )

    async def close(self) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def notes(self) -> list[str]:
        """A sentence for each refused destination."""
        return [
            f"egress refused: {name}"
            + (f" ({count} times)" if count > 1 else "")
            + (f": it {self._why[name]}" if name in self._why else "")
            for name, count in self.refused.items()
        ]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection must be served by a task")
        if len(self._tasks) >= self._limit:
            writer.transport.abort()
            return
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except _Answer as answer:
            writer.write(_response(answer.status, str(answer)))
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.drain(), 5)
        except (OSError, EOFError, TimeoutError):
            pass  # the peer went away, or never finished its head: nobody is left to tell
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._token:
            said = await asyncio.wait_for(reader.readexactly(len(self._token)), HEAD_TIMEOUT)
            if not hmac.compare_digest(said, self._token):
                raise EOFError
        try:
            raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_TIMEOUT)
            head = http_head.parse(raw[:-4])
        except asyncio.LimitOverrunError:
            raise _Answer(431, "Keyless: the head is too long.") from None
        except http_head.BadRequest as error:
            raise _Answer(400, f"Keyless: {error}.") from None
        up_reader, up_writer = await self._connect(head.destination)
        try:
            if head.tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _both(_copy(reader, up_writer), _copy(up_reader, writer))
            else:
                up_writer.write(head.forwarded())
                await _first_ends(_copy(up_reader, writer), _body(reader, up_writer, head.body))
        finally:
            up_writer.transport.abort()

    async def _connect(
        self, destination: Destination
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        refusal = self._allowed.refusal(destination)
        if refusal:
            raise self._refuse(destination, refusal)
        try:
            addresses = await asyncio.wait_for(self._resolve(destination), CONNECT_TIMEOUT)
        except (OSError, TimeoutError, UnicodeError):
            raise _Answer(502, f"Keyless: {destination} can't be resolved.") from None
        refusal = self._allowed.address_refusal(destination, addresses)
        if refusal:
            raise self._refuse(destination, refusal)
        for address in dict.fromkeys(addresses):
            with contextlib.suppress(OSError, TimeoutError):
                return await asyncio.wait_for(
                    asyncio.open_connection(address, destination.port, limit=CHUNK),
                    CONNECT_TIMEOUT,
                )
        raise _Answer(502, f"Keyless: {destination} doesn't answer.")

    def _refuse(self, destination: Destination, reason: str) -> _Answer:
        name = str(destination)
        if name in self.refused or len(self.refused) < MAX_NAMED:
            self._why.setdefault(name, reason.removeprefix(f"{name} "))
        else:
            name = "further destinations"
        self.refused[name] += 1
        return _Answer(403, f"Keyless: {reason}.")


def _response(status: int, sentence: str) -> bytes:
    """The sentence is in the status line, too: some tools print nothing else of a refusal."""
    body = sentence.encode() + b"\n"
    return (
        f"HTTP/1.1 {status} {phrase(sentence)}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy to the end of input, then say so to the other side."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _body(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int | None
) -> None:
    """Copy exactly one request body: what follows it goes nowhere."""
    if length is not None:
        while length:
            data = await reader.read(min(CHUNK, length))
            if not data:
                raise EOFError
            length -= len(data)
            writer.write(data)
            await writer.drain()
        return
    while True:
        line = await reader.readuntil(b"\r\n")
        found = re.fullmatch(rb"([0-9a-fA-F]{1,15})(;[\t\x20-\x7e]*)?\r\n", line)
        if found is None:
            raise EOFError
        writer.write(line)
        size = int(found.group(1), 16)
        if size == 0:
            break
        await _body(reader, writer, size)
        if await reader.readexactly(2) != b"\r\n":
            raise EOFError
        writer.write(b"\r\n")
    while line != b"\r\n":  # trailers, and the empty line that ends them
        line = await reader.readuntil(b"\r\n")
        writer.write(line)
    await writer.drain()


async def _both(*copies: Awaitable[None]) -> None:
    """Until each has ended, or one has failed."""
    tasks = [asyncio.ensure_future(copy) for copy in copies]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await _end(*tasks)


async def _first_ends(answer: Awaitable[None], body: Awaitable[None]) -> None:
    """Until the answer has ended (the body may be cut short by an early answer), or one failed."""
    main = asyncio.ensure_future(answer)
    other = asyncio.ensure_future(body)
    try:
        await asyncio.wait({main, other}, return_when=asyncio.FIRST_COMPLETED)
        if other.done() and not other.cancelled() and other.exception() is not None:
            raise EOFError
        await main
    finally:
        await _end(main, other)


async def _end(*tasks: asyncio.Future[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
