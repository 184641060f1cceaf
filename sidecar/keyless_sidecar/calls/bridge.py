"""Between botocore, which blocks in a worker thread, and the event loop, where requests are sent.

A :class:`Bridge` belongs to one call.  :meth:`Bridge.send` is what botocore calls instead of its
own HTTP client; :meth:`Bridge.close` ends whatever waits, so that the thread comes to its end.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from keyless_sidecar.egress.http1 import HOP
from keyless_sidecar.egress.messages import Request, Response, Whole, without

__all__ = ["Abandoned", "AnswerTooLarge", "Bridge", "Exchange"]

_READ = 1 << 20
#: Bodies from this size on wait for ``100 Continue``, so that what is refused isn't sent.
_LARGE = 1 << 20
#: Bytes of answers that a call may hold in memory, over all its requests.
MAX_HELD = 64 << 20

_T = TypeVar("_T")


class Abandoned(Exception):
    """The call is over; nothing more is sent or read for it."""


class AnswerTooLarge(Exception):
    """The answers of a call are more than may be held."""


class Exchange(Protocol):
    """What answers requests: `keyless_sidecar.calls.outlet.Outlet.exchange`."""

    def __call__(self, request: Request) -> Coroutine[Any, Any, Response]: ...


class Bridge:
    """One call's way from its worker thread to the event loop.

    Args:
        loop: where requests are sent.
        exchange: answers them there.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, exchange: Exchange) -> None:
        self._loop = loop
        #: Answers requests; a call that changes what it does (from call to waiting) changes it.
        self.exchange = exchange
        self._open: set[concurrent.futures.Future[Any]] = set()
        self._turn = threading.Lock()
        #: Set when the call is over; what sleeps waits for it.
        self.closed = threading.Event()
        self.held = 0

    def close(self) -> None:
        """End the call: what waits raises :class:`Abandoned`.  Any thread; idempotent."""
        with self._turn:
            self.closed.set()
            waiting = list(self._open)
        for future in waiting:
            future.cancel()

    def wait_for(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run something on the event loop, from the worker thread.

        Raises:
            Abandoned: the call ended meanwhile.
            Exception: whatever ``work`` raises.
        """
        with self._turn:
            if self.closed.is_set():
                work.close()
                raise Abandoned
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
            self._open.add(future)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Abandoned from None
        finally:
            with self._turn:
                self._open.discard(future)

    def send(self, prepared: AWSPreparedRequest) -> AWSResponse:
        """What botocore prepared, answered; its body streams both ways.

        Raises:
            Abandoned: the call ended meanwhile.
            EgressError: it couldn't be sent.
        """
        streams = bool(prepared.stream_output)
        response, body = self.wait_for(self._answered(_request(prepared), streams=streams))
        raw = _Raw(self, response, body)
        headers = list(response.headers)
        if response.length is not None:  # the engine keeps it apart
            headers.append(("Content-Length", str(response.length)))
        return AWSResponse(prepared.url, response.status, headers, raw)

    async def _answered(self, request: Request, *, streams: bool) -> tuple[Response, bytes | None]:
        """The answer to a request; with its body, unless that is content."""
        response = await self.exchange(request)
        if streams and response.status < 300:
            return response, None
        pieces: list[bytes] = []
        try:
            if not response.bodiless:
                async for piece in response.body:
                    self.hold(len(piece))
                    pieces.append(piece)
        except BaseException:
            await response.close()
            raise
        return response, b"".join(pieces)

    def hold(self, size: int) -> None:
        """Count what an answer adds to memory.

        Raises:
            AnswerTooLarge: it is too much.
        """
        self.held += size
        if self.held > MAX_HELD:
            raise AnswerTooLarge


class _Raw:
    """An answer's body, as botocore reads those of urllib3.

    Args:
        bridge: of the call.
        response: the answer.
        body: all of it; None where it is content, which isn't held in memory.
    """

    def __init__(self, bridge: Bridge, response: Response, body: bytes | None) -> None:
        self._bridge = bridge
        self._response = response
        self._rest = body or b""
        self._ended = response.bodiless or body is not None

    def stream(self, amount: int | None = None, **_: Any) -> Iterator[bytes]:
        """The pieces as they come."""
        while piece := self.read(amount or _READ):
            yield piece

    def read(self, amount: int | None = None, **_: Any) -> bytes:
        """The next bytes: any number up to ``amount``, all of them where that is None.

        Raises:
            AnswerTooLarge: more than may be held.
            EgressError: it broke off.
        """
        if amount is None:
            return b"".join(self.stream())
        if not self._rest:
            self._rest = self._pull()
        piece, self._rest = self._rest[:amount], self._rest[amount:]
        return piece

    def close(self) -> None:
        """Give up what is left."""
        if not self._ended:
            self._ended = True
            self._bridge.wait_for(self._response.close())

    def _pull(self) -> bytes:
        if self._ended:
            return b""
        piece = self._bridge.wait_for(_next(self._response))
        self._ended = not piece
        return piece


async def _next(response: Response) -> bytes:
    """The next piece of a body that isn't empty; empty at the end."""
    async for piece in response.body:
        if piece:
            return piece
    return b""


class _Pieces:
    """What botocore would send, read in a thread as the event loop asks for it."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data: bytes = await asyncio.to_thread(self._source.read, _READ)
        if not data:
            raise StopAsyncIteration
        return data


def _request(prepared: AWSPreparedRequest) -> Request:
    """The request as the handler takes it."""
    parts = urlsplit(prepared.url)
    host, port = (parts.hostname or "").lower(), parts.port or 443
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = [(_text(name), _text(value)) for name, value in prepared.headers.items()]
    named = {name.lower(): value for name, value in sent}
    headers = [("Host", host if port == 443 else f"{host}:{port}")]
    headers += without(sent, *HOP, "expect", "host")
    request = Request(
        prepared.method, "https" if parts.scheme == "https" else "http", host, port, target, headers
    )
    body = prepared.body
    if body is None:
        return request
    if isinstance(body, str):
        body = body.encode()
    if isinstance(body, bytes | bytearray):
        request.length, request.body = len(body), Whole(bytes(body))
        return request
    request.length = int(named["content-length"]) if "content-length" in named else None
    request.body = _Pieces(body)
    size = named.get("x-amz-decoded-content-length") or named.get("content-length") or "0"
    request.expects_continue = "expect" in named and int(size) >= _LARGE
    return request


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
