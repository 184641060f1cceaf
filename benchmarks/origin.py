"""The server that requests through proxies end at: plain and TLS, as fast as Python lets it.

Run as ``python -m benchmarks.origin HOST CA_FILE``: prints its two ports, plain first, and ends
with its standard input.  ``GET /bytes/N`` answers N bytes; a request's body is read and forgotten.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from keyless_sidecar.egress.authority import Authority

_PIECE = bytes(256 * 1024)


@contextlib.contextmanager
def origin(host: str, ca: Path) -> Iterator[tuple[int, int]]:
    """One in a process of its own: its plain and its TLS port."""
    argv = [sys.executable, "-m", "benchmarks.origin", host, str(ca)]
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(
        argv, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        plain, secure = process.stdout.readline().split()
        try:
            yield int(plain), int(secure)
        finally:
            process.stdin.close()


def main(host: str, ca: str) -> None:
    """Serve until standard input ends."""
    authority = Authority()
    Path(ca).write_text(authority.pem)
    context = authority.context_for(host)
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=64) for _ in range(2)]
    for listener, wrap in zip(listeners, (None, context), strict=True):
        threading.Thread(target=_accept, args=(listener, wrap), daemon=True).start()
    print(*(listener.getsockname()[1] for listener in listeners), flush=True)
    sys.stdin.read()


def _accept(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve, args=(connection, context), daemon=True).start()


def _serve(connection: socket.socket, context: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError):
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True)
        with connection:
            buffer = bytearray(len(_PIECE))
            held = b""
            while (held := _one(connection, held, buffer)) is not None:
                pass


def _one(connection: socket.socket, held: bytes, buffer: bytearray) -> bytes | None:
    """Answer one request; bytes of the next one, or None at the end."""
    while b"\r\n\r\n" not in held:
        data = connection.recv(65536)
        if not data:
            return None
        held += data
    head, _, held = held.partition(b"\r\n\r\n")
    target, *fields = head.split(b"\r\n")
    names = dict(field.lower().split(b": ", 1) for field in fields)
    left = int(names.get(b"content-length", 0)) - len(held)
    held = held[left:] if left < 0 else b""
    while left > 0:
        got = connection.recv_into(buffer, min(left, len(buffer)))
        if not got:
            return None
        left -= got
    path = target.split(b" ")[1]
    size = int(path.removeprefix(b"/bytes/")) if path.startswith(b"/bytes/") else 2
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    while size:
        connection.sendall(_PIECE[:size] if size < len(_PIECE) else _PIECE)
        size -= min(size, len(_PIECE))
    return held


if __name__ == "__main__":
    main(*sys.argv[1:])
