"""Kernels that tests share, and the folder of the shared probes."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.support.kernels import Session


def probe_folder() -> Path:
    """Where the shared probes are; they are no part of this repository."""
    beside = Path(__file__).parents[3] / "shared" / "attacks"
    return Path(os.environ.get("KEYLESS_PROBES") or beside)


class Kept:
    """A kernel that is shared by tests and renewed when it is broken."""

    def __init__(self, make: Callable[[ExitStack], Session]) -> None:
        self._make = make
        self._stack = ExitStack()
        self._session: Session | None = None

    def get(self) -> Session:
        """A kernel that answers."""
        if self._session is not None and not self._session.alive():
            self.drop()
        if self._session is None:
            self._session = self._make(self._stack)
        return self._session

    def drop(self) -> None:
        """End it; the next one who asks gets a fresh one."""
        self._session = None
        self._stack.close()
