"""The vault: credentials by name.

From memory and an encrypted file, or fetched when they are used: from AWS profiles, AWS Secrets
Manager and Parameter Store, OpenBao and HashiCorp Vault, a person's program, the OS keyring.
"""

from keyless_sidecar.vault.declarations import Declaration, parse_declaration, parse_declarations
from keyless_sidecar.vault.delivery_files import secret_files
from keyless_sidecar.vault.entries import Entry, EntryInfo, SecretFields
from keyless_sidecar.vault.file_source import FileSource, VaultLocked
from keyless_sidecar.vault.kinds import DEFAULT_DELIVERY, DELIVERIES, KINDS, Kind, VaultError
from keyless_sidecar.vault.memory_source import MemorySource
from keyless_sidecar.vault.os_keyring import OsKeyring
from keyless_sidecar.vault.source_settings import SOURCES
from keyless_sidecar.vault.sources import Credential, NameTaken, Source, Vault, open_vault
from keyless_sidecar.vault.surroundings import Surroundings

__all__ = [
    "DEFAULT_DELIVERY",
    "DELIVERIES",
    "KINDS",
    "SOURCES",
    "Credential",
    "Declaration",
    "Entry",
    "EntryInfo",
    "FileSource",
    "Kind",
    "MemorySource",
    "NameTaken",
    "OsKeyring",
    "SecretFields",
    "Source",
    "Surroundings",
    "Vault",
    "VaultError",
    "VaultLocked",
    "open_vault",
    "parse_declaration",
    "parse_declarations",
    "secret_files",
]
