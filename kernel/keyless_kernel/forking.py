"""A program that is forked instead of executed: its code is loaded already.

:mod:`keyless_kernel.nursery` forks supervisors, and these fork sidecars.  What a forked program
gets is what an executed one would: a session of its own, the descriptors that it is given, and its
arguments; and its own command line in ``ps``.  The process must have one thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

#: Index of ``arg_start`` in ``/proc/self/stat``, behind the command's name.
_ARG_START = 45


class ForkingImpossible(Exception):
    """This process has more than one thread."""


class Forked:
    """A forked child, with what is needed of :class:`subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, minus the signal's number where it was killed.

        Args:
            timeout: seconds.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        if self.returncode is not None:
            return self.returncode
        try:
            if timeout is not None and not self._ends_within(timeout):
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:  # somebody has collected it
            self.returncode = 0
        return self.returncode

    def kill(self) -> None:
        """End it now; only before it was waited for."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _ends_within(self, timeout: float) -> bool:
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(max(timeout, 0) * 1000))
        finally:
            os.close(descriptor)


def fork(main: Callable[[], int], title: Sequence[str], keep: Collection[int]) -> Forked:
    """Run ``main`` in a child.

    Args:
        main: returns the exit status.
        title: the child's command line.
        keep: descriptors that it inherits, besides 0, 1 and 2.

    Raises:
        ForkingImpossible: a thread's locks would stay held for ever in the child.
    """
    if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208
        raise ForkingImpossible("only a process with one thread can be forked")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    pid = os.fork()
    if pid:
        return Forked(pid)
    status = 1
    try:
        os.setsid()
        _only(keep)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        rename(title)
        gc.enable()
        status = main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - it goes no further than this child
        traceback.print_exc()
    finally:
        # Nothing of the parent's may run here: no finalizers, no handlers for its end.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def rename(title: Sequence[str]) -> None:
    """Show another command line in ``/proc``; one that is too long is cut off."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_START + 1])
    size = end - start
    if start and size > 1:
        text = b"\0".join(word.encode() for word in title)[: size - 1]
        ctypes.memmove(start, text.ljust(size, b"\0"), size)


def _only(keep: Collection[int]) -> None:
    """Close all descriptors but these, and the standard ones."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        if int(name) > 2 and int(name) not in keep:
            with contextlib.suppress(OSError):  # that of the listing itself
                os.close(int(name))


__all__ = ["Forked", "ForkingImpossible", "fork", "rename"]
