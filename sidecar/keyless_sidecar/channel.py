"""The sidecar's end of the channel: reads requests, dispatches them by the table, writes replies.

:mod:`keyless_sidecar.server` makes the one :class:`Channel` of a sidecar and serves it until the
kernel side is gone or breaks the protocol.  A kernel side that reads nothing costs one bounded
buffer: whoever has something to send waits, and with it the pipe of the child behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from keyless.protocol.calls import Call, Describe, Description
from keyless.protocol.frames import ProtocolError, encode, request_reader
from keyless.protocol.messages import (
    MAX_STDIN_BYTES,
    PROTOCOL_VERSION,
    Cancel,
    CloseSession,
    Credit,
    Exec,
    Failed,
    FailureKind,
    Hello,
    Keys,
    OpenSession,
    Reply,
    Resize,
    Status,
    StatusQuery,
    Stdin,
    Welcome,
)
from keyless_sidecar.dispatch import TABLE, Gatekeeper, Violation
from keyless_sidecar.flow import CallFlow, Flow, FlowError, SendMany, Underway

_READ = 64 * 1024
#: Bytes of replies that may wait in this process for the kernel side to read.
_HIGH_WATER = 512 * 1024
#: Bytes of standard input that may be held for all requests together.
MAX_STDIN_HELD = 4 * MAX_STDIN_BYTES

Send = Callable[[Reply], Awaitable[None]]


class Service(Protocol):
    """What runs requests: :class:`keyless_sidecar.execution.runner.Runner`."""

    async def serve(self, flow: Flow, send: Send) -> None:
        """Answer one request."""

    async def refuse(self, request: Exec, kind: FailureKind, message: str, rule: str) -> Reply:
        """Record and answer a request that isn't even looked at."""


class Calls(Protocol):
    """What makes calls: :class:`keyless_sidecar.calls.runner.CallRunner`."""

    async def serve(self, flow: CallFlow, send: SendMany) -> None:
        """Answer one call."""

    async def refuse(self, request: Call, kind: FailureKind, message: str, rule: str) -> Reply:
        """Record and answer a call that isn't even looked at."""

    async def describe(self, question: Describe) -> Description:
        """Names and documentation."""


class SessionService(Protocol):
    """What opens and closes sessions: :class:`keyless_sidecar.sessions.service.Sessions`."""

    async def serve(self, request: OpenSession | CloseSession, send: Send) -> None:
        """Answer one request."""

    async def cancel(self, request: int) -> None:
        """Close what a request was or is answered with; other requests are none of its business."""


