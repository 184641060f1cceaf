"""A running sandbox: the bubblewrap process outside and its pid namespace's init inside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path


class Confined:
    """Owned by the process (and thread) that spawned it.

    ``process`` is bubblewrap; its exit status is the command's (128 + n for signal n).  When the
    namespace's init dies, the kernel kills everything in it, daemonized processes included.
    """

    def __init__(self, process: subprocess.Popen[bytes], init_pid: int) -> None:
        self.process = process
        self.init_pid = init_pid
        try:
            self._pidfd = os.pidfd_open(init_pid)
        except ProcessLookupError:  # it ended already
            self._pidfd = -1

    def kill(self) -> None:
        """End everything in the sandbox, now.  Safe to call again."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        elif self.process.poll() is None:
            self.process.kill()

    def signal(self, number: int) -> None:
        """Send a signal to the sandboxed command itself, if it still runs."""
        if self._pidfd < 0:
            return
        for pid in self._children():
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(pid)
                try:
                    # The child list was read for this init; a reused number would not be in it.
                    if pid in self._children():
                        signal.pidfd_send_signal(pidfd, number)
                finally:
                    os.close(pidfd)
            return

    def close(self) -> None:
        """Kill what is left, reap it and free the descriptor."""
        self.kill()
        self.process.wait()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _children(self) -> list[int]:
        """Children of init, oldest first: the command, then adopted orphans."""
        path = Path(f"/proc/{self.init_pid}/task/{self.init_pid}/children")
        try:
            return [int(pid) for pid in path.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            return []
