"""Puts limits in force over a whole sandbox, by the best means of this machine.

One :class:`Limiter` a process (supervisor, sidecar), one :class:`Meter` a sandbox.  The means, best
first: a delegated cgroup v2, cgroup v1 as root, setrlimit with a watchdog over the processes.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from keyless_kernel.confine import cgroups, levels, watchdog
from keyless_kernel.confine.limits import Ceiling, size_text

WATCHDOG = "rlimits-watchdog"
#: Processes that a user's other sandboxes may have.
_OTHERS = 4096

_SENTENCES = {
    cgroups.V2: "limits by control groups (v2): what a sandbox uses is counted together",
    cgroups.V1: "limits by control groups (v1): what a sandbox uses is counted together",
    WATCHDOG: "limits by setrlimit for each process, and by a watchdog that counts a sandbox's "
    "memory and processes four times a second: it may overshoot, and tmpfs isn't counted",
}


class Meter:
    """One sandbox's limits: where it must be started, and whether it went beyond.

    Args:
        ceiling: the limits.
        group: its control group, or ``None`` for the watchdog.
    """

    def __init__(self, ceiling: Ceiling, group: cgroups.Group | None) -> None:
        self.ceiling = ceiling
        self._group = group

    @property
    def entry(self) -> tuple[str, ...]:
        """For :class:`~keyless_kernel.confine.sandbox.Sandbox`'s ``cgroup``."""
        return self._group.entry if self._group else ()

    @property
    def grouped(self) -> bool:
        """Whether a control group counts."""
        return self._group is not None

    def user_processes(self, level: str, *, refuse: bool) -> int:
        """Processes of the sandbox's user, for setrlimit; 0 where the group counts.

        Args:
            level: the isolation level.  Only in a user namespace of its own a sandbox's user has no
                other processes; elsewhere all sandboxes share one, and the watchdog decides.
            refuse: whether one too many is to be refused where possible (a cell then gets Python's
                exception), instead of ending the sandbox with a message that names the limit.
        """
        if self._group is not None:
            return 0
        if refuse and level == levels.NAMESPACES:
            return self.ceiling.processes
        return 2 * self.ceiling.processes + _OTHERS

    def exceeded(self, *pids: int) -> str:
        """What was exceeded since the last call: ``"memory"``, ``"processes"`` or ``""``.

        Args:
            pids: roots of its trees of processes: the sandbox's init first.
        """
        if self._group is not None:
            return self._group.exceeded()
        used = watchdog.usage([*pids], self.ceiling.memory)
        if used.memory > self.ceiling.memory:
            return "memory"
        return "processes" if used.tasks > self.ceiling.processes else ""

    def close(self) -> None:
        """Kill what is left in it and free it."""
        if self._group is not None:
            self._group.remove()
            self._group = None


@dataclasses.dataclass(frozen=True)
class Limiter:
    """What this process puts its sandboxes' limits in force with.

    Args:
        mechanism: ``cgroup-v2``, ``cgroup-v1`` or ``rlimits-watchdog``.
        reason: why nothing better.
        groups: where groups are made.
    """

    mechanism: str
    reason: str
    groups: cgroups.Groups | None

    @classmethod
    def find(cls) -> Limiter:
        """Try out what this machine has, and clear away what killed processes left."""
        groups, reason = cgroups.find()
        return cls(groups.version if groups else WATCHDOG, reason, groups)

    @property
    def period(self) -> float:
        """Seconds between two looks at a meter."""
        return 0.25 if self.groups is None else 0.5

    @property
    def sentence(self) -> str:
        """For ``%keyless``."""
        return _SENTENCES[self.mechanism]

    def meter(self, ceiling: Ceiling) -> Meter:
        """For one sandbox.

        Raises:
            NoGroup: its group can't be made; the sandbox may not start without it.
        """
        return Meter(ceiling, self.groups.make(ceiling) if self.groups else None)

    def facts(self, ceiling: Ceiling) -> dict[str, Any]:
        """For the audit."""
        return {
            "mechanism": self.mechanism,
            "not_better_because": self.reason,
            "memory": size_text(ceiling.memory),
            "processes": ceiling.processes,
            "cpus": ceiling.cpus or "all",
        }

    def sweep(self) -> None:
        """Clear away what killed processes of ours left."""
        if self.groups is not None:
            self.groups.sweep()


class Clock:
    """Says when the next look is due; by the monotonic clock, so that no jump matters."""

    def __init__(self, period: float) -> None:
        self._period = period
        self._next = time.monotonic() + period

    def due(self) -> bool:
        """Whether it is time, and if so, wait another period."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._period
        return True

    def left(self) -> float:
        """Seconds until the next look."""
        return max(self._next - time.monotonic(), 0.0)
