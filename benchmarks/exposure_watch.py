"""Where a secret is, and how long: looked for from outside in the memory of processes.

Takes the rights to read other users' memory: root.  Nothing is stopped while it is read, so that
what is measured takes as long as it would.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from tests.support.dumps import memory
from tests.support.needles import Needles

Processes = Callable[[], Iterable[int]]


@dataclasses.dataclass
class Presence:
    """When a group of processes held a secret, as far as looking tells.

    Attributes:
        looks: how many times the group's processes were read.
        first: seconds, by the monotonic clock, when it was first seen; None for never.
        last: when it was last seen.
    """

    looks: int = 0
    first: float | None = None
    last: float | None = None

    @property
    def seconds(self) -> float:
        """From the first to the last sight; 0 where there was none."""
        return 0.0 if self.first is None or self.last is None else self.last - self.first


class ExposureWatch:
    """Looks again and again, in a thread, while its block runs.

    Args:
        groups: by name, what tells the process ids of a group as they are now.
        secrets: by name; each is looked for in every form in which programs hold it.
    """

    def __init__(self, groups: Mapping[str, Processes], secrets: Mapping[str, str]) -> None:
        self._groups = groups
        self._needles = Needles(secrets)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watching")
        self.seen = {name: Presence() for name in groups}

    def learn(self, secrets: Mapping[str, str]) -> None:
        """Look for these instead from now on."""
        self._needles = Needles(secrets)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            for name, processes in self._groups.items():
                self._look(self.seen[name], processes())

    def _look(self, presence: Presence, processes: Iterable[int]) -> None:
        begun = time.monotonic()
        pids = list(processes)
        presence.looks += bool(pids)
        if any(self._holds(pid) for pid in pids):
            presence.first = begun if presence.first is None else presence.first
            presence.last = time.monotonic()

    def _holds(self, pid: int) -> bool:
        # Environment and arguments lie in the memory of a process, too.
        return any(self._needles.search(data) for _, data in memory(pid, writable=True))
