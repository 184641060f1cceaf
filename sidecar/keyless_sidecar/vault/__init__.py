"""The vault: credentials by name, from memory and from an encrypted file."""

from keyless_sidecar.vault.entries import (
    DELIVERIES,
    KINDS,
    Entry,
    EntryInfo,
    Kind,
    SecretFields,
    VaultError,
)
from keyless_sidecar.vault.file_source import FileSource, VaultLocked
from keyless_sidecar.vault.memory_source import MemorySource
from keyless_sidecar.vault.sources import Credential, Source, Vault, open_vault

__all__ = [
    "DELIVERIES",
    "KINDS",
    "Credential",
    "Entry",
    "EntryInfo",
    "FileSource",
    "Kind",
    "MemorySource",
    "SecretFields",
    "Source",
    "Vault",
    "VaultError",
    "VaultLocked",
    "open_vault",
]
