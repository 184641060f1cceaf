"""The encrypted vault on disk: ``vault.json``, ``vault.key`` and ``vault.lock`` in the data folder.

The sidecar reads it (:meth:`FileSource.open`); ``jupyter keyless vault`` writes it
(:meth:`FileSource.add`, :meth:`FileSource.remove`).  The file is read anew for every call, so a
rotated value is used, and a removed entry is gone, with the next command.  What was understood of
it is kept as long as its bytes are the same, values only as they are in it: encrypted.  Of the
person's secrets only the vault's key stays in memory.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keyless_sidecar.private_files import NotPrivate, lock, open_folder, read_file, replace_file
from keyless_sidecar.vault.declarations import Declaration
from keyless_sidecar.vault.entries import Entry, EntryInfo
from keyless_sidecar.vault.keys import MIN_PASSPHRASE, KeyMethod, decode_key_file, new_key_file
from keyless_sidecar.vault.kinds import VaultError
from keyless_sidecar.vault.os_keyring import OsKeyring
from keyless_sidecar.vault.sealed import SOURCE, SealedVault, WrongKey

__all__ = ["FileSource", "VaultLocked"]

_VAULT = "vault.json"
_KEY = "vault.key"
_LOCK = "vault.lock"
_MAX_VAULT = 16 * 1024 * 1024
_MAX_KEY = 1024
#: The keyring's items: this service, and the vault's id as the account.
_SERVICE = "keyless-vault"


class VaultLocked(VaultError):
    """The vault needs a key or passphrase that wasn't given, or another one."""


