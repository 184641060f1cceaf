"""Credentials that a host registered: they live in this process and nowhere else.

The sidecar makes it from its settings at start.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from keyless_sidecar.vault.entries import Entry, EntryInfo
from keyless_sidecar.vault.kinds import VaultError

__all__ = ["MemorySource"]


class MemorySource:
    """Entries in memory.

    Raises:
        VaultError: a value is weak, or a name is there twice.
    """

    source: Final = "memory"

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: dict[str, Entry] = {}
        self._changes = 0
        for entry in entries:
            self.add(entry)

    def __repr__(self) -> str:
        return f"MemorySource({len(self._entries)} entries)"

    def names(self) -> list[EntryInfo]:
        """All entries without values."""
        return [entry.info for _, entry in sorted(self._entries.items())]

    def fetch(self, name: str) -> Entry:
        """One entry.

        Raises:
            VaultError: there is none of that name.
        """
        try:
            return self._entries[name]
        except KeyError:
            raise VaultError(f"There is no credential {name} in the vault") from None

    def revision(self) -> str:
        """Changes with every change."""
        return str(self._changes)

    def stamp(self) -> object:
        """The same."""
        return self._changes

    def add(self, entry: Entry, *, replace: bool = False) -> None:
        """Register an entry.

        Raises:
            VaultError: a value is weak, or the name is taken and ``replace`` is off.
        """
        entry.require_strong()
        if entry.name in self._entries and not replace:
            raise VaultError(f"The credential {entry.name} is registered twice")
        self._entries[entry.name] = entry
        self._changes += 1

    def remove(self, name: str) -> None:
        """Forget an entry.

        Raises:
            VaultError: there is none of that name.
        """
        self.fetch(name)
        del self._entries[name]
        self._changes += 1
