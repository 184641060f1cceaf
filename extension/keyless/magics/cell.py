"""Which cell runs now, as the audit records it: a claim of the kernel side, never an authority."""

from __future__ import annotations

import hashlib
from typing import Any

from keyless.magics.results import current_execution_count, current_shell
from keyless.protocol.messages import CellInfo

__all__ = ["CellWatch", "cell_info"]


class CellWatch:
    """Remembers the raw text of the running cell.  One per shell, fed by ``pre_run_cell``."""

    def __init__(self) -> None:
        self._raw = ""

    def pre_run_cell(self, info: Any) -> None:
        """IPython's event: a cell is about to run."""
        self._raw = info.raw_cell or ""

    def cell_hash(self) -> str:
        """SHA-256 of the raw cell, in hex; empty before the first cell."""
        if not self._raw:
            return ""
        return hashlib.sha256(self._raw.encode("utf-8", "surrogatepass")).hexdigest()


def cell_info() -> CellInfo:
    """The running cell; an empty one where no IPython runs or the extension isn't loaded."""
    watch = getattr(current_shell(), "keyless_cell_watch", None)
    if not isinstance(watch, CellWatch):
        return CellInfo()
    return CellInfo(execution_count=current_execution_count(), cell_hash=watch.cell_hash())
