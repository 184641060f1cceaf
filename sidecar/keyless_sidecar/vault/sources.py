"""The vault as the sidecar uses it: several sources behind one face.

:func:`open_vault` is what the sidecar calls at start; later sources (AWS profiles, secret managers)
need to implement :class:`Source` and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from keyless_sidecar.vault.entries import Entry, EntryInfo, VaultError
from keyless_sidecar.vault.file_source import FileSource
from keyless_sidecar.vault.memory_source import MemorySource

__all__ = ["Credential", "Source", "Vault", "open_vault"]


class Source(Protocol):
    """Where entries come from.  Every method may raise :class:`VaultError`."""

    def names(self) -> list[EntryInfo]:
        """All entries without values."""

    def fetch(self, name: str) -> Entry:
        """One entry with its values, read anew."""

    def revision(self) -> str:
        """A text that changes whenever an entry or a value does."""


class Credential(Protocol):
    """A credential as a host registers it (``SidecarSettings.memory_credentials``)."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def fields(self) -> Mapping[str, str]: ...
    @property
    def tools(self) -> Sequence[str]: ...


class Vault:
    """All entries of all sources.  A name that two sources know is an error, never a guess."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = tuple(sources)

    def infos(self) -> list[EntryInfo]:
        """All entries without values, by name.

        Raises:
            VaultError: a source can't be read, or a name is there twice.
        """
        found: dict[str, EntryInfo] = {}
        for source in self._sources:
            for info in source.names():
                if info.name in found:
                    raise _twice(info.name, found[info.name].source, info.source)
                found[info.name] = info
        return [found[name] for name in sorted(found)]

    def fetch(self, name: str) -> Entry:
        """One entry with its values.  Keep it for one command, no longer.

        Raises:
            VaultError: there is none of that name, it is there twice, or its source can't be read.
        """
        holders = [
            (source, info)
            for source in self._sources
            for info in source.names()
            if info.name == name
        ]
        if len(holders) > 1:
            raise _twice(name, holders[0][1].source, holders[1][1].source)
        if not holders:
            raise VaultError(
                f"There is no credential {name!r} in the vault: "
                "jupyter keyless vault add stores one"
            )
        return holders[0][0].fetch(name)

    def secret_values(self) -> list[tuple[str, bytes]]:
        """Label and value of every secret field of every entry, for the sanitizer.

        Raises:
            VaultError: a source can't be read.
        """
        return [pair for info in self.infos() for pair in self.fetch(info.name).secrets()]

    def revision(self) -> str:
        """Changes whenever an entry or a value does: then the sanitizer needs new patterns.

        Ask after :meth:`fetch`, so that no value is used that the patterns don't know.

        Raises:
            VaultError: a source can't be read.
        """
        return "\n".join(source.revision() for source in self._sources)


def open_vault(
    data_dir: Path, credentials: Iterable[Credential] = (), passphrase: str | None = None
) -> Vault:
    """The sidecar's vault: what the host registered, and the encrypted file.

    Args:
        data_dir: folder of ``vault.json``; where there is none, the file source is empty.
        credentials: registered by the host.
        passphrase: for a vault that is locked by one.

    Raises:
        VaultError: locked, damaged, open to others, a weak value, or a name that is there twice.
    """
    memory = MemorySource(
        Entry(item.name, item.kind, item.fields, tuple(item.tools), source=MemorySource.source)
        for item in credentials
    )
    vault = Vault([memory, FileSource.open(data_dir, passphrase)])
    vault.infos()
    return vault


def _twice(name: str, first: str, second: str) -> VaultError:
    return VaultError(f"The credential {name} is in two sources ({first} and {second}): remove one")
