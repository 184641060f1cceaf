"""The tree of processes below this one: who is in it, and how all of it ends.

For :mod:`keyless_kernel.confine.jail`, to which every orphan of its sandbox goes.  Loaded by its
path, without a package: standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time


def reap(child: int) -> int | None:
    """Collect the dead.

    Returns:
        The exit status of ``child`` if it is among them (negative: the signal that ended it).
    """
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = os.waitstatus_to_exitcode(status)


def end_all(child: int) -> int:
    """Stop the whole tree, so that nothing in it can start more, and kill it; until none is left.

    Returns:
        The status of ``child``, if it was still to be collected.
    """
    last = -signal.SIGKILL
    while True:
        stopped: set[int] = set()
        while new := [pid for pid in descendants() if pid not in stopped]:
            for pid in new:
                send(pid, signal.SIGSTOP)
            stopped.update(new)
        for pid in stopped:
            send(pid, signal.SIGKILL)
        found = reap(child)
        last = last if found is None else found
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return last
        time.sleep(0.002)


def descendants() -> set[int]:
    """Living descendants of this process."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if entry.isdigit() and (fields := _stat(int(entry))) and fields[0] not in ("Z", "X"):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found: set[int] = set()
    todo = [os.getpid()]
    while todo:
        new = [pid for pid in children.get(todo.pop(), ()) if pid not in found]
        found.update(new)
        todo += new
    return found


def _stat(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return []


def send(pid: int, number: int) -> None:
    """Signal a descendant, and no other process that got its number meanwhile."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            if pid in _ancestry(pid):
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _ancestry(pid: int) -> list[int]:
    """``pid`` and its parents down from this process; empty if it is no descendant."""
    line = []
    me = os.getpid()
    while pid > 1 and pid != me:
        line.append(pid)
        fields = _stat(pid)
        if not fields:
            return []
        pid = int(fields[1])
    return line if pid == me else []
