"""One request and its answer on one connection to a real server, both streamed at the same time.

:mod:`keyless_sidecar.egress.upstream` makes one for each request it sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Self

from keyless_sidecar.egress import bodies, http1
from keyless_sidecar.egress.messages import BadMessage, Request, Response, UpstreamFailed, Whole
from keyless_sidecar.egress.streams import Link, TooLong

#: Largest body that goes out with the head: less than what a connection takes without waiting.
_SMALL = 32 * 1024
#: Interim answers (100, 103, …) before the final one.
_MOST_INTERIM = 16
#: May be sent a second time when the first may have been received.
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
#: Methods whose bodies some servers leave unread, to take them for the next request.
_UNEXPECTED_BODY = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


@dataclasses.dataclass(frozen=True)
class Limits:
    """Seconds that a real server may take.

    Args:
        connect: to resolve its name, and for each of its addresses.
        head: from the end of the request to the head of the answer.
        idle: without taking or giving a byte in between.
        early: to say ``100 Continue`` before the body is sent anyway.
    """

    connect: float = 20.0
    head: float = 300.0
    idle: float = 300.0
    early: float = 1.0


class NeverArrived(Exception):
    """A reused connection was gone before anything that can't be repeated was sent."""


class _NotTaken(Exception):
    """The server doesn't take the body; perhaps it has answered already."""


