"""The process that a server's further supervisors, and their sidecars, are forked from.

``python -I -B -m keyless_kernel.nursery FD``; FD is a socketpair to the server, over which the
control sockets of new supervisors come.  It has loaded their code, and knows nothing else: what a
kernel is and what it may, supervisors and sidecars are told after they were forked.  It has one
thread, ends with the server, and with itself it ends nobody.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import select
import signal
import socket
import sys
from pathlib import Path
from types import ModuleType

from keyless_kernel import supervisor
from keyless_kernel.confine import seccomp
from keyless_kernel.confine.session import end_session
from keyless_kernel.forking import ForkingImpossible, fork, rename
from keyless_kernel.wire import READY

#: Loaded by name: it is a program that is started here, and nobody imports it.
_SIDECAR = "keyless_sidecar.__main__"
_PR_SET_DUMPABLE = 4


class Nursery:
    """Forks supervisors.  Owns the socket to the server.

    Args:
        control: that socket.
        sidecar: the program.
    """

    def __init__(self, control: socket.socket, sidecar: ModuleType) -> None:
        self._control: socket.socket | None = control
        self._sidecar = sidecar
        self._files = _files()
        self._wakeup, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> int:
        """Until the server is gone, and all supervisors with it."""
        while self._control is not None or self._children():
            watched = [self._wakeup, *([self._control.fileno()] if self._control else [])]
            ready, _, _ = select.select(watched, [], [])
            if self._wakeup in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakeup, 4096)
                self._reap()
            if self._control is not None and self._control.fileno() in ready:
                self._serve(self._control)
        return 0

    def _serve(self, control: socket.socket) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(control, 64, 4, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            data, descriptors = b"", []
        try:
            if not data or _files() != self._files:
                # The server is gone; or a package was exchanged, and it is to start a new one.
                # Whoever waits for a supervisor sees its socket closed.
                control.close()
                self._control = None
                return
            for descriptor in descriptors:
                self._bear(descriptor)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _bear(self, descriptor: int) -> None:
        def main() -> int:
            return supervisor.serve(socket.socket(fileno=descriptor), self._sidecar.main)

        title = (sys.executable, "-I", "-m", "keyless_kernel.supervisor", str(descriptor))
        with contextlib.suppress(ForkingImpossible, OSError):
            fork(main, title, (descriptor,))

    def _reap(self) -> None:
        """Collect supervisors; what one left that was killed ends before."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            end_session(found.si_pid)
            os.waitpid(found.si_pid, 0)

    def _children(self) -> bool:
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True


def _files() -> dict[str, tuple[int, int]]:
    """The files of all loaded code, to see whether one was exchanged."""
    found = {}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path:
            try:
                status = Path(path).stat()
            except OSError:
                continue
            found[path] = (status.st_ino, status.st_mtime_ns)
    return found


def main() -> int:
    """Entry point."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    # A terminal's Ctrl-C is for the server.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    rename((sys.executable, "-I", "-B", "-m", "keyless_kernel.nursery", sys.argv[1]))
    gc.disable()  # nothing of it is garbage
    sidecar = importlib.import_module(_SIDECAR)
    sidecar.preload()
    for unix_sockets in (True, False):
        seccomp.filters(unix_sockets=unix_sockets)  # compiled once, for all
    # What is there now is shared: the collector doesn't write into it.
    gc.collect()
    gc.freeze()
    try:
        control.send(READY)
    except ConnectionError:
        return 0
    return Nursery(control, sidecar).run()


if __name__ == "__main__":
    os._exit(main())  # there is nothing to tidy up, and a lot of modules
