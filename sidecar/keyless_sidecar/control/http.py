"""HTTP/1.1 by tornado, for the control socket and the page: heads and bodies in, answers out.

Who may speak at all is decided on the head, by a :data:`Check`, before anything of a body is read.
There are no cookies.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence

from tornado import httputil
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError

from keyless_sidecar.control.requests import Answer, Refusal, Request, Stream

__all__ = ["ALWAYS", "MAX_BODY", "Check", "serve"]

#: Largest body of a request, in bytes; standard input is the largest thing in one.
MAX_BODY = 4 * 1024 * 1024
MAX_HEAD = 16 * 1024
#: Seconds for a head between requests, and for a whole body.
IDLE, BODY_TIME = 60.0, 60.0
#: Requests under way at once, those that listen among them.
MOST_REQUESTS = 64

#: Headers of every answer.
ALWAYS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Server", "keyless"),
)
_log = logging.getLogger(__name__)

#: Raises :class:`Refusal` where a request with this head may not be made.
Check = Callable[[httputil.RequestStartLine, httputil.HTTPHeaders], None]
Router = Callable[[Request], Awaitable[Answer | Stream]]


def serve(
    listener: socket.socket,
    check: Check,
    router: Router,
    always: Sequence[tuple[str, str]] = ALWAYS,
) -> HTTPServer:
    """Serve a listening socket on the running loop.

    Args:
        listener: the server closes it.
        check: who may speak.
        router: answers.
        always: headers of every answer, refusals included.
    """
    # Its reports hold pieces of what was sent; what is wrong with a request its sender hears.
    logging.getLogger("tornado").setLevel(logging.CRITICAL)
    server = HTTPServer(
        _Connections(check, router, always),
        max_header_size=MAX_HEAD,
        max_body_size=MAX_BODY,
        idle_connection_timeout=IDLE,
        body_timeout=BODY_TIME,
    )
    server.add_socket(listener)
    return server


class _Connections(httputil.HTTPServerConnectionDelegate):
    def __init__(self, check: Check, router: Router, always: Sequence[tuple[str, str]]) -> None:
        self._check = check
        self._router = router
        self._always = always
        self._under_way: set[_Exchange] = set()

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        if not isinstance(request_conn, HTTP1Connection):
            raise TypeError("a connection of another kind")
        return _Exchange(request_conn, self._check, self._router, self._always, self._under_way)


class _Exchange(httputil.HTTPMessageDelegate):
    """One request and its answer."""

    def __init__(
        self,
        connection: HTTP1Connection,
        check: Check,
        router: Router,
        always: Sequence[tuple[str, str]],
        under_way: set[_Exchange],
    ) -> None:
        self._connection = connection
        self._may = check
        self._router = router
        self._always = always
        self._under_way = under_way
        self._gone = asyncio.Event()
        self._body = bytearray()
        self._head: httputil.RequestStartLine | None = None
        self._headers = httputil.HTTPHeaders()
        self._refused = False
        self._task: asyncio.Task[None] | None = None

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> None:
        if not isinstance(start_line, httputil.RequestStartLine):
            raise TypeError("a request was expected")
        self._head, self._headers = start_line, headers
        self._connection.set_close_callback(self.on_connection_close)
        try:
            self._check(start_line, headers)
        except Refusal as refusal:
            # Before the body: nothing of it is read.
            self._refused = True
            self._write(refusal.answer(), close=True)

    def data_received(self, chunk: bytes) -> None:
        if not self._refused:
            self._body += chunk

    def finish(self) -> None:
        if not self._refused:
            self._task = asyncio.ensure_future(self._answer())

    def on_connection_close(self) -> None:
        self._gone.set()

    # ------------------------------------------------------------------ inside

    def _check(self, line: httputil.RequestStartLine, headers: httputil.HTTPHeaders) -> None:
        if len(self._under_way) >= MOST_REQUESTS:
            raise Refusal(409, "Busy", f"{MOST_REQUESTS} requests are under way already.")
        self._may(line, headers)
        if "Content-Encoding" in headers:
            raise Refusal(415, "InvalidRequest", "A body is sent as it is, without an encoding.")
        length = headers.get("Content-Length", "0")
        if length.isdigit() and int(length) > MAX_BODY:
            raise Refusal(413, "TooLarge", f"A body has at most {MAX_BODY} bytes.")

    async def _answer(self) -> None:
        self._under_way.add(self)
        try:
            if self._head is not None:
                await self._answered(self._head)
        finally:
            self._under_way.discard(self)

    async def _answered(self, head: httputil.RequestStartLine) -> None:
        path, _, query = head.path.partition("?")
        request = Request(
            head.method,
            path,
            query,
            bytes(self._body),
            self._headers.get("Content-Type", ""),
            _peer(self._connection),
            self._gone,
        )
        self._body.clear()
        try:
            answer = await self._router(request)
        except Refusal as refusal:
            answer = refusal.answer()
        except Exception as error:  # noqa: BLE001 - a fault of ours ends this request alone
            _log.error("control: %s %s: %s", head.method, path[:80], type(error).__name__)
            answer = Refusal(500, "Fault", "The sidecar failed on this request.").answer()
        try:
            if isinstance(answer, Stream):
                await self._stream(answer)
            else:
                self._write(answer)
        except StreamClosedError:
            return

    def _write(self, answer: Answer, *, close: bool = False) -> None:
        if self._gone.is_set():
            return
        headers = httputil.HTTPHeaders(
            {
                "Content-Type": answer.content_type,
                "Content-Length": str(len(answer.body)),
                **dict(self._always),
                **dict(answer.headers),
            }
        )
        if close:
            headers["Connection"] = "close"
        bare = self._head is not None and self._head.method == "HEAD"
        future = self._connection.write_headers(
            _line(answer.status), headers, b"" if bare else answer.body
        )
        future.add_done_callback(_looked_at)
        self._connection.finish()
        if close:
            self._connection.no_keep_alive = True

    async def _stream(self, answer: Stream) -> None:
        headers = httputil.HTTPHeaders(
            {"Content-Type": answer.content_type, "Connection": "close", **dict(self._always)}
        )
        gone = asyncio.ensure_future(self._gone.wait())
        following: asyncio.Future[bytes | None] | None = None
        try:
            await self._connection.write_headers(_line(200), headers, b": keyless\n\n")
            while True:
                following = asyncio.ensure_future(anext(answer.parts, None))
                await asyncio.wait({following, gone}, return_when=asyncio.FIRST_COMPLETED)
                part = following.result() if following.done() else None
                if part is None:
                    break
                await self._connection.write(part)
            if following.done():
                self._connection.finish()
        finally:
            gone.cancel()
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            await answer.parts.aclose()


def _line(status: int) -> httputil.ResponseStartLine:
    return httputil.ResponseStartLine(
        "HTTP/1.1", status, http.client.responses.get(status, "Unknown")
    )


def _looked_at(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()


def _peer(connection: HTTP1Connection) -> dict[str, int]:
    """Who is at the other end, by the system's word."""
    raw = getattr(connection.stream, "socket", None)
    if raw is None:
        return {}
    pid, uid, _ = struct.unpack(
        "iII", raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    )
    return {"pid": pid, "uid": uid}
