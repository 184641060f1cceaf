"""HTTP/1.1 to a control socket: one connection for each request, by the standard library alone.

Used by :mod:`keyless.control_client`.  The answers' heads are read by ``http.client``.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "SOCKET",
    "ControlError",
    "ControlUnavailable",
    "connected",
    "failure",
    "read_body",
    "read_head",
    "read_line",
]

SOCKET, TOKEN = "control", "control.token"
#: Largest answer that is taken, in bytes.
MAX_ANSWER = 64 * 1024 * 1024
_MAX_HEAD = 64 * 1024


class ControlUnavailable(Exception):
    """There is no sidecar at the other end (any more)."""


class ControlError(Exception):
    """The sidecar refused, or the command failed.

    Attributes:
        kind: ``PolicyDenied``, ``CommandTimeout`` … as for cells, or ``NotPending``, ``NotFound`` …
        message: one sentence.
        record_id: the audit record, empty where there is none.
        status: of HTTP.
    """

    def __init__(self, kind: str, message: str, record_id: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.kind, self.message, self.record_id, self.status = kind, message, record_id, status


@contextlib.asynccontextmanager
async def connected(
    folder: Path, method: str, target: str, body: Mapping[str, Any] | None = None
) -> AsyncIterator[asyncio.StreamReader]:
    """A connection over which the request was sent; it is closed at the end, however that."""
    data = b"" if body is None else json.dumps(body).encode()
    try:
        # Read anew each time: a restarted kernel has another one.
        token = (folder / TOKEN).read_text().strip()
        reader, writer = await asyncio.open_unix_connection(sock=await _open(folder), limit=1024**2)
    except (OSError, ValueError) as error:
        raise ControlUnavailable(
            f"There is no sidecar at {folder} ({error.strerror or 'unreadable'})."
            if isinstance(error, OSError)
            else f"There is no sidecar at {folder}."
        ) from None
    try:
        head = [
            f"{method} {target} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {token}",
            "Connection: close",
        ]
        if body is not None:
            head += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
        await writer.drain()
        yield reader
    except (ConnectionError, asyncio.IncompleteReadError):
        raise ControlUnavailable("The sidecar has gone.") from None
    finally:
        writer.transport.abort()


async def _open(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    connection.setblocking(False)
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # By the descriptor: an address has 107 bytes, and the path may be longer.
        await asyncio.get_running_loop().sock_connect(
            connection, f"/proc/self/fd/{descriptor}/{SOCKET}"
        )
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(descriptor)
    return connection


async def read_head(reader: asyncio.StreamReader) -> tuple[int, http.client.HTTPResponse]:
    """Status and head of the answer.

    Raises:
        ControlUnavailable: it can't be read.
    """
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise ControlUnavailable("The sidecar's answer can't be read.") from None
    if len(raw) > _MAX_HEAD:
        raise ControlUnavailable("The sidecar's answer can't be read.")
    answer = http.client.HTTPResponse(_Bytes(raw))  # type: ignore[arg-type]
    try:
        answer.begin()
    except http.client.HTTPException:
        raise ControlUnavailable("The sidecar's answer can't be read.") from None
    return answer.status, answer


async def read_body(reader: asyncio.StreamReader, answer: http.client.HTTPResponse) -> bytes:
    """The whole body.

    Raises:
        ControlUnavailable: it has no length, or is too long.
    """
    length = answer.getheader("Content-Length") or ""
    if not length.isdigit() or int(length) > MAX_ANSWER:
        raise ControlUnavailable("The sidecar's answer can't be read.")
    return await reader.readexactly(int(length))


async def read_line(reader: asyncio.StreamReader) -> bytes:
    """One line; empty at the end."""
    try:
        return await reader.readline()
    except (ValueError, ConnectionError):
        return b""


class _Bytes:
    """A head that is here already, for the standard library's parser."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, *_: object, **__: object) -> io.BytesIO:
        return io.BytesIO(self._raw)


def failure(status: int, raw: bytes) -> ControlError:
    """What the sidecar said of a request that it didn't serve."""
    try:
        said = json.loads(raw)
        return ControlError(said["error"], said["message"], said.get("record_id", ""), status)
    except (ValueError, KeyError, TypeError):
        return ControlError("Unknown", f"The sidecar answered with status {status}.", "", status)
