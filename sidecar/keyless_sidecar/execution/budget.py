"""What one command may use, and the words for what it exceeded.

:mod:`keyless_sidecar.execution.command` makes a :class:`Budget` for each command,
:mod:`keyless_sidecar.execution.watch` looks at it while the command runs and when it has ended.
"""

from __future__ import annotations

import signal
from typing import Any

from keyless_kernel.confine import Limits as ProcessLimits
from keyless_kernel.confine import WorkspaceMount
from keyless_kernel.confine.disk import DiskWatch
from keyless_kernel.confine.limits import Limits, size_text, tool_ceiling
from keyless_kernel.confine.metering import Limiter, Meter

_FILE_TOO_LARGE = 128 + signal.SIGXFSZ


class ToolLimits:
    """The limits of all commands.  One for each sidecar.

    Args:
        limits: as configured.
        written: bytes that a command may leave in the workspace.
        level: the isolation level.
    """

    def __init__(self, limits: Limits, written: int, level: str) -> None:
        self._level = level
        self._limits = limits
        self._written = max(written, 1)
        self._ceiling = tool_ceiling(limits)
        self._limiter = Limiter.find()

    @property
    def sentence(self) -> str:
        """By what means limits are in force."""
        return self._limiter.sentence

    def facts(self) -> dict[str, Any]:
        """For the audit."""
        return self._limiter.facts(self._ceiling)

    def budget(self, mount: WorkspaceMount, private: str = "") -> Budget:
        """For one command.

        Args:
            mount: where it writes to.
            private: folder above its HOME and TMPDIR, where these lie on a disk.

        Raises:
            NoGroup: its control group can't be made.
        """
        meter = self._limiter.meter(self._ceiling)
        disks = []
        if private:
            disks.append(
                DiskWatch(private, reserve=self._limits.workspace_reserve, what="its HOME")
            )
        if mount.mode == "overlay":
            disks.append(
                DiskWatch(
                    mount.upper,
                    reserve=self._limits.workspace_reserve,
                    size=self._written,
                    what="the files it writes",
                    setting="c.Tools.max_written",
                )
            )
        elif mount.mode == "rw":
            disks.append(DiskWatch(mount.source, reserve=self._limits.workspace_reserve))
        process_limits = ProcessLimits(
            file_size=self._written,
            open_files=self._limits.tool_open_files,
            processes=meter.user_processes(self._level, refuse=False),
            memory=0 if meter.grouped else self._ceiling.memory,
        )
        return Budget(meter, disks, process_limits, self._limiter.period)


class Budget:
    """One command's limits.  Owned by the event loop's thread, but for :meth:`close`.

    Args:
        meter: memory and processes.
        disks: on which it writes.
        process_limits: for setrlimit.
        period: seconds between two looks.
    """

    def __init__(
        self, meter: Meter, disks: list[DiskWatch], process_limits: ProcessLimits, period: float
    ) -> None:
        self._meter = meter
        self._disks = disks
        self._refused = ""
        self.process_limits = process_limits
        self.period = period
        #: What was exceeded, empty as long as nothing was.
        self.words = ""

    @property
    def entry(self) -> tuple[str, ...]:
        """Where the sandbox must be put before it runs."""
        return self._meter.entry

    def broken(self, *pids: int) -> bool:
        """Whether the command must be ended now.

        Args:
            pids: roots of its trees of processes: its sandbox's init first.
        """
        self._count(*pids)
        for disk in self._disks:
            self.words = self.words or disk.exceeded()
        return bool(self.words)

    def broken_at_end(self, exit_code: int) -> bool:
        """Whether a command that ended did so because of a limit."""
        if self._meter.grouped:
            self._count()
        if not self.words and exit_code == _FILE_TOO_LARGE:
            size = size_text(self.process_limits.file_size)
            self.words = f"a file of more than {size} (c.Tools.max_written)"
        if not self.words and exit_code != 0:
            self.words = self._refused
        return bool(self.words)

    def notes(self) -> list[str]:
        """What the person should know of a command that went on."""
        return [f"It asked for {self._refused}, and was refused some."] if self._refused else []

    def close(self) -> None:
        """Kill what is left, and free the group."""
        self._meter.close()

    def _count(self, *pids: int) -> None:
        what = self._meter.exceeded(*pids)
        if what == "processes" and self._meter.grouped:
            self._refused = self._meter.ceiling.exceeded(what)  # the system refused it; it goes on
        elif what:
            self.words = self._meter.ceiling.exceeded(what)