class Channel:
    """One connection.  Owned by the event loop's thread.

    Args:
        kernel_id: which kernel this is.
        level: isolation level, for ``Welcome``.
        service: runs requests.
        calls: makes calls.
        status: makes the answer to ``StatusQuery``.
        sessions: opens and closes sessions.
        most: requests under way at once.
    """

    def __init__(
        self,
        *,
        kernel_id: str,
        level: str,
        service: Service,
        calls: Calls,
        status: Callable[[int], Awaitable[Status]],
        sessions: SessionService,
        most: int,
    ) -> None:
        self._kernel_id = kernel_id
        self._level = level
        self._service = service
        self._calls = calls
        self._status = status
        self._sessions = sessions
        self._most = most
        self._gatekeeper = Gatekeeper()
        self._flows: dict[int, Underway] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writer: asyncio.StreamWriter | None = None
        self._turn = asyncio.Lock()
        self._handlers = {
            kind: getattr(self, f"_{permit.handler}") for kind, permit in TABLE.items()
        }

    async def serve(self, connection: socket.socket) -> None:
        """Until the kernel side closes its end.

        Args:
            connection: ours from now on.

        Raises:
            Violation: the kernel side broke the protocol.
        """
        reader, self._writer = await asyncio.open_connection(sock=connection, limit=_READ)
        self._writer.transport.set_write_buffer_limits(high=_HIGH_WATER)
        frames = request_reader()
        try:
            while data := await reader.read(_READ):
                for message in frames.feed(data):
                    self._gatekeeper.admit(message)
                    await self._handlers[type(message)](message)
        except (ProtocolError, FlowError) as error:
            raise Violation(str(error)) from None
        except ConnectionError:
            return

    async def close(self) -> None:
        """End every request and its child, then the connection."""
        self._gatekeeper.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._writer is not None:
            self._writer.transport.abort()

    async def send(self, *replies: Reply) -> None:
        """Pass replies on, in one go; waits while too much is waiting already.

        Raises:
            ConnectionError: the kernel side is gone.
        """
        if self._writer is None:
            raise ConnectionResetError("not connected")
        # First drain, then write: so a cancelled sender has sent all of its frame or nothing.
        async with self._turn:
            await self._writer.drain()
            if self._writer.transport.is_closing():
                raise ConnectionResetError("the kernel side is gone")
            self._writer.write(b"".join(map(encode, replies)))

    # ------------------------------------------------------------------ handlers

    async def _on_hello(self, _: Hello) -> None:
        await self.send(
            Welcome(version=PROTOCOL_VERSION, kernel_id=self._kernel_id, level=self._level)
        )

    async def _on_exec(self, request: Exec) -> None:
        if len(self._flows) >= self._most:
            await self._refuse(request, self._many(), "request.many")
            return
        held = sum(flow.announced for flow in self._flows.values())
        if held + (request.stdin_size or 0) > MAX_STDIN_HELD:
            message = (
                f"The commands under way hold {held} bytes of standard input, and {MAX_STDIN_HELD} "
                "is the limit for all; wait for one of them to end."
            )
            await self._refuse(request, message, "request.stdin")
            return
        flow = Flow(request)
        self._begin(request.id, flow, lambda: self._service.serve(flow, self.send))

    async def _on_call(self, request: Call) -> None:
        if len(self._flows) >= self._most:
            message = self._many()
            await self.send(
                await self._calls.refuse(request, "InvalidRequest", message, "request.many")
            )
            return
        flow = CallFlow(request)
        self._begin(request.id, flow, lambda: self._calls.serve(flow, self.send))

    async def _on_describe(self, question: Describe) -> None:
        async def answer() -> None:
            await self.send(await self._calls.describe(question))

        if len(self._flows) >= self._most:
            await self.send(Description(id=question.id))
            return
        # Not at once: a model that nobody has used yet takes its time to be read.
        self._begin(question.id, Underway(), answer)

    def _begin(self, number: int, flow: Underway, work: Callable[[], Awaitable[None]]) -> None:
        self._flows[number] = flow
        self._start(self._run(number, work))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _many(self) -> str:
        return f"{self._most} commands are under way; wait for one of them to end."

    async def _refuse(self, request: Exec, message: str, rule: str) -> None:
        await self.send(await self._service.refuse(request, "InvalidRequest", message, rule))

    async def _on_stdin(self, message: Stdin) -> None:
        # A request that was refused already may still be sent its input: that goes nowhere.
        if flow := self._flows.get(message.id):
            flow.feed_stdin(message.data)

    async def _on_keys(self, message: Keys) -> None:
        if flow := self._flows.get(message.id):
            flow.typing().press(message.data)

    async def _on_resize(self, message: Resize) -> None:
        if flow := self._flows.get(message.id):
            flow.typing().resize(message.rows, message.columns)

    async def _on_cancel(self, message: Cancel) -> None:
        if flow := self._flows.get(message.id):
            flow.cancelled.set()
        else:
            self._start(self._quietly(self._sessions.cancel(message.id)))

    async def _on_credit(self, message: Credit) -> None:
        if flow := self._flows.get(message.id):
            flow.credit.add(message.size)

    async def _on_open_session(self, message: OpenSession) -> None:
        # Bounded as commands are: each waits for a person, or for STS.
        if len(self._tasks) >= 2 * self._most:
            text = f"{self._most} requests are under way; wait for one of them to end."
            await self.send(Failed(id=message.id, kind="InvalidRequest", message=text))
            return
        self._start(self._quietly(self._sessions.serve(message, self.send)))

    async def _on_close_session(self, message: CloseSession) -> None:
        self._start(self._quietly(self._sessions.serve(message, self.send)))

    async def _on_status(self, message: StatusQuery) -> None:
        await self.send(await self._status(message.id))

    async def _quietly(self, work: Awaitable[None]) -> None:
        with contextlib.suppress(ConnectionError):  # the reading side ends the sidecar
            await work

    async def _run(self, number: int, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except ConnectionError:
            pass  # the reading side ends the sidecar
        finally:
            self._flows.pop(number, None)
