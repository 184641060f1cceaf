"""What a process passes on to those that it starts, beside what they are given.

A supervisor that is forked from the nursery has the nursery's surroundings, which were the server's
when the nursery began: so :class:`keyless_kernel.supervising.Nursery` looks whether they still are.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
_LIMITS = sorted(number for name, number in vars(resource).items() if name.startswith("RLIMIT_"))


def surroundings() -> tuple[object, ...]:
    """Namespaces, control groups, limits, identity, priority and processors of this thread."""
    here = Path("/proc/thread-self")
    return (
        *((here / "ns" / name).stat().st_ino for name in _NAMESPACES),
        (here / "cgroup").read_text(),
        *(resource.getrlimit(number) for number in _LIMITS),
        (os.getresuid(), os.getresgid(), tuple(sorted(os.getgroups()))),
        os.getpriority(os.PRIO_PROCESS, 0),
        tuple(sorted(os.sched_getaffinity(0))),
    )


__all__ = ["surroundings"]
