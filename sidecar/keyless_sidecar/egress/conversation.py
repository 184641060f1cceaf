"""The requests of one connection of a tool, one after the other, each decided on its own.

:mod:`keyless_sidecar.egress.server` begins one for a plain connection or within a tunnel whose TLS
it terminated.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable

from keyless_sidecar.egress import bodies, http1, writing
from keyless_sidecar.egress.incoming import Incoming
from keyless_sidecar.egress.messages import (
    BadMessage,
    EgressError,
    Forward,
    Headers,
    Request,
    Response,
)
from keyless_sidecar.egress.streams import CHUNK, Link, TooLong

#: Parts of an answer below this size go out together with what follows at once.
_SMALL = 16 * 1024

Answer = Callable[[Request, Forward], Awaitable[Response]]
Address = Callable[[http1.Head], Request]


@dataclasses.dataclass(frozen=True)
class Patience:
    """What a tool may cost.

    Args:
        head: seconds for a head, from its first byte.
        idle: seconds without a byte, between requests and within a body.
        linger: seconds that are spent on a body which nobody wants, after it was answered.
        quiet: seconds without any of it, after which no more is expected.
        wasted: bytes of it.
    """

    head: float = 30.0
    idle: float = 300.0
    linger: float = 10.0
    quiet: float = 1.0
    wasted: int = 256 * 1024 * 1024


class Gone(Exception):
    """The tool's connection ended or broke: nobody is left to tell."""


async def next_head(link: Link, patience: Patience) -> http1.Head | None:
    """The next request's head; ``None`` when the tool has ended the connection properly.

    Raises:
        BadMessage: malformed, ambiguous or too long.
        Gone: it broke, or nothing came in time.
    """
    try:
        if not link.buffered:
            async with asyncio.timeout(patience.idle):
                if not await link.wait():
                    return None
        async with asyncio.timeout(patience.head):
            raw = await link.read_until(b"\r\n\r\n", http1.MAX_HEAD)
    except TooLong:
        raise BadMessage("The request is refused: its headers are too long.") from None
    except (ConnectionError, EOFError, TimeoutError):
        raise Gone from None
    return http1.read_request(raw) if raw else None


class Conversation:
    """Owned by the task of one connection.

    Args:
        link: the tool's connection.
        address: makes the request, still without its body, of a head; raises BadMessage.
        answer: gives the answer to a request; each may be asked of somebody else.
        forward: what the handlers get.
        patience: what the tool may cost.
    """

    def __init__(
        self, link: Link, address: Address, answer: Answer, forward: Forward, patience: Patience
    ) -> None:
        self._link = link
        self._address = address
        self._answer = answer
        self._forward = forward
        self._patience = patience

    async def run(self, head: http1.Head | None = None) -> None:
        """Until the tool or an answer ends it.

        Args:
            head: the first request's, where it was read already.

        Raises:
            Gone: the tool went away.
        """
        try:
            while True:
                head = head or await next_head(self._link, self._patience)
                if head is None or not await self._one(head):
                    return
                head = None
        except BadMessage as error:
            await say(self._link, error)
            await self._linger()

    async def _one(self, head: http1.Head) -> bool:
        """Answer one request; whether another may follow."""
        request = self._address(head)
        incoming = Incoming(self._link, head, self._patience.idle)
        request = dataclasses.replace(request, body=incoming)
        opened: list[Response] = []

        async def forward(outgoing: Request) -> Response:
            response = await self._forward(outgoing)
            opened.append(response)
            return response

        try:
            response = await self._answered(request, forward)
            opened.append(response)
            keep = head.keep and incoming.finished
            incoming.answered()
            await self._write(head, response, keep=keep)
        finally:
            for response in opened:
                await response.close()
        if not keep and (self._link.buffered or not incoming.finished):
            await self._linger()
        return keep

    async def _answered(self, request: Request, forward: Forward) -> Response:
        """The handler's answer, unless the tool goes away meanwhile."""
        handling = asyncio.ensure_future(self._handled(request, forward))
        try:
            with self._link.when_lost(handling.cancel):
                return await handling
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._link.is_lost and not (task and task.cancelling()):
                raise Gone from None
            raise

    async def _handled(self, request: Request, forward: Forward) -> Response:
        try:
            return await self._answer(request, forward)
        except EgressError as error:
            return refusal(error)
        except Exception:  # a fault of ours: nothing was sent that the policy didn't see
            logging.getLogger(__name__).exception("a handler failed")
            return refusal(EgressError("Keyless: an internal error; the request was not sent."))

    async def _write(self, head: http1.Head, response: Response, *, keep: bool) -> None:
        bodiless = head.method == "HEAD" or response.status in (204, 304)
        chunked = response.length is None and head.modern and not bodiless
        headers = writing.end_to_end(response.headers)
        if response.status != 204:
            headers += _framing(response.length, chunked)
        headers += [] if keep else [("Connection", "close")]
        try:
            raw = writing.write_status(response.status, response.reason, headers)
        except EgressError as error:
            await say(self._link, error)
            raise Gone from None
        try:
            self._link.hold(raw)
            if not bodiless:
                await self._write_body(response, chunked=chunked)
            await self._link.write()
        except (ConnectionError, EgressError):
            # The tool sees an end that is missing; half an answer is never passed off as a whole.
            self._link.flush()
            self._link.abort()
            raise Gone from None

    async def _write_body(self, response: Response, *, chunked: bool) -> None:
        left = response.length
        async for part in response.body:
            if not part:
                continue
            if left is not None and not chunked:
                left -= len(part)
                if left < 0:
                    raise EgressError("The answer is longer than its head says.")
            pieces = bodies.chunk(part) if chunked else (part,)
            if len(part) < _SMALL:
                self._link.hold(*pieces)
            else:
                await self._link.write(*pieces)
        if left:
            raise EgressError("The answer is shorter than its head says.")
        if chunked:
            self._link.hold(bodies.LAST)

    async def _linger(self) -> None:
        """Read on for a moment, or the answer could be lost: a close with unread bytes resets."""
        wasted = 0
        self._link.write_eof()
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(self._patience.linger):
                while wasted < self._patience.wasted:
                    async with asyncio.timeout(self._patience.quiet):
                        data = await self._link.read_some(CHUNK)
                    if not data:
                        return
                    wasted += len(data)


def refusal(error: EgressError) -> Response:
    """The plain answer to an error."""
    return Response.of(error.status, f"{error}\n".encode(), said=str(error))


async def say(link: Link, error: EgressError) -> None:
    """Answer with an error outside any handler, as the last thing on this connection."""
    response = refusal(error)
    headers = [*response.headers, *_framing(response.length, chunked=False)]
    raw = writing.write_status(
        response.status, response.reason, [*headers, ("Connection", "close")]
    )
    with contextlib.suppress(ConnectionError):
        await link.write(raw, await response.read(CHUNK))


def _framing(length: int | None, chunked: bool) -> Headers:
    if chunked:
        return [("Transfer-Encoding", "chunked")]
    return [] if length is None else [("Content-Length", str(length))]
