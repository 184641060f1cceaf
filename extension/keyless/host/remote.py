"""A kernel of a Jupyter server elsewhere, by its REST API and its websocket.

The server has the sidecar, the vault and the policy; here is only what any client of it may do.
"""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from keyless.host.errors import SandboxDied, SandboxError
from keyless.host.finishing import finish
from keyless.host.inbox import Inbox, Request
from keyless.host.outputs import mapping

__all__ = ["RemoteKernel"]

_REQUEST_TIMEOUT = 60.0
#: Bytes of one message of the server.
_LARGEST = 256 * 1024 * 1024
_GONE = frozenset({"restarting", "autorestarting", "dead"})


class RemoteKernel:
    """A kernel that a server starts for us and ends when we are done.

    Args:
        url: of the server, with its base path.
        token: of the server; sent to this server only, redirects are not followed.
        kernel_name: kernelspec.
        start_timeout: seconds until the kernel must answer.

    Raises:
        SandboxError: no http or https URL.
    """

    def __init__(self, url: str, token: str, *, kernel_name: str, start_timeout: float) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise SandboxError("the server's URL begins with http:// or https://")
        self._url = url.split("?", 1)[0].rstrip("/") + "/"
        self._headers = {"Authorization": f"token {token}"} if token else {}
        self._name = kernel_name
        self._timeout = start_timeout
        self._session = uuid.uuid4().hex
        self._socket: WebSocketClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._inbox = Inbox()
        self._id = ""

    @property
    def kernel_id(self) -> str:
        """The server's id of it; empty while there is none."""
        return self._id

    async def start(self) -> None:
        """As :meth:`~keyless.host.kernel.Kernel.start`.

        Raises:
            SandboxError: the server refuses, or doesn't answer in time.
        """
        try:
            made = await self._rest("POST", "api/kernels", {"name": self._name})
            self._id = str(mapping(made).get("id", ""))
            await self._connect()
            async with asyncio.timeout(self._timeout):
                await self._answers()
        except TimeoutError:
            await finish(self.stop())
            raise SandboxError(f"the kernel didn't answer in {self._timeout:g} seconds") from None
        except BaseException:
            await finish(self.stop())
            raise

    async def _connect(self) -> None:
        url = f"ws{self._url.removeprefix('http')}api/kernels/{self._id}/channels"
        try:
            self._socket = await websocket_connect(
                HTTPRequest(
                    f"{url}?session_id={self._session}",
                    headers=self._headers,
                    request_timeout=_REQUEST_TIMEOUT,
                    follow_redirects=False,
                ),
                max_message_size=_LARGEST,
                ping_interval=30,
            )
        except (HTTPClientError, OSError) as error:
            raise SandboxError(f"the server's kernel can't be reached: {error}") from error
        self._inbox = Inbox()
        self._reader = asyncio.create_task(self._read(self._socket))

    async def _answers(self) -> None:
        request = self.send("", {}, store_history=False)
        try:
            while await request.next() is not None:
                pass
        finally:
            self.forget(request)

    async def _read(self, socket: WebSocketClientConnection) -> None:
        while (data := await socket.read_message()) is not None:
            try:
                message = mapping(json.loads(data if isinstance(data, str) else _head(data)))
            except (ValueError, struct.error):
                continue  # not a message
            self._inbox.deliver(message)
            if mapping(message.get("content")).get("execution_state") in _GONE:
                self._inbox.fail("the kernel has ended; restart() starts it anew")
        self._inbox.fail("the connection with the server has ended")

    def send(self, code: str, expressions: Mapping[str, str], *, store_history: bool) -> Request:
        """As :meth:`~keyless.host.kernel.Kernel.send`.

        Raises:
            SandboxDied: the kernel, or the connection with it, has ended.
        """
        if self._socket is None:
            raise SandboxDied("the sandbox isn't running")
        content = {
            "code": code,
            "silent": False,
            "store_history": store_history,
            "user_expressions": dict(expressions),
            "allow_stdin": False,
            "stop_on_error": False,
        }
        name = uuid.uuid4().hex
        message = {
            "header": {
                "msg_id": name,
                "msg_type": "execute_request",
                "session": self._session,
                "username": "keyless",
                "version": "5.3",
                "date": datetime.now(UTC).isoformat(),
            },
            "parent_header": {},
            "metadata": {},
            "content": content,
            "channel": "shell",
            "buffers": [],
        }
        text = json.dumps(message)
        request = self._inbox.open(name)
        try:
            written = asyncio.ensure_future(self._socket.write_message(text))
        except WebSocketClosedError as error:
            self.forget(request)
            raise SandboxDied("the connection with the server has ended") from error
        # Where the connection breaks while it is written, the reader says so to all.
        written.add_done_callback(lambda done: done.cancelled() or done.exception())
        return request

    def forget(self, request: Request) -> None:
        """As :meth:`~keyless.host.kernel.Kernel.forget`."""
        self._inbox.close(request)

    async def interrupt(self) -> None:
        """As :meth:`~keyless.host.kernel.Kernel.interrupt`."""
        await self._rest("POST", f"api/kernels/{self._id}/interrupt")

    async def restart(self) -> None:
        """As :meth:`~keyless.host.kernel.Kernel.restart`."""
        await self._disconnect("the kernel was restarted")
        await self._rest("POST", f"api/kernels/{self._id}/restart")
        await self._connect()
        async with asyncio.timeout(self._timeout):
            await self._answers()

    async def stop(self) -> None:
        """As :meth:`~keyless.host.kernel.Kernel.stop`.

        Raises:
            SandboxError: the server doesn't end the kernel.
        """
        await self._disconnect("the sandbox has ended")
        name, self._id = self._id, ""
        if name:
            await self._rest("DELETE", f"api/kernels/{name}")

    async def _disconnect(self, reason: str) -> None:
        self._inbox.fail(reason)
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _rest(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            answer = await AsyncHTTPClient().fetch(
                HTTPRequest(
                    self._url + path,
                    method=method,
                    headers=self._headers,
                    body=json.dumps(body or {}) if method == "POST" else None,
                    request_timeout=_REQUEST_TIMEOUT,
                    follow_redirects=False,
                )
            )
            return json.loads(answer.body) if answer.body else None
        except HTTPClientError as error:
            if method == "DELETE" and error.code == 404:
                return None  # it is gone already
            raise SandboxError(f"the server refused {method} {path}: {_said(error)}") from error
        except (OSError, ValueError) as error:
            raise SandboxError(f"the server can't be reached: {error}") from error


def _said(error: HTTPClientError) -> str:
    """What the server wrote about an error, on one line."""
    try:
        said = mapping(json.loads(error.response.body)).get("message") if error.response else None
    except ValueError:
        said = None
    return f"{error.code} {said or error.message}"[:500]


def _head(data: bytes) -> bytes:
    """The JSON of a message with buffers: a count, so many offsets, then the parts."""
    count = struct.unpack_from("!i", data)[0]
    if not 0 < count <= 1024:
        raise ValueError("no message")
    offsets = struct.unpack_from(f"!{count}i", data, 4)
    return data[offsets[0] : offsets[1] if count > 1 else len(data)]
