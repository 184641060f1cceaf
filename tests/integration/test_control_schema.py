"""The control API against its own description: schemathesis sends what fits it, and what doesn't.

Schemathesis speaks HTTP over TCP; a bridge takes its connections to the unix socket.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.sidecar import Sidecar, kept_sidecar

#: What a schema can't say: a line must split into words, a kind of credential has its fields.
SETTINGS = "".join(
    f"""
[[operations]]
include-path = "{path}"
checks.positive_data_acceptance.enabled = false
"""
    for path in ("/api/platform/exec", "/api/jit/exec", "/api/vault/store")
)


class Bridge:
    """Takes TCP connections on the loopback to a unix socket."""

    def __init__(self, target: Path) -> None:
        self._target = str(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def close(self) -> None:
        """No more connections; those that are there end with their clients."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in (self._accepting, *self._threads):
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._carry, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, selectors.DefaultSelector() as ready:
            server.connect(self._target)
            other = {client: server, server: client}
            for end in other:
                ready.register(end, selectors.EVENT_READ)
            with contextlib.suppress(OSError):
                while True:
                    for key, _ in ready.select(30):
                        end: Any = key.fileobj
                        data = end.recv(65536)
                        if not data:
                            return
                        other[end].sendall(data)


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Sidecar]:
    """A sidecar; commands of the description's making name no tool that it has."""
    with kept_sidecar() as started:
        yield started


def test_schemathesis_finds_nothing(sidecar: Sidecar, tmp_path: Path) -> None:
    token = (sidecar.control / "control.token").read_text()
    bridge = Bridge(sidecar.control / "control")
    base = f"http://127.0.0.1:{bridge.port}"
    arguments = ["--url", base, "--max-examples", "10", "--seed", "1", "--no-color"]
    arguments += ["-H", "Host: localhost", "-H", f"Authorization: Bearer {token}"]
    arguments += ["--phases", "coverage,fuzzing", "--exclude-path", "/api/events"]
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", f"{base}/openapi.json", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=100,
            check=False,
        )
    finally:
        bridge.close()
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[0-9]{3,} passed", done.stdout), done.stdout
    assert sidecar.process.poll() is None
