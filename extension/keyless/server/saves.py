"""What was found in notebooks when they were saved, for the page that shows them.  No values."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

__all__ = ["Saves"]

#: Notebooks that are remembered.
_MOST = 256


class Saves:
    """The last save of each notebook.  Owned by the event loop's thread."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def keep(self, path: str, found: list[dict[str, Any]], done: str) -> None:
        """Remember one.

        Args:
            path: of the notebook, as the server's front ends name it.
            found: places and names.
            done: ``clean``, ``redacted``, ``saved`` (with what was found), ``refused``, or
                ``unknown`` where nobody could look.
        """
        key = path.strip("/")
        self._last.pop(key, None)
        self._last[key] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "found": found,
            "done": done,
        }
        while len(self._last) > _MOST:
            self._last.popitem(last=False)

    def of(self, path: str) -> dict[str, Any]:
        """The last save of a notebook; ``done`` is empty where none is known."""
        return self._last.get(path.strip("/"), {"time": "", "found": [], "done": ""})
