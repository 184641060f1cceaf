"""The vault as the sidecar uses it: several sources behind one face.

:func:`open_vault` is what the sidecar calls at start.  Memory and the encrypted file hold values;
entries that a person declared, in the configuration or in the file, are fetched when they are used.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from keyless_sidecar.vault.config_source import ConfigSource
from keyless_sidecar.vault.declarations import Declaration, parse_declarations
from keyless_sidecar.vault.entries import Entry, EntryInfo
from keyless_sidecar.vault.file_source import FileSource
from keyless_sidecar.vault.kinds import VaultError
from keyless_sidecar.vault.known import KnownValues
from keyless_sidecar.vault.memory_source import MemorySource
from keyless_sidecar.vault.remotes import Remotes
from keyless_sidecar.vault.surroundings import Surroundings

__all__ = ["ConfigSource", "Credential", "NameTaken", "Source", "Vault", "open_vault"]


class Source(Protocol):
    """Where entries are kept.  Every method may raise :class:`VaultError`, and is quick."""

    def names(self) -> list[EntryInfo]:
        """All entries without values."""

    def fetch(self, name: str) -> Entry | Declaration:
        """One entry with its values, or where they come from, read anew."""

    def revision(self) -> str:
        """A text that changes whenever an entry or a value does."""

    def stamp(self) -> object:
        """Something that is another one after each change, told without reading; never raises."""


class NameTaken(VaultError):
    """There is an entry of that name."""


class Credential(Protocol):
    """A credential as a host registers it (``SidecarSettings.memory_credentials``).

    It may also have ``delivery``, ``hosts``, ``paths``, ``places`` and ``file``.
    """

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def fields(self) -> Mapping[str, str]: ...
    @property
    def tools(self) -> Sequence[str]: ...


class Vault:
    """All entries of all sources.  A name that two sources know is an error, never a guess.

    May be used in any thread.  Only :meth:`fetch` asks other machines and may take seconds; the
    others can be called meanwhile.
    """

    def __init__(self, sources: Sequence[Source], surroundings: Surroundings | None = None) -> None:
        around = surroundings or Surroundings()
        self._sources = tuple(sources)
        #: Credentials for one command each; they stand in no list.
        self._lent: dict[str, Entry | Declaration] = {}
        self._lock = threading.RLock()
        self._known = KnownValues(around.now)
        self._remotes = Remotes(around, self.fetch, self.kept_revision)

    def infos(self) -> list[EntryInfo]:
        """All entries without values, by name.

        Raises:
            VaultError: a source can't be read, or a name is there twice.
        """
        found: dict[str, EntryInfo] = {}
        with self._lock:
            for source in self._sources:
                for info in source.names():
                    if info.name in found:
                        raise _twice(info.name, found[info.name].source, info.source)
                    found[info.name] = info
        return [found[name] for name in sorted(found)]

    def ready(self, name: str) -> Entry | None:
        """The entry where nobody has to be asked for it, else None.

        Raises:
            VaultError: as for :meth:`fetch`.
        """
        kept = self._locate(name)
        entry = kept if isinstance(kept, Entry) else self._remotes.held(kept)
        if entry is not None:
            self._known.add(entry)
        return entry

    def fetch(self, name: str) -> Entry:
        """One entry with its values.  Keep it for one command, no longer.

        Raises:
            VaultError: there is none of that name, it is there twice, or its source doesn't give
                it.
        """
        kept = self._locate(name)
        if isinstance(kept, Entry):
            self._known.add(kept)
            return kept
        self._require_end(kept, ())
        entry = self._remotes.fetch(kept)
        self._known.add(entry)
        # It took a while: what a person has removed or changed meanwhile isn't used any more.
        if self._locate(name) != kept:
            raise VaultError(f"The credential {name} was changed while it was fetched: try again")
        return entry

    def secret_values(self) -> list[tuple[str, bytes]]:
        """Label and value of every secret that could be in an output, for the sanitizer.

        These are all that are kept here, and all that were ever handed out: values elsewhere get
        near a tool by :meth:`fetch` alone.

        Raises:
            VaultError: a source can't be read.
        """
        with self._lock:
            kept = [source.fetch(info.name) for source in self._sources for info in source.names()]
        pairs = [pair for entry in kept if isinstance(entry, Entry) for pair in entry.secrets()]
        return list(dict.fromkeys([*pairs, *self._known.pairs()]))

    def revision(self) -> str:
        """Changes whenever :meth:`secret_values` does: then the sanitizer needs new patterns.

        Ask after :meth:`fetch`, so that no value is used that the patterns don't know.

        Raises:
            VaultError: a source can't be read.
        """
        return f"{self.kept_revision()}\n{self.handed_out()}"

    def kept_revision(self) -> str:
        """The part of :meth:`revision` that is about what is kept here.  Reads the vault's file.

        Raises:
            VaultError: a source can't be read.
        """
        with self._lock:
            return "\n".join(source.revision() for source in self._sources)

    def stamp(self) -> object:
        """Changes whenever :meth:`kept_revision` does; takes microseconds and reads no file."""
        return tuple(source.stamp() for source in self._sources)

    def handed_out(self) -> str:
        """The part of it that is about values which were fetched.  Reads no file."""
        return self._known.revision()

    def store(self, entry: Entry) -> None:
        """Keep an entry in memory, for as long as this process lives.

        Raises:
            NameTaken: there is one of that name, in whatever source.
            VaultError: a value is weak, or a source can't be read.
        """
        with self._lock:
            if any(info.name == entry.name for info in self.infos()):
                raise NameTaken(f"There is a credential {entry.name} in the vault already")
            self._memory().add(entry)

    def remove(self, name: str) -> None:
        """Forget an entry that is kept in memory.

        Raises:
            VaultError: there is none of that name in memory.
        """
        with self._lock:
            self._memory().remove(name)

    def lend(self, kept: Entry | Declaration) -> None:
        """Let one command have a credential: it can be fetched by its name, and isn't listed.

        Raises:
            VaultError: a value is weak.
        """
        if isinstance(kept, Entry):
            kept.require_strong()
        with self._lock:
            self._lent[kept.info.name] = kept

    def take_back(self, name: str) -> None:
        """Forget what was lent.  The sanitizer still knows its values.  Idempotent."""
        with self._lock:
            self._lent.pop(name, None)
        self._remotes.forget(name)

    def close(self) -> None:
        """Stop what runs in the background."""
        self._remotes.close()

    def _memory(self) -> MemorySource:
        for source in self._sources:
            if isinstance(source, MemorySource):
                return source
        raise VaultError("This vault keeps nothing in memory")

    def _locate(self, name: str) -> Entry | Declaration:
        with self._lock:
            if name in self._lent:
                return self._lent[name]
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

    def _require_end(self, declaration: Declaration, above: tuple[str, ...]) -> None:
        """Refuse entries that need each other to be fetched."""
        name = declaration.info.name
        if name in above:
            raise VaultError(f"{name}: it would be needed to fetch itself")
        for needed in declaration.settings.needs():
            try:
                kept = self._locate(needed)
            except VaultError:
                # Not repeated: somebody may have written a secret where its entry's name belongs.
                raise VaultError(
                    f"{name}: the entry that it names for access to its source isn't in the vault"
                ) from None
            if isinstance(kept, Declaration):
                self._require_end(kept, (*above, name))


def open_vault(
    data_dir: Path,
    credentials: Iterable[Credential] = (),
    passphrase: str | None = None,
    *,
    entries: object = None,
    surroundings: Surroundings | None = None,
) -> Vault:
    """The sidecar's vault: what the host registered, the encrypted file, and the configuration.

    Args:
        data_dir: folder of ``vault.json``; where there is none, the file source is empty.
        credentials: registered by the host.
        passphrase: for a vault that is locked by one.
        entries: ``c.Vault.entries``.
        surroundings: what sources take from the machine.

    Raises:
        VaultError: locked, damaged, open to others, a weak value, a declaration that can't be
            used, or a name that is there twice.  No source elsewhere is asked.
    """
    around = surroundings or Surroundings()
    memory = MemorySource(_registered(item) for item in credentials)
    file = FileSource.open(data_dir, passphrase, keyring=around.keyring)
    vault = Vault([memory, file, ConfigSource(parse_declarations(entries or {}))], around)
    vault.infos()
    vault.secret_values()
    return vault


def _registered(item: Credential) -> Entry:
    return Entry(
        item.name,
        item.kind,
        item.fields,
        tuple(item.tools),
        getattr(item, "delivery", ""),
        MemorySource.source,
        hosts=tuple(getattr(item, "hosts", ())),
        paths=tuple(getattr(item, "paths", ())),
        places=tuple(getattr(item, "places", ())),
        file=getattr(item, "file", ""),
    )


def _twice(name: str, first: str, second: str) -> VaultError:
    return VaultError(f"The credential {name} is in two sources ({first} and {second}): remove one")
