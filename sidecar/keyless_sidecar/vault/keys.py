"""The key of an encrypted vault: in a file, in the OS keyring, or a passphrase through argon2id.

Pure but for the random numbers.  :mod:`keyless_sidecar.vault.file_source` reads and writes the
files; :mod:`keyless_sidecar.vault.sealed` uses the key.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import unicodedata
from typing import Literal

import msgspec
from argon2.low_level import ARGON2_VERSION, Type, hash_secret_raw
from argon2.profiles import RFC_9106_LOW_MEMORY

from keyless_sidecar.vault.kinds import VaultError

__all__ = ["KEY_BYTES", "MIN_PASSPHRASE", "KeyMethod", "decode_key_file", "new_key_file"]

KEY_BYTES = 32
#: Shortest passphrase that a new vault accepts, in characters.
MIN_PASSPHRASE = 12

# Bounds on what a file may ask for: less is too cheap to guess, more would hang the reader.
_MEMORY_KIB = (19 * 1024, 1024 * 1024)
_TIME = (1, 32)
_LANES = (1, 16)
_SALT_BYTES = 16


class KeyMethod(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the key is had, as the vault's header says it.

    Attributes:
        salt: base64; empty for a stored key, and the numbers after it 0.
        memory: in KiB.
    """

    method: Literal["key-file", "keyring", "argon2id"]
    salt: str
    time: int
    memory: int
    lanes: int

    @classmethod
    def key_file(cls) -> KeyMethod:
        """A key that lies in a file beside the vault."""
        return cls("key-file", salt="", time=0, memory=0, lanes=0)

    @classmethod
    def keyring(cls) -> KeyMethod:
        """A key that lies in the operating system's keyring, under the vault's id."""
        return cls("keyring", salt="", time=0, memory=0, lanes=0)

    @classmethod
    def argon2id(cls) -> KeyMethod:
        """A key from a passphrase, with a new salt and the costs of RFC 9106's second choice."""
        profile = RFC_9106_LOW_MEMORY
        return cls(
            "argon2id",
            salt=base64.b64encode(secrets.token_bytes(_SALT_BYTES)).decode(),
            time=profile.time_cost,
            memory=profile.memory_cost,
            lanes=profile.parallelism,
        )

    def derive(self, passphrase: str) -> bytes:
        """The 32 bytes that a passphrase stands for.  Takes tens of milliseconds, on purpose.

        Raises:
            VaultError: the parameters in the header are outside what this program accepts.
        """
        try:
            salt = base64.b64decode(self.salt, validate=True)
        except binascii.Error:
            salt = b""
        if (
            self.method != "argon2id"
            or len(salt) != _SALT_BYTES
            or not _MEMORY_KIB[0] <= self.memory <= _MEMORY_KIB[1]
            or not _TIME[0] <= self.time <= _TIME[1]
            or not _LANES[0] <= self.lanes <= _LANES[1]
        ):
            raise VaultError("The vault's header asks for key parameters outside the safe range")
        return hash_secret_raw(
            # The same passphrase may be typed in composed or decomposed form.
            unicodedata.normalize("NFKC", passphrase).encode(),
            salt,
            time_cost=self.time,
            memory_cost=self.memory,
            parallelism=self.lanes,
            hash_len=KEY_BYTES,
            type=Type.ID,
            version=ARGON2_VERSION,
        )


def new_key_file() -> tuple[bytes, bytes]:
    """A new random key: the content of its file, and the key."""
    key = secrets.token_bytes(KEY_BYTES)
    return base64.b64encode(key) + b"\n", key


def decode_key_file(content: bytes, where: str = "vault.key") -> bytes:
    """The key in a key file, or in another place that keeps the same text.

    Raises:
        VaultError: that is no key file.
    """
    try:
        key = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise VaultError(f"{where} holds no key of 256 bits: restore it from your backup")
    return key
