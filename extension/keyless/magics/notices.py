"""Shows what the supervisor has to say to the person: a limit that was hit, why a kernel ended.

The kernel inherits the read end of a pipe; its number is in ``KEYLESS_NOTICE_FD``.  The warnings
are printed around cells, as ``stderr`` output that every frontend shows.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from typing import Any

__all__ = ["Notices"]

NOTICE_VARIABLE = "KEYLESS_NOTICE_FD"
_MOST = 4096


class Notices:
    """The pipe.  Its text is the supervisor's own; a cell can only write into it what it reads.

    Args:
        descriptor: of the read end, not blocking.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def from_environment(cls) -> Notices | None:
        """The pipe that this kernel inherited; ``None`` where there is none."""
        with contextlib.suppress(KeyError, ValueError, OverflowError, OSError):
            descriptor = int(os.environ.pop(NOTICE_VARIABLE))
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.set_inheritable(descriptor, False)
                os.set_blocking(descriptor, False)
                return cls(descriptor)
        return None

    def show(self, *_: Any) -> None:
        """Print what came since the last call."""
        with contextlib.suppress(OSError):
            text = os.read(self._descriptor, _MOST).decode(errors="replace")
            for line in text.splitlines():
                print(f"Keyless: {line}", file=sys.stderr, flush=True)
