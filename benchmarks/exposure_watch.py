"""Where a secret is, and how long: looked for from outside in the memory of processes.

Takes the rights to read other users' memory: root.  Nothing is stopped while it is read, so that
what is measured takes as long as it would.
"""

from __future__ import annotations

import base64
import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from tests.support.dumps import memory

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
    """Looks again and again, in a thread for each group, while its block runs.

    Args:
        groups: by name, what tells the process ids of a group as they are now.
        secret: looked for as it is, as UTF-16, in hex, in base64, and reversed.
    """

    def __init__(self, groups: Mapping[str, Processes], secret: str) -> None:
        self._forms = _forms(secret.encode())
        self._stop = threading.Event()
        self.seen = {name: Presence() for name in groups}
        self._threads = [
            threading.Thread(target=self._run, args=(self.seen[name], processes), name=name)
            for name, processes in groups.items()
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, presence: Presence, processes: Processes) -> None:
        while not self._stop.wait(0.002):
            begun = time.monotonic()
            pids = list(processes())
            presence.looks += bool(pids)
            if any(self._holds(pid) for pid in pids):
                presence.first = begun if presence.first is None else presence.first
                presence.last = time.monotonic()

    def _holds(self, pid: int) -> bool:
        # Environment and arguments lie in the memory of a process, too.
        return any(form in data for _, data in memory(pid, writable=True) for form in self._forms)


def _forms(value: bytes) -> tuple[bytes, ...]:
    base64_inner = (
        base64.b64encode(b"\0" * skip + value)[-(-skip * 4 // 3) :].rstrip(b"=")[:-2]
        for skip in range(3)
    )
    return (value, value[::-1], value.decode().encode("utf-16-le"), value.hex().encode(),
            *base64_inner)  # fmt: skip
