"""The encrypted vault as bytes: parse, check, open one entry, add, remove, write.  No I/O.

The file is JSON.  Each entry's fields are encrypted with AES-256-GCM under a nonce of its own, with
all that is in clear about the entry, and the vault's id, as authenticated data: an entry can't be
renamed, bound to another tool or carried to another place or vault.  A *seal* over the whole
document tells that nothing was taken out or put in.  What it can't tell is that someone put back
the whole file as it was last week; that someone could also delete it.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyless_sidecar.vault.declarations import Declaration, parse_settings
from keyless_sidecar.vault.entries import Entry, EntryInfo
from keyless_sidecar.vault.keys import KeyMethod
from keyless_sidecar.vault.kinds import VaultError

__all__ = ["SOURCE", "SealedVault", "WrongKey"]

#: What entries from here say as their source.
SOURCE = "file"
_NONCE_BYTES = 12
_ALTERED = "The vault file was altered or damaged: restore vault.json from your backup"


class WrongKey(VaultError):
    """The key doesn't belong to this vault."""


class _Box(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    nonce: str
    ciphertext: str


# Defaults are left out, so that entries which use none of the later fields are written, and sealed,
# as they always were.
class _StoredEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    kind: str
    tools: list[str]
    delivery: str
    added: str
    nonce: str
    ciphertext: str
    #: Where the values come from; empty: they are here, encrypted.
    source: str = ""
    hosts: list[str] = []
    paths: list[str] = []
    places: list[str] = []
    file: str = ""


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["keyless-vault-1"]
    id: str
    key: KeyMethod
    check: _Box
    entries: dict[str, _StoredEntry]
    seal: _Box


class SealedVault:
    """A vault document that can't be read without its key.  Immutable: changes give a new one."""

    def __init__(self, document: _Document) -> None:
        self._document = document

    @classmethod
    def new(cls, method: KeyMethod, key: bytes, vault_id: str = "") -> SealedVault:
        """An empty vault; its id is a new one unless the caller has made one already."""
        vault_id = vault_id or secrets.token_hex(16)
        check = _encrypt(key, b"", _check_data(vault_id, method))
        return cls(_sealed(key, vault_id, method, check, {}))

    @classmethod
    def parse(cls, data: bytes) -> SealedVault:
        """Read the file's content.  What it says is worth nothing before :meth:`verify`.

        Raises:
            VaultError: that is no vault, or one of a later version.
        """
        try:
            return cls(msgspec.json.decode(data, type=_Document))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise VaultError(_ALTERED) from None

    @property
    def id(self) -> str:
        """Random, and no other vault's."""
        return self._document.id

    @property
    def method(self) -> KeyMethod:
        """How to get the key."""
        return self._document.key

    @property
    def revision(self) -> str:
        """Changes with every change of the vault."""
        return self._document.seal.nonce + self._document.seal.ciphertext

    def dump(self) -> bytes:
        """The file's content."""
        return msgspec.json.format(msgspec.json.encode(self._document), indent=1) + b"\n"

    def verify(self, key: bytes) -> None:
        """Check key and document.

        Raises:
            WrongKey: the key is another vault's.
            VaultError: the document isn't as it was written.
        """
        doc = self._document
        try:
            _decrypt(key, doc.check.nonce, doc.check.ciphertext, _check_data(doc.id, doc.key))
        except InvalidTag:
            raise WrongKey("The key doesn't open this vault") from None
        data = _seal_data(doc.id, doc.key, doc.check, doc.entries)
        try:
            _decrypt(key, doc.seal.nonce, doc.seal.ciphertext, data)
        except InvalidTag:
            raise VaultError(_ALTERED) from None

    def infos(self) -> list[EntryInfo]:
        """All entries, by name, without values.

        Raises:
            VaultError: an entry is of a kind that this version doesn't know.
        """
        return list(self._infos)

    @functools.cached_property
    def _infos(self) -> tuple[EntryInfo, ...]:
        return tuple(_info(name, item) for name, item in sorted(self._document.entries.items()))

    def fetch(self, key: bytes, name: str) -> Entry | Declaration | None:
        """Decrypt one entry: its values, or where they come from; None where there is no such name.

        Raises:
            VaultError: it isn't as it was written.
        """
        item = self._document.entries.get(name)
        if item is None:
            return None
        data = _entry_data(self._document.id, name, item)
        try:
            plain = _decrypt(key, item.nonce, item.ciphertext, data)
            content = msgspec.json.decode(plain, type=dict[str, Any])
        except (InvalidTag, msgspec.MsgspecError):
            raise VaultError(_ALTERED) from None
        info = _info(name, item)
        if item.source:
            return Declaration(info, parse_settings(info, content))
        return Entry.of(info, content)

    def with_entry(self, key: bytes, entry: Entry | Declaration) -> SealedVault:
        """The vault with an entry put in, in place of one of the same name."""
        info = entry.info
        stored = _StoredEntry(
            info.kind,
            list(info.tools),
            info.delivery,
            datetime.now(UTC).isoformat(timespec="seconds"),
            nonce="",
            ciphertext="",
            source=info.source if isinstance(entry, Declaration) else "",
            hosts=list(info.hosts),
            paths=list(info.paths),
            places=list(info.places),
            file=info.file,
        )
        content = entry.plain() if isinstance(entry, Declaration) else dict(entry.fields)
        box = _encrypt(
            key, msgspec.json.encode(content), _entry_data(self._document.id, info.name, stored)
        )
        stored = msgspec.structs.replace(stored, nonce=box.nonce, ciphertext=box.ciphertext)
        return self._with_entries(key, {**self._document.entries, info.name: stored})

    def without_entry(self, key: bytes, name: str) -> SealedVault:
        """The vault without an entry.

        Raises:
            VaultError: there is none of that name.
        """
        if name not in self._document.entries:
            raise VaultError(f"There is no entry {name} in the vault: vault list shows them")
        rest = {other: item for other, item in self._document.entries.items() if other != name}
        return self._with_entries(key, rest)

    def _with_entries(self, key: bytes, entries: dict[str, _StoredEntry]) -> SealedVault:
        doc = self._document
        return SealedVault(_sealed(key, doc.id, doc.key, doc.check, entries))


def _info(name: str, item: _StoredEntry) -> EntryInfo:
    return EntryInfo(
        name,
        item.kind,
        tuple(item.tools),
        item.delivery,
        item.source or SOURCE,
        item.added,
        tuple(item.hosts),
        tuple(item.paths),
        tuple(item.places),
        item.file,
    )


def _sealed(
    key: bytes, vault_id: str, method: KeyMethod, check: _Box, entries: dict[str, _StoredEntry]
) -> _Document:
    seal = _encrypt(key, b"", _seal_data(vault_id, method, check, entries))
    return _Document("keyless-vault-1", vault_id, method, check, entries, seal)


# The first item of the authenticated data says what it belongs to, so that no ciphertext of one
# purpose passes for another's.


def _check_data(vault_id: str, method: KeyMethod) -> bytes:
    return _canonical(["check", vault_id, msgspec.to_builtins(method)])


def _entry_data(vault_id: str, name: str, item: _StoredEntry) -> bytes:
    first = ["entry", vault_id, name, item.kind, item.tools, item.delivery, item.added]
    later = msgspec.to_builtins(item)
    for known in ("kind", "tools", "delivery", "added", "nonce", "ciphertext"):
        del later[known]
    return _canonical([*first, later] if later else first)


def _seal_data(
    vault_id: str, method: KeyMethod, check: _Box, entries: Mapping[str, _StoredEntry]
) -> bytes:
    parts = [method, check, dict(entries)]
    return _canonical(["seal", vault_id, *(msgspec.to_builtins(part) for part in parts)])


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _encrypt(key: bytes, plain: bytes, data: bytes) -> _Box:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = AESGCM(key).encrypt(nonce, plain, data)
    return _Box(base64.b64encode(nonce).decode(), base64.b64encode(sealed).decode())


def _decrypt(key: bytes, nonce: str, ciphertext: str, data: bytes) -> bytes:
    try:
        raw_nonce = base64.b64decode(nonce, validate=True)
        raw = base64.b64decode(ciphertext, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidTag from None
    # Base64 has several spellings of the same bytes; only ours counts.
    spelled = base64.b64encode(raw_nonce).decode(), base64.b64encode(raw).decode()
    if len(raw_nonce) != _NONCE_BYTES or spelled != (nonce, ciphertext):
        raise InvalidTag
    return AESGCM(key).decrypt(raw_nonce, raw, data)
