"""One kernel's limits while it runs; :mod:`keyless_kernel.supervisor` looks at them regularly."""

from __future__ import annotations

import dataclasses
import math
import time

from keyless_kernel.confine import Limits as ProcessLimits
from keyless_kernel.confine.disk import DiskWatch
from keyless_kernel.confine.limits import Limits, kernel_ceiling
from keyless_kernel.confine.metering import Clock, Limiter

#: Seconds that the system may take to free a killed kernel's memory, before its end is known.
_TAKING_DOWN = 5.0


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something went beyond a limit.

    Args:
        text: one sentence for the person, without its end.
        fatal: the kernel must be ended for it; else only a process of its was.
    """

    text: str
    fatal: bool


class Guard:
    """Limits of one kernel from before its start to its end.  Close it.

    Args:
        limits: as configured.
        limiter: the means of this machine.
        workspace: host path.
        level: the isolation level.
        private: folder above the kernel's HOME and TMPDIR, where these lie on a disk.

    Raises:
        NoGroup: the kernel's control group can't be made.
    """

    def __init__(
        self, limits: Limits, limiter: Limiter, workspace: str, level: str, private: str = ""
    ) -> None:
        ceiling = kernel_ceiling(limits)
        self._limits = limits
        self._meter = limiter.meter(ceiling)
        self._level = level
        self._disks = [
            DiskWatch(workspace, reserve=limits.workspace_reserve, size=limits.workspace_size)
        ]
        if private:
            self._disks.append(
                DiskWatch(private, reserve=limits.workspace_reserve, what="its HOME")
            )
        self._clock = Clock(limiter.period)
        self._begin = time.monotonic()
        #: When a process was seen to be killed for memory.
        self._killed = -math.inf

    @property
    def entry(self) -> tuple[str, ...]:
        """Where the sandbox must be put before it runs."""
        return self._meter.entry

    @property
    def process_limits(self) -> ProcessLimits:
        """For setrlimit.  A single process meets the memory limit as a ``MemoryError``."""
        return ProcessLimits(
            file_size=self._limits.kernel_file_size,
            open_files=self._limits.kernel_open_files,
            processes=self._meter.user_processes(self._level, refuse=True),
            memory=self._meter.ceiling.memory,
        )

    def left(self) -> float:
        """Seconds until the next look is due."""
        return self._clock.left()

    def look(self, init_pid: int) -> Finding | None:
        """Look, if it is time."""
        if not self._clock.due():
            return None
        run_time = self._limits.kernel_run_time
        if run_time and time.monotonic() - self._begin > run_time:
            return Finding(
                f"the kernel was ended: it ran for more than {run_time:g} s "
                "(c.Limits.kernel_run_time)",
                fatal=True,
            )
        for disk in self._disks:
            full = disk.exceeded()
            if full:
                return Finding(f"the kernel was ended: {full}", fatal=True)
        return self._used(init_pid)

    def last_words(self, init_pid: int, code: int) -> str:
        """Why the kernel ended by itself, where a limit is why; else empty.

        Args:
            init_pid: of its sandbox.
            code: exit status; 137 where the system killed it.
        """
        if not self._meter.grouped or code != 137:
            return ""
        # The kill may have been seen by a look while the kernel was still being taken down.
        just_seen = time.monotonic() - self._killed < _TAKING_DOWN
        if self._meter.exceeded(init_pid) != "memory" and not just_seen:
            return ""
        return f"the kernel was ended: {self._meter.ceiling.exceeded('memory')}"

    def close(self) -> None:
        """Kill what is left and free the group."""
        self._meter.close()

    def _used(self, init_pid: int) -> Finding | None:
        what = self._meter.exceeded(init_pid)
        if not what:
            return None
        words = self._meter.ceiling.exceeded(what)
        if not self._meter.grouped:
            return Finding(f"the kernel was ended: {words}", fatal=True)
        if what == "memory":
            self._killed = time.monotonic()
            return Finding(f"a process of this kernel was killed: {words}", fatal=False)
        return Finding(f"a new process was refused: {words}", fatal=False)
