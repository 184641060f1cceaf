"""Serves the control socket: who may speak, and HTTP/1.1 around the router.

:mod:`keyless_sidecar.control` opens one :class:`ControlServer` for each sidecar.  Socket and token
lie in a folder that only the person's user can enter, and that no sandbox shows.  HTTP itself is
tornado's, which comes with Jupyter; it is loaded when somebody connects for the first time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import stat
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from keyless_sidecar.control.requests import Answer, Request, Stream

if TYPE_CHECKING:
    from tornado.httpserver import HTTPServer

__all__ = ["SOCKET", "TOKEN", "ControlServer", "ControlUnavailable"]

SOCKET, TOKEN = "control", "control.token"
Router = Callable[[Request], Awaitable[Answer | Stream]]


class ControlUnavailable(Exception):
    """The control socket can't be made; the message is one sentence."""


class ControlServer:
    """The socket, its token, and the requests under way.  Owned by the event loop's thread.

    Args:
        folder: private folder that holds both.
        router: answers requests that may be made.

    Raises:
        ControlUnavailable: the folder isn't private, or they can't be made in it.
    """

    def __init__(self, folder: str, router: Router) -> None:
        self._router = router
        self._token = secrets.token_urlsafe(32)
        self._server: HTTPServer | None = None
        try:
            self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            raise ControlUnavailable(
                f"The folder of the control socket can't be opened: {error.strerror}."
            ) from None
        try:
            self._require_private()
            self._socket = self._make()
        except OSError as error:
            os.close(self._folder)
            raise ControlUnavailable(
                f"The control socket can't be made: {error.strerror}."
            ) from None
        except ControlUnavailable:
            os.close(self._folder)
            raise

    def start(self) -> None:
        """Take connections, once the event loop runs."""
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._first)

    async def close(self) -> None:
        """Close the socket and every connection, and remove what lies in the folder."""
        if self._folder < 0:
            return
        for name in (SOCKET, TOKEN):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._folder)
        os.close(self._folder)
        self._folder = -1
        if self._server is None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            return
        self._server.stop()
        await self._server.close_all_connections()

    # ------------------------------------------------------------------ inside

    def _require_private(self) -> None:
        info = os.fstat(self._folder)
        if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o077:
            raise ControlUnavailable("The folder of the control socket is open to other users.")

    def _make(self) -> socket.socket:
        # Of an earlier sidecar of this kernel; its token counts no more.
        for name in (SOCKET, TOKEN):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(TOKEN, flags, 0o600, dir_fd=self._folder), "w") as file:
            file.write(self._token)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            # By the descriptor: an address has 107 bytes, and the path may be longer.
            address = f"/proc/self/fd/{self._folder}/{SOCKET}"
            mask = os.umask(0o177)
            try:
                listener.bind(address)
            finally:
                os.umask(mask)
            listener.setblocking(False)
            listener.listen(16)
        except BaseException:
            listener.close()
            raise
        return listener

    def _first(self) -> None:
        """Somebody connects: now HTTP is needed."""
        from keyless_sidecar.control.access import local_only
        from keyless_sidecar.control.http import serve

        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._server = serve(self._socket, local_only(self._token), self._router)
