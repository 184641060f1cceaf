"""A running sandbox, as the process that started it holds it.

:class:`Confined` is bubblewrap and its pid namespace's init; :class:`Jailed` is the wrapper process
of the landlock levels.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

#: Seconds that a wrapper may take to end a whole tree of processes.
_END_TIMEOUT = 20.0


class Confined:
    """Owned by the process (and thread) that spawned it.

    ``process`` is bubblewrap; its exit status is the command's (128 + n for signal n).  When the
    namespace's init dies, the kernel kills everything in it, daemonized processes included.

    Args:
        process: bubblewrap.
        init_pid: of the namespace's init.
        apart: whether init is no child of bubblewrap, but of another sandbox's init.  bubblewrap
            then learns nothing of its end.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], init_pid: int, *, apart: bool = False
    ) -> None:
        self.process = process
        self.init_pid = init_pid
        self._apart = apart
        try:
            self._pidfd = os.pidfd_open(init_pid)
        except ProcessLookupError:  # it ended already
            self._pidfd = -1

    def kill(self) -> None:
        """End everything in the sandbox, now.  Safe to call again."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if (self._apart or self._pidfd < 0) and self.process.poll() is None:
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


class Jailed(Confined):
    """A sandbox of the landlock levels.

    ``process`` is the wrapper (:mod:`keyless_kernel.confine.jail`), and init as far as there is
    one: it has the command's exit status and ends last, after everything in the sandbox.

    Args:
        process: the wrapper.
        control: write end of its control pipe, which is taken over.  Its closing ends all.
    """

    def __init__(self, process: subprocess.Popen[bytes], control: int) -> None:
        super().__init__(process, process.pid)
        self._control = control

    def kill(self) -> None:
        """End everything in the sandbox, now.  Safe to call again."""
        self._order(0)

    def signal(self, number: int) -> None:
        """Send a signal to the sandboxed command itself, if it still runs."""
        self._order(number)

    def close(self) -> None:
        """Kill what is left, reap it and free the descriptors."""
        if self._control >= 0:
            os.close(self._control)
            self._control = -1
        try:
            self.process.wait(timeout=_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            # Its command dies with it, and the supervisor kills whatever else comes to it then.
            self.process.kill()
            self.process.wait()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _order(self, number: int) -> None:
        if self._control >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._control, bytes([number]))
