"""Counts what a sandbox uses by looking at its processes in /proc, where there is no cgroup.

A process is found through its parent, so the whole tree below the sandbox's init is seen: in its
pid namespace every orphan becomes init's child.  It is a second look after setrlimit, not a wall:
between two looks a sandbox may overshoot.  Used by :mod:`keyless_kernel.confine.metering`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Processes that one look reads at most; more than any limit allows are too many anyway.
_MOST = 100_000


@dataclass(frozen=True)
class Usage:
    """What a tree of processes uses.

    Args:
        memory: bytes, pages that several processes share counted once where /proc says so.
        tasks: processes and threads.
    """

    memory: int
    tasks: int


def usage(roots: Iterable[int], enough: int, proc: Path = Path("/proc")) -> Usage:
    """Look at the trees of processes below ``roots``, themselves included.

    Args:
        roots: pids.
        enough: bytes below which a coarse sum (shared pages counted in each) is good enough.
        proc: where proc is mounted.
    """
    pids: dict[int, int] = {}
    todo = list(roots)
    while todo and len(pids) < _MOST:
        pid = todo.pop()
        if pid in pids:
            continue
        tasks = _tasks(proc / str(pid))
        if tasks:
            pids[pid] = len(tasks)
            for task in tasks:
                todo += _children(task)
    memory = sum(_resident(proc / str(pid)) for pid in pids)
    if memory > enough:
        memory = sum(_share(proc / str(pid)) for pid in pids)
    return Usage(memory, sum(pids.values()))


def _tasks(process: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return list((process / "task").iterdir())
    return []


def _children(task: Path) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(pid) for pid in (task / "children").read_text().split()]
    return []


def _resident(process: Path) -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int((process / "statm").read_text().split()[1]) * _PAGE
    return 0


def _share(process: Path) -> int:
    """Proportional share of a process; where that is hidden from us, all that it maps."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return _resident(process)
