"""Every value that was handed out, for the sanitizer: some output may hold a rotated one still."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from keyless_sidecar.vault.entries import Entry

__all__ = ["KnownValues"]

#: Values of a session are forgotten this long after its end: they open nothing then.
_AFTER_END = timedelta(hours=1)


class KnownValues:
    """Label and value of what was fetched since the start.  May be used in any thread.

    Args:
        now: the clock.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._values: dict[tuple[str, bytes], datetime | None] = {}
        self._changes = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"KnownValues({len(self._values)})"

    def add(self, entry: Entry) -> None:
        """Remember an entry's values, and forget those of sessions long ended."""
        with self._lock:
            now = self._now()
            for pair in entry.secrets():
                if pair not in self._values:
                    self._changes += 1
                elif self._values[pair] is None:
                    continue  # known without an end
                self._values[pair] = entry.expires
            ended = [
                pair
                for pair, end in self._values.items()
                if end is not None and now - end > _AFTER_END
            ]
            for pair in ended:
                del self._values[pair]

    def pairs(self) -> list[tuple[str, bytes]]:
        """All of them."""
        with self._lock:
            return list(self._values)

    def revision(self) -> str:
        """Changes with every value that is new."""
        with self._lock:
            return str(self._changes)
