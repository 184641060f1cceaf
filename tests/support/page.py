"""The approval page's server as a person starts it, and what browsers and others send to it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("jupyter-keyless")


@dataclass(frozen=True)
class Served:
    """A page that is being served."""

    link: str
    process: subprocess.Popen[str]

    @property
    def origin(self) -> str:
        return self.link.partition("/#")[0]

    @property
    def host(self) -> str:
        return self.origin.removeprefix("http://")

    @property
    def port(self) -> int:
        return int(self.host.partition(":")[2])

    @property
    def token(self) -> str:
        return self.link.partition("#")[2]


@contextmanager
def page_server(runtime: Path, *arguments: str) -> Iterator[Served]:
    """``jupyter keyless page`` for a runtime folder."""
    process = subprocess.Popen(
        [PROGRAM, "page", *arguments],
        env={**os.environ, "JUPYTER_RUNTIME_DIR": str(runtime)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        link = next(line.strip() for line in lines if "http://" in line)
        yield Served(link, process)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def runtime_folder(home: Path, **kernels: Path) -> Path:
    """A runtime folder with control folders of kernels (underscores become hyphens)."""
    runtime = home / "runtime"
    (runtime / "keyless").mkdir(mode=0o700, parents=True)
    runtime.chmod(0o700)
    for name, folder in kernels.items():
        (runtime / "keyless" / name.replace("_", "-")).symlink_to(folder)
    return runtime


def send(served: Served, line: str, *headers: str, body: bytes = b"") -> tuple[int, bytes]:
    """Bytes as anybody on this machine can send them; the answer's status, and all of it."""
    length = [f"Content-Length: {len(body)}"] if body else []
    head = "\r\n".join([line, *headers, *length, "Connection: close"]).encode() + b"\r\n\r\n"
    answer = b""
    with socket.create_connection(("127.0.0.1", served.port), 10) as connection:
        connection.sendall(head + body)
        while data := connection.recv(65536):
            answer += data
    words = answer.split(b" ", 2)
    return int(words[1]) if len(words) > 1 else 0, answer
