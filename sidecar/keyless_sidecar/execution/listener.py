"""The sidecar's own listener for one child, where sandboxes share the machine's loopback."""

from __future__ import annotations

import secrets
import socket


class Listener:
    """Every program of the machine can reach it, so each connection must begin with the token."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._socket.getsockname()[1]
        self.token = secrets.token_bytes(32)

    def take(self) -> socket.socket:
        """The listening socket, which is the caller's from now on."""
        if self._socket is None:
            raise ValueError("the listener was taken already")
        taken, self._socket = self._socket, None
        return taken

    def close(self) -> None:
        """Close it, unless it was taken."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
