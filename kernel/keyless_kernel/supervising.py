"""A supervisor as the provisioner holds it, and how one comes to be.

The first kernel of a program starts a supervisor of its own.  Programs that start more get a
nursery (:mod:`keyless_kernel.nursery`), which forks them with their code loaded.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from keyless_kernel.confine.session import end_session
from keyless_kernel.surroundings import surroundings
from keyless_kernel.wire import PADDING, READY, line, split_lines

#: Seconds that a killed supervisor may stay uncollected, where nobody collects orphans.
_COLLECTED = 1.0
#: Kernels that are started within so many seconds wait for a nursery that still loads.
_CROWD = 1.0
#: Seconds that a nursery without supervisors may take to end.
_LEAVING = 0.5
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


class Supervision:
    """One supervisor process and the socket to it, which is its lifeline.  Close it.

    Args:
        nursery: forks it; without, it is executed.
    """

    def __init__(self, nursery: Nursery | None = None) -> None:
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        self._buffer = bytearray()
        self._hung_up = False
        self._process: subprocess.Popen[bytes] | None = None
        #: Of one that was forked, as soon as it has told.
        self._pidfd = -1
        self._over = 0.0
        self._pid = 0
        with theirs:
            if nursery is None or not nursery.ask(theirs):
                self._process = _execute(theirs, "-m", "keyless_kernel.supervisor")
                self._pid = self._process.pid

    @property
    def born(self) -> bool:
        """Whether there has been a process; one that was asked for may never come."""
        return self._process is not None or self._pidfd >= 0

    @property
    def pid(self) -> int:
        """Its number; 0 as long as it isn't known."""
        return self._pid

    def gone(self) -> bool:
        """Whether it has ended; what one left that was killed has ended then, too."""
        if self._process is None:
            return self._forked_gone()
        if self._process.returncode is None:
            pid = self._process.pid
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return False
            end_session(pid)
            self._process.wait()
        return True

    def kill(self) -> None:
        """End it now."""
        if self._process is not None:
            self._process.kill()
        elif self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def send(self, message: dict[str, Any]) -> None:
        """Tell it something; where it has ended, :meth:`gone` tells."""
        if self._control.fileno() < 0:
            return
        # Messages are far smaller than a socket buffer, but for the launch.
        self._control.setblocking(True)
        try:
            self._control.sendall(line(message))
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            self._control.setblocking(False)

    def receive(self) -> list[dict[str, Any]]:
        """What it has said; doesn't wait."""
        if self._control.fileno() < 0:
            return []
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            data, descriptors, _, _ = socket.recv_fds(self._control, 1 << 16, 1)
            self._hung_up = not data
            self._buffer += data
            for descriptor in descriptors:
                if self._process is None and self._pidfd < 0:
                    self._pidfd = descriptor
                else:
                    os.close(descriptor)
        messages = split_lines(self._buffer)
        for message in messages:
            if message["event"] == "born":
                self._pid = int(message["pid"])
        return [message for message in messages if message["event"] != "born"]

    async def hear(self, timeout: float) -> None:
        """Until it has said something, or ``timeout`` seconds have passed."""
        if self._hung_up:
            await asyncio.sleep(0.005)  # its end is told by its exit, in a moment
            return
        loop = asyncio.get_running_loop()
        heard = asyncio.Event()
        loop.add_reader(self._control, heard.set)
        try:
            async with asyncio.timeout(timeout):
                await heard.wait()
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(self._control)

    def hang_up(self) -> None:
        """Close the lifeline: whatever is left ends now."""
        self._hung_up = True
        self._control.close()

    def close(self) -> None:
        """Free what it took; when it is gone."""
        self._control.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
            self._over = time.monotonic()

    def _forked_gone(self) -> bool:
        if self._pidfd < 0:
            return self._hung_up or self._over > 0
        if not select.select([self._pidfd], [], [], 0)[0]:
            return False
        self._over = self._over or time.monotonic()
        try:
            # The nursery collects it when it has ended what the supervisor left.
            signal.pidfd_send_signal(self._pidfd, 0)
        except ProcessLookupError:
            return True
        return time.monotonic() - self._over > _COLLECTED


class Nursery:
    """This program's nursery, made when it is first of use.  Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._loaded = False
        self._surroundings: tuple[object, ...] = ()
        self._last = -_CROWD
        self._kernels = 0
        #: A process that was forked from this one has no nursery; it would be its parent's.
        self._owner = os.getpid()

    def for_next(self) -> Nursery | None:
        """Itself, where the next supervisor comes from it: not for a program's only kernel."""
        with self._lock:
            now = time.monotonic()
            crowd, self._last = now - self._last < _CROWD, now
            self._kernels += 1
            if self._kernels == 1 or self._owner != os.getpid():
                return None
            self._start()
            return self if crowd or self._ready() else None

    def prepare(self) -> None:
        """Let it load now, for a program that will start kernels."""
        with self._lock:
            if self._owner == os.getpid():
                self._kernels += 1
                self._start()

    def ready(self) -> bool:
        """Whether it has loaded everything."""
        with self._lock:
            return self._ready()

    @property
    def pid(self) -> int:
        """Its process's number; 0 where there is none."""
        return self._processes[-1].pid if self._control is not None and self._processes else 0

    def ask(self, control: socket.socket) -> bool:
        """Have a supervisor forked; it may come later, or its socket is closed.

        Args:
            control: its end of the socketpair.

        Returns:
            False where there is no nursery that could be asked.
        """
        with self._lock:
            if self._control is None or self._owner != os.getpid():
                return False
            try:
                socket.send_fds(self._control, [b"supervisor"], [control.fileno()])
            except OSError:
                return False
            return True

    def close(self) -> None:
        """End it; supervisors go on."""
        with self._lock:
            if self._owner != os.getpid():
                return
            self._end()
            for process in self._processes:
                try:
                    process.wait(timeout=_LEAVING)
                except subprocess.TimeoutExpired:
                    process.returncode = 0  # it goes with the last supervisor; nobody waits for it
            self._processes = []

    def _start(self) -> None:
        here = surroundings()
        if (
            self._control is not None
            and not self._hung_up(self._control)
            and here == self._surroundings
        ):
            return
        self._end()
        self._surroundings = here
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        with theirs:
            self._processes.append(
                _execute(theirs, "-B", "-m", "keyless_kernel.nursery", padding=PADDING)
            )

    def _ready(self) -> bool:
        """Whether it answers at once."""
        if self._control is not None and not self._loaded:
            with contextlib.suppress(OSError):
                self._loaded = self._control.recv(64) == READY
        return self._loaded

    def _hung_up(self, control: socket.socket) -> bool:
        poll = select.poll()
        poll.register(control, select.POLLRDHUP)
        return bool(poll.poll(0))

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
            self._loaded = False
        # One that has no more to do stays as long as its supervisors, to collect them.
        self._processes = [process for process in self._processes if process.poll() is None]


def _execute(
    control: socket.socket, *words: str, padding: str | None = None
) -> subprocess.Popen[bytes]:
    descriptor = control.fileno()
    return subprocess.Popen(
        [sys.executable, "-I", *words, str(descriptor), *([padding] if padding else [])],
        env=_ENVIRONMENT,
        cwd="/",
        stdin=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        start_new_session=True,
    )


#: Of this program.
NURSERY = Nursery()
atexit.register(NURSERY.close)

__all__ = ["NURSERY", "Nursery", "Supervision"]