class Exchange:
    """Owned by the task that handles the request; it is the iterator of the answer's body too.

    Args:
        link: the connection, nobody else's meanwhile.
        request: its body is pulled only after the server said so, where the tool waits for that.
        limits: how long the server may take.
        reused: whether the connection served another request before.
        give_back: called with the connection ready for the next request.
    """

    def __init__(
        self,
        link: Link,
        request: Request,
        limits: Limits,
        reused: bool,
        give_back: Callable[[], None],
    ) -> None:
        self._link = link
        self._request = request
        self._limits = limits
        self._reused = reused
        self._give_back = give_back
        self._continue = asyncio.Event()
        self._upload: asyncio.Task[None] | None = None
        self._answer: asyncio.Task[http1.Status] | None = None
        self._pulled = False
        self._whole = False  # sent with the head
        self._seen = False  # a byte of the answer
        self._body: bodies.Body | None = None
        self._keep = False
        self._over = False

    async def begin(self, head: bytes) -> Response:
        """Send the request; the answer, as soon as its head is there.

        Raises:
            NeverArrived: send it again on another connection.
            UpstreamFailed: no proper answer.
            EgressError: whatever pulling the request's body raised.
        """
        try:
            status = await self._final(head)
        except BaseException:
            await self.aclose()
            raise
        bodiless = self._request.method == "HEAD" or status.status in (204, 304)
        self._keep = status.keep and (status.framed or bodiless)
        response = Response(
            status.status,
            status.reason,
            status.headers,
            0 if status.status == 204 else status.length,
            self,
            bodiless,
        )
        if bodiless or status.length == 0:
            await self._finish()
        elif status.chunked:
            self._body = bodies.Chunked(self._link)
        elif status.length is not None:
            self._body = bodies.Sized(self._link, status.length)
        else:
            self._body = bodies.UntilEnd(self._link)
        return response

    # The request.

    async def _final(self, head: bytes) -> http1.Status:
        body = self._at_hand()
        try:
            async with asyncio.timeout(self._limits.idle):
                await self._link.write(head + body)
        except (ConnectionError, TimeoutError) as error:
            raise self._lost() from error
        if self._request.length == 0 or body:
            return await self._in_time(self._read_final())
        self._answer = asyncio.create_task(self._read_final())
        if self._request.expects_continue and await self._answered_early(self._answer):
            return await self._answer
        self._pulled = True
        self._upload = asyncio.create_task(self._send())
        await asyncio.wait({self._answer, self._upload}, return_when=asyncio.FIRST_COMPLETED)
        if not self._answer.done():
            with contextlib.suppress(_NotTaken):  # its answer, if any, says why
                await self._upload
        else:
            self._upload.add_done_callback(self._uploaded)
        return await self._in_time(self._answer)

    def _at_hand(self) -> bytes:
        """A small body that is in memory already, and nobody waits to be asked for: it goes out
        with the head, in one piece."""
        body, length = self._request.body, self._request.length
        if (
            not isinstance(body, Whole)
            or self._request.expects_continue
            or length != len(body)
            or length > _SMALL
        ):
            return b""
        self._pulled = self._whole = length > 0
        return body.take()

    async def _answered_early(self, answer: asyncio.Task[http1.Status]) -> bool:
        told = asyncio.create_task(self._continue.wait())
        try:
            await asyncio.wait(
                {answer, told},
                timeout=self._limits.early,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            told.cancel()
        return answer.done()

    async def _send(self) -> None:
        """The body, as fast as both sides want it."""
        left = self._request.length
        async for part in self._request.body:
            if not part:
                continue
            if left is None:
                await self._write(*bodies.chunk(part))
                continue
            left -= len(part)
            if left < 0:
                raise BadMessage("The request's body is longer than its head says.")
            await self._write(part)
        if left:
            raise BadMessage("The request's body is shorter than its head says.")
        if left is None:
            await self._write(bodies.LAST)

    async def _write(self, *parts: bytes) -> None:
        try:
            async with asyncio.timeout(self._limits.idle):
                await self._link.write(*parts)
        except (ConnectionError, TimeoutError) as error:
            raise _NotTaken from error

    def _uploaded(self, upload: asyncio.Task[None]) -> None:
        """After the answer began: a body that can't be completed ends both."""
        error = None if upload.cancelled() else upload.exception()
        if error is not None and not isinstance(error, _NotTaken):
            self._link.abort()

    # The answer.

    async def _in_time(self, answer: Awaitable[http1.Status]) -> http1.Status:
        try:
            async with asyncio.timeout(self._limits.head):
                return await answer
        except TimeoutError:
            raise UpstreamFailed(
                f"{self._request.destination} didn't answer in {self._limits.head:g} seconds."
            ) from None

    async def _read_final(self) -> http1.Status:
        for _ in range(_MOST_INTERIM):
            status = await self._read_head()
            self._seen = True
            if status.status == 101:
                break
            if status.status >= 200:
                return status
            if status.status == 100:
                self._continue.set()
        raise UpstreamFailed(f"{self._request.destination} answered out of turn.")

    async def _read_head(self) -> http1.Status:
        try:
            raw = await self._link.read_until(b"\r\n\r\n", http1.MAX_HEAD)
        except TooLong:
            raise UpstreamFailed(
                f"{self._request.destination} answered with headers that are too long."
            ) from None
        except (ConnectionError, EOFError) as error:
            self._seen = self._seen or bool(self._link.buffered)
            raise self._lost() from error
        if not raw:
            raise self._lost()
        return http1.read_status(raw)

    def _lost(self) -> Exception:
        repeatable = self._request.method in _REPEATABLE and not self._pulled and not self._seen
        if self._reused and repeatable:
            return NeverArrived()
        return UpstreamFailed(
            f"{self._request.destination} closed the connection without an answer."
        )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._body is None or self._body.finished:
            raise StopAsyncIteration
        if self._over:
            raise UpstreamFailed("The answer was given up.")
        try:
            async with asyncio.timeout(self._limits.idle):
                data = await self._body.pull()
        except (bodies.BrokenBody, ConnectionError, TimeoutError) as error:
            await self.aclose()
            raise UpstreamFailed(f"The answer of {self._request.destination} broke off.") from error
        if self._body.finished:
            await self._finish()
        if not data:
            raise StopAsyncIteration
        return data

    # The end.

    async def _finish(self) -> None:
        """The answer is complete: the connection is free, if the request is complete too."""
        sent = self._upload is None or (
            self._upload.done() and not self._upload.cancelled() and not self._upload.exception()
        )
        request = self._request
        if self._upload is None and request.length != 0 and not self._whole:
            sent = False  # it was announced, and will not come
        odd = request.length != 0 and request.method in _UNEXPECTED_BODY
        if self._keep and sent and not odd:
            self._over = True
            self._give_back()
        else:
            await self.aclose()

    async def aclose(self) -> None:
        """Give up what is left, if anything."""
        if self._over:
            return
        self._over = True
        self._link.abort()
        tasks = [task for task in (self._upload, self._answer) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
