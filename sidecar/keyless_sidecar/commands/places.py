"""What ``jupyter keyless vault`` takes from the configuration, as a sidecar would get it."""

from __future__ import annotations

from pathlib import Path

from keyless_kernel.confine import ConfigError
from keyless_kernel.confine.settings import load_config, plain
from keyless_sidecar.config import ConfigInvalid, Configuration, build
from keyless_sidecar.vault import (
    Declaration,
    OsKeyring,
    Vault,
    VaultError,
    open_vault,
    parse_declarations,
)

__all__ = ["declared", "keyring", "whole_vault"]


def declared() -> list[Declaration]:
    """``c.Vault.entries``.

    Raises:
        VaultError: the configuration can't be used.
    """
    return parse_declarations(_configuration().vault.entries)


def keyring() -> OsKeyring:
    """The keyring as the configuration has it; opened when it is used.

    Raises:
        VaultError: the configuration can't be used.
    """
    return _configuration().vault.surroundings({}).keyring


def whole_vault(data_dir: Path, passphrase: str | None) -> Vault:
    """The vault with all its sources.

    Raises:
        VaultError: as for :func:`~keyless_sidecar.vault.open_vault`, and for the configuration.
    """
    configuration = _configuration()
    return open_vault(
        data_dir,
        passphrase=passphrase,
        entries=configuration.vault.entries,
        surroundings=configuration.vault.surroundings(
            configuration.egress.upstreams, show_errors=True
        ),
    )


def _configuration() -> Configuration:
    try:
        values = plain(load_config())
        return build({name: values[name] for name in ("Vault", "Egress") if name in values})
    except (ConfigError, ConfigInvalid) as error:
        raise VaultError(str(error).rstrip(".")) from None
