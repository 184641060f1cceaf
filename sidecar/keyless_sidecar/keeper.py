"""The vault as the running sidecar uses it: off the event loop, with patterns that are up to date.

Owned by the event loop's thread; the vault itself is only touched by one worker thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from keyless_sidecar.sanitize import Patterns
from keyless_sidecar.vault import Entry, EntryInfo, Vault, VaultError

_T = TypeVar("_T")
_ROTATION_TRIES = 5


class Keeper:
    """Vault and patterns.

    Args:
        vault: opened.

    All methods raise :class:`~keyless_sidecar.vault.VaultError` where a source can't be read.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._thread = ThreadPoolExecutor(1, "keyless-vault")
        self._revision: str | None = None
        self._patterns = Patterns.build([])

    async def infos(self) -> list[EntryInfo]:
        """All entries without values."""
        return await self._in_thread(self._vault.infos)

    async def patterns(self) -> Patterns:
        """What must be taken out of everything that goes to the kernel side."""
        return await self._in_thread(self._current)

    async def fetch(self, names: Sequence[str]) -> tuple[list[Entry], Patterns]:
        """Entries with their values, and patterns that know these values."""

        def both() -> tuple[list[Entry], Patterns]:
            # A rotation in between would give patterns that don't know what was fetched.
            for _ in range(_ROTATION_TRIES):
                revision = self._vault.revision()
                entries = [self._vault.fetch(name) for name in names]
                patterns = self._current()
                if self._revision == revision:
                    return entries, patterns
            raise VaultError("the vault keeps changing; try again")

        return await self._in_thread(both)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False)

    def _current(self) -> Patterns:
        revision = self._vault.revision()
        if revision != self._revision:
            self._patterns = Patterns.build(self._vault.secret_values())
            self._revision = revision
        return self._patterns

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
