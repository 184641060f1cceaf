"""``c.Limits``: how much of the machine a kernel and a tool may use, and the numbers of that here.

The supervisor reads the ``kernel_`` half, the sidecar the ``tool_`` half;
:mod:`keyless_kernel.confine.metering` puts both in force.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from traitlets import Float, Integer
from traitlets.config import Configurable

#: Part of the machine's memory that one sandbox may use at most, whatever else is set.
MACHINE_SHARE = 0.8
_GIB = 1024**3


class Limits(Configurable):
    """What one kernel, and one command of a tool, may use."""

    kernel_memory = Integer(
        0,
        min=0,
        help="Bytes of memory of a kernel with all its processes; 0: 80% of the machine's.",
    ).tag(config=True)
    kernel_processes = Integer(4096, min=16, help="Processes and threads of a kernel at once.").tag(
        config=True
    )
    kernel_cpus = Float(0.0, min=0.0, help="Processors that a kernel may fill; 0: all.").tag(
        config=True
    )
    kernel_open_files = Integer(8192, min=64, help="Open files of each of its processes.").tag(
        config=True
    )
    kernel_file_size = Integer(
        64 * _GIB, min=1024**2, help="Bytes of the largest file that a kernel may write."
    ).tag(config=True)
    kernel_run_time = Float(
        0.0, min=0.0, help="Seconds after which a kernel is ended, busy or not; 0: never."
    ).tag(config=True)
    workspace_size = Integer(
        0,
        min=0,
        help="Bytes that the workspace's files may take, with what was there before; 0: no limit.",
    ).tag(config=True)
    workspace_reserve = Integer(
        _GIB,
        min=0,
        help="Bytes that stay free on the workspace's disk, but never more than 5% of it.",
    ).tag(config=True)
    tool_memory = Integer(
        4 * _GIB, min=16 * 1024**2, help="Bytes of memory of one command with all its processes."
    ).tag(config=True)
    tool_processes = Integer(1024, min=4, help="Processes and threads of one command at once.").tag(
        config=True
    )
    tool_cpus = Float(0.0, min=0.0, help="Processors that one command may fill; 0: all.").tag(
        config=True
    )
    tool_open_files = Integer(8192, min=16, help="Open files of each of its processes.").tag(
        config=True
    )


@dataclasses.dataclass(frozen=True)
class Ceiling:
    """What one sandbox may use; sizes in bytes.

    Args:
        memory: of all its processes together, its tmpfs included where a cgroup counts.
        processes: with threads.
        cpus: processors; 0 for no limit.
        setting: prefix of the settings' names, for messages.
    """

    memory: int
    processes: int
    cpus: float
    setting: str

    def exceeded(self, what: str) -> str:
        """Words for a limit that was hit: ``"memory"`` or ``"processes"``."""
        if what == "memory":
            return f"more than {size_text(self.memory)} of memory (c.Limits.{self.setting}_memory)"
        return f"more than {self.processes} processes (c.Limits.{self.setting}_processes)"


def kernel_ceiling(limits: Limits) -> Ceiling:
    """The kernel's half of ``limits`` on this machine."""
    most = int(machine_memory() * MACHINE_SHARE)
    memory = min(limits.kernel_memory or most, most)
    return Ceiling(memory, limits.kernel_processes, limits.kernel_cpus, "kernel")


def tool_ceiling(limits: Limits) -> Ceiling:
    """The tools' half of ``limits`` on this machine."""
    memory = min(limits.tool_memory, int(machine_memory() * MACHINE_SHARE))
    return Ceiling(memory, limits.tool_processes, limits.tool_cpus, "tool")


def machine_memory() -> int:
    """Bytes of memory of this machine."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass  # the same number from the C library
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def size_text(size: int) -> str:
    """``4 GiB``, ``300 MiB``, ``1.5 GiB``."""
    for name, unit in (("GiB", _GIB), ("MiB", 1024**2), ("KiB", 1024)):
        if size >= unit:
            return f"{round(size / unit, 1):g} {name}"
    return f"{size} bytes"