class FileSource:
    """The vault in one data folder.  Owned by one thread.

    A folder without a vault is an empty source: whoever adds the first entry makes the vault.
    """

    source: Final = SOURCE

    def __init__(self, folder: Path, keyring: OsKeyring | None = None) -> None:
        self._folder = folder
        self._keyring = keyring or OsKeyring()
        self._key: bytes | None = None
        self._key_method: KeyMethod | None = None
        #: The file's bytes when it was last read, and what they say.
        self._last: tuple[bytes, SealedVault] | None = None
        #: The vault that was last verified, and the key that it was verified with.
        self._verified: tuple[SealedVault, bytes] | None = None

    def __repr__(self) -> str:
        return f"FileSource({str(self._folder)!r})"

    @classmethod
    def open(
        cls, folder: Path, passphrase: str | None = None, *, keyring: OsKeyring | None = None
    ) -> FileSource:
        """Open and unlock the vault in a data folder.

        Args:
            folder: the data folder; it need not be there.
            passphrase: for a vault that is locked by one.
            keyring: for a vault whose key is in there.

        Raises:
            VaultLocked: key file or passphrase are missing or don't fit.
            VaultError: the vault is damaged, or others can change it.
        """
        source = cls(folder, keyring)
        with source._opened() as fd:
            if fd is not None and (sealed := source._read(fd)) is not None:
                source._unlock(fd, sealed, passphrase)
        return source

    @property
    def method(self) -> str:
        """``key-file``, ``keyring`` or ``argon2id``, empty where there is no vault yet.

        Raises:
            VaultError: the vault can't be read.
        """
        with self._opened() as fd:
            sealed = None if fd is None else self._read(fd)
        return "" if sealed is None else sealed.method.method

    def names(self) -> list[EntryInfo]:
        """All entries without values.

        Raises:
            VaultError: the vault can't be read.
        """
        with self._current() as (sealed, _):
            return [] if sealed is None else sealed.infos()

    def fetch(self, name: str) -> Entry | Declaration:
        """Decrypt one entry: its values, or where they come from.

        Raises:
            VaultError: there is none of that name, or the vault can't be read.
        """
        with self._current() as (sealed, key):
            entry = None if sealed is None else sealed.fetch(key, name)
        if entry is None:
            raise VaultError(f"There is no credential {name} in the vault")
        return entry

    def revision(self) -> str:
        """Changes with every change of the vault; empty where there is none."""
        with self._opened() as fd:
            sealed = None if fd is None else self._read(fd)
        return "" if sealed is None else sealed.revision

    def stamp(self) -> object:
        """What the system says of the vault's file and folder; a change makes a new file."""
        return tuple(_mark(path) for path in (self._folder, self._folder / _VAULT))

    def add(
        self,
        entry: Entry | Declaration,
        *,
        replace: bool = False,
        passphrase: str | None = None,
        in_keyring: bool = False,
    ) -> None:
        """Store an entry; the first one makes the vault.

        Args:
            replace: an entry of the same name is rotated (else it is an error).
            passphrase: locks a vault that is made now, instead of a key file.
            in_keyring: the key of a vault that is made now goes into the OS keyring instead.

        Raises:
            VaultError: the values are weak, the name is taken, or the vault can't be changed.
        """
        if isinstance(entry, Entry):
            entry.require_strong()
        with self._writing(create=True) as fd:
            sealed = self._read(fd)
            if sealed is None:
                sealed = self._make(fd, passphrase, in_keyring)
            key = self._held_key(sealed)
            sealed.verify(key)
            name = entry.info.name
            if not replace and any(info.name == name for info in sealed.infos()):
                raise VaultError(f"There is an entry {name} already: --replace rotates it")
            replace_file(fd, _VAULT, sealed.with_entry(key, entry).dump())

    def remove(self, name: str) -> None:
        """Take an entry out; running sidecars can't use it from now on.

        Raises:
            VaultError: there is none of that name, or the vault can't be changed.
        """
        with self._writing() as fd:
            sealed = self._read(fd)
            if sealed is None:
                raise VaultError(f"There is no entry {name}: there is no vault yet")
            key = self._held_key(sealed)
            sealed.verify(key)
            replace_file(fd, _VAULT, sealed.without_entry(key, name).dump())

    # ------------------------------------------------------------------ files

    @contextlib.contextmanager
    def _opened(self, *, create: bool = False) -> Iterator[int | None]:
        """The data folder's descriptor, None where there is no such folder; errors as ours."""
        fd = None
        try:
            with contextlib.suppress(FileNotFoundError):
                fd = open_folder(self._folder, create=create)
            yield fd
        except NotPrivate as error:
            raise VaultError(f"The vault isn't safe to use: {error}") from None
        except OSError as error:
            raise VaultError(
                f"The vault in {self._folder} can't be used: {error.strerror or error}"
            ) from None
        finally:
            if fd is not None:
                os.close(fd)

    @contextlib.contextmanager
    def _writing(self, *, create: bool = False) -> Iterator[int]:
        with self._opened(create=create) as fd:
            if fd is None:
                raise VaultError(f"There is no vault in {self._folder}: vault add makes one")
            with lock(fd, _LOCK):
                yield fd

    @contextlib.contextmanager
    def _current(self) -> Iterator[tuple[SealedVault | None, bytes]]:
        """The vault as it is on disk now, verified, with its key."""
        with self._opened() as fd:
            sealed = None if fd is None else self._read(fd)
            if fd is None or sealed is None:
                yield None, b""
                return
            try:
                self._verify(sealed, self._held_key(sealed))
            except (WrongKey, VaultLocked):
                # The vault appeared, or was made anew, since it was opened.
                self._unlock(fd, sealed, None)
            yield sealed, self._held_key(sealed)

    def _verify(self, sealed: SealedVault, key: bytes) -> None:
        """Check key and document, once for each document."""
        last = self._verified
        if last is None or last[0] is not sealed or last[1] is not key:
            sealed.verify(key)
            self._verified = sealed, key

    def _read(self, fd: int) -> SealedVault | None:
        try:
            data = read_file(fd, _VAULT, limit=_MAX_VAULT)
        except FileNotFoundError:
            return None
        if self._last is None or self._last[0] != data:
            self._last = data, SealedVault.parse(data)
        return self._last[1]

    # ------------------------------------------------------------------ keys

    def _unlock(self, fd: int, sealed: SealedVault, passphrase: str | None) -> None:
        method = sealed.method
        if method.method == "key-file":
            try:
                key = decode_key_file(read_file(fd, _KEY, limit=_MAX_KEY, secret=True))
            except FileNotFoundError:
                raise VaultLocked(
                    f"The vault is locked: its key file {self._folder / _KEY} is gone; "
                    "restore it from your backup"
                ) from None
            wrong = f"The vault is locked: {self._folder / _KEY} is another vault's key"
        elif method.method == "keyring":
            key = self._key_in_keyring(sealed.id)
            wrong = "The vault is locked: the keyring holds another vault's key"
        else:
            if passphrase is None:
                raise VaultLocked(
                    "The vault is locked by a passphrase and none was given: "
                    "jupyter keyless vault asks for it or takes --passphrase-fd, "
                    "a kernel gets it from the program that starts it (keyless_passphrase)"
                )
            key = method.derive(passphrase)
            wrong = "The vault is locked: the passphrase is not the one that it was made with"
        try:
            sealed.verify(key)
        except WrongKey:
            raise VaultLocked(wrong) from None
        self._key, self._key_method = key, method

    def _held_key(self, sealed: SealedVault) -> bytes:
        if self._key is None or self._key_method != sealed.method:
            raise VaultLocked("The vault was made anew with another key: open it again")
        return self._key

    def _key_in_keyring(self, vault_id: str) -> bytes:
        try:
            text = self._keyring.read(_SERVICE, vault_id)
        except VaultError as error:
            raise VaultLocked(f"The vault is locked: {error}") from None
        if text is None:
            raise VaultLocked(
                "The vault is locked: its key isn't in the keyring of this session "
                f"({_SERVICE}, {vault_id})"
            )
        return decode_key_file(text.encode(), "The keyring")

    def _make(self, fd: int, passphrase: str | None, in_keyring: bool) -> SealedVault:
        vault_id = ""
        if passphrase is not None:
            if len(passphrase) < MIN_PASSPHRASE:
                raise VaultError(f"A passphrase needs at least {MIN_PASSPHRASE} characters")
            method = KeyMethod.argon2id()
            key = method.derive(passphrase)
        elif in_keyring:
            method, vault_id = KeyMethod.keyring(), secrets.token_hex(16)
            content, key = new_key_file()
            self._keyring.write(_SERVICE, vault_id, content.decode().strip())
        else:
            method = KeyMethod.key_file()
            try:
                # A key without a vault: an add that was cut short.  Never overwritten.
                key = decode_key_file(read_file(fd, _KEY, limit=_MAX_KEY, secret=True))
            except FileNotFoundError:
                content, key = new_key_file()
                replace_file(fd, _KEY, content)
        self._key, self._key_method = key, method
        return SealedVault.new(method, key, vault_id)


def _mark(path: Path) -> tuple[int, ...]:
    try:
        info = path.lstat()
    except OSError:
        return ()
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
