"""Bytes to a control socket, as somebody sends them who doesn't keep to HTTP."""

from __future__ import annotations

import socket
from pathlib import Path


def exchange(folder: Path, raw: bytes, *, timeout: float = 10) -> tuple[int, bytes]:
    """Send, and read to the end.

    Returns:
        the status of the first answer (0: none came), and all that came.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(str(folder / "control"))
        answer = b""
        try:
            connection.sendall(raw)
            while data := connection.recv(65536):
                answer += data
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was refused before all of it was sent
    words = answer.split(b" ", 2)
    return int(words[1]) if len(words) > 1 else 0, answer


def head(folder: Path, line: str, *more: str, token: str | None = None, host: str = "localhost",
         close: bool = True,
         ) -> bytes:  # fmt: skip
    """A request's head with the kernel's token (or another), and further lines."""
    if token is None:
        token = (folder / "control.token").read_text()
    lines = [line, f"Host: {host}", *([f"Authorization: Bearer {token}"] if token else []), *more]
    if close:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode() + b"\r\n\r\n"
