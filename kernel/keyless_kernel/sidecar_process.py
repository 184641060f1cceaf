"""One sidecar process, as the supervisor that started it holds it.

It is started before anything is known that it must be told, so that it loads its code meanwhile;
its settings follow.  Whoever waits polls :attr:`SidecarProcess.descriptors`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import msgspec

from keyless_kernel.confine.settings import KernelNetwork
from keyless_kernel.forking import Forked, fork

#: Runs the sidecar with arguments, and returns its exit status.
Program = Callable[[list[str]], int]

#: Seconds that a sidecar gets to write its last record.
GRACE = 3.0


class SidecarFailed(Exception):
    """It did not start; the message is for the person."""


class SidecarProcess:
    """From its start to its end.  Close it.

    Args:
        python: the interpreter.
        channel: its end of the channel to the kernel.
        ways: its end of what the kernel's listeners come over.
        program: the sidecar, where it is loaded already; else an interpreter of its own loads it.
    """

    def __init__(
        self,
        python: str,
        channel: socket.socket,
        ways: socket.socket,
        program: Program | None = None,
    ) -> None:
        settings, self._settings = os.pipe2(os.O_CLOEXEC)
        self._status, status = os.pipe2(os.O_CLOEXEC)
        lifeline, self._lifeline = os.pipe2(os.O_CLOEXEC)
        #: What of its settings it hasn't been told yet.
        self._untold = memoryview(b"")
        self._said = b""
        descriptors = (settings, channel.fileno(), status, lifeline, ways.fileno())
        names = ("settings", "channel", "status", "lifeline", "network")
        arguments = [
            word
            for name, descriptor in zip(names, descriptors, strict=True)
            for word in (f"--{name}-fd", str(descriptor))
        ]
        arguments = ["serve", *arguments]
        title = [python, "-I", "-B", "-m", "keyless_sidecar", *arguments]
        self.process: subprocess.Popen[bytes] | Forked
        try:
            if program is not None:
                self.process = fork(lambda: program(arguments), title, descriptors)
            else:
                self.process = subprocess.Popen(
                    title,
                    env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"},
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    pass_fds=descriptors,
                    start_new_session=True,
                )
        except BaseException:
            self._forget("_settings", "_status", "_lifeline")
            raise
        finally:
            for descriptor in (settings, status, lifeline):
                os.close(descriptor)

    def configure(self, settings: dict[str, Any]) -> None:
        """Tell it its settings; they go as fast as it reads.

        Over a pipe: credentials that a host registered, and a passphrase, must not reach a disk.
        """
        os.set_blocking(self._settings, False)
        self._untold = memoryview(json.dumps(settings).encode())

    @property
    def descriptors(self) -> dict[int, int]:
        """What to poll for which events while it starts."""
        wanted = {self._status: select.POLLIN}
        if self._untold:
            wanted[self._settings] = select.POLLOUT
        return wanted

    def advance(self) -> KernelNetwork | None:
        """Go on with whatever is possible.

        Returns:
            What the kernel is to know, as soon as the sidecar is ready for it.

        Raises:
            SidecarFailed: it says why it can't start, or has ended.
        """
        if self._untold:
            self._tell()
        if not select.select([self._status], [], [], 0)[0]:
            return None
        chunk = os.read(self._status, 65536)
        if not chunk:
            raise SidecarFailed("the sidecar ended while starting; see the server's log")
        self._said += chunk
        if not self._said.endswith(b"\n"):
            return None
        answer = json.loads(self._said)
        if not answer.get("ready"):
            raise SidecarFailed(str(answer.get("error") or "the sidecar did not start"))
        self._forget("_status")
        return msgspec.convert(answer.get("network", {}), KernelNetwork)

    def close(self, reason: str = "") -> None:
        """End it; it gets a moment for its last record.

        Args:
            reason: why the kernel had to end, for the audit.
        """
        if reason and self._lifeline >= 0:
            with contextlib.suppress(OSError):
                os.write(self._lifeline, reason.encode() + b"\n")
        self._forget("_settings", "_status", "_lifeline")
        try:
            self.process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _tell(self) -> None:
        try:
            self._untold = self._untold[os.write(self._settings, self._untold) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._untold = memoryview(b"")  # its status says why
        if not self._untold:
            self._forget("_settings")

    def _forget(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
                setattr(self, name, -1)


__all__ = ["GRACE", "Program", "SidecarFailed", "SidecarProcess"]
