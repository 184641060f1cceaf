"""Entries that a person declared in the configuration; their values are elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from keyless_sidecar.vault.declarations import Declaration
from keyless_sidecar.vault.entries import EntryInfo
from keyless_sidecar.vault.kinds import VaultError

__all__ = ["ConfigSource"]


class ConfigSource:
    """``c.Vault.entries``: declarations, fixed for the sidecar's life."""

    def __init__(self, declarations: Sequence[Declaration]) -> None:
        self._declarations = {each.info.name: each for each in declarations}

    def names(self) -> list[EntryInfo]:
        """All entries."""
        return [each.info for _, each in sorted(self._declarations.items())]

    def fetch(self, name: str) -> Declaration:
        """One of them.

        Raises:
            VaultError: there is none of that name.
        """
        try:
            return self._declarations[name]
        except KeyError:
            raise VaultError(f"There is no credential {name} in c.Vault.entries") from None

    def revision(self) -> str:
        """Never changes."""
        return ""

    def stamp(self) -> object:
        """Never changes."""
        return None
