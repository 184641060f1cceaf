"""Sources on this machine: ``command`` and ``keyring``."""

from __future__ import annotations

from keyless_sidecar.vault.answers import expiry, fields_of_text, parse_object
from keyless_sidecar.vault.declarations import Declaration
from keyless_sidecar.vault.entries import Entry
from keyless_sidecar.vault.kinds import KINDS, VaultError
from keyless_sidecar.vault.program import run_program
from keyless_sidecar.vault.source_settings import Command, KeyringItem
from keyless_sidecar.vault.surroundings import Surroundings

__all__ = ["fetch_command", "fetch_keyring"]


def fetch_command(declaration: Declaration, surroundings: Surroundings) -> Entry:
    """Run the program and take the fields from what it prints.

    A JSON answer may say when the values end (``expires`` or ``Expiration``).

    Raises:
        VaultError: it fails, or prints something else.
    """
    settings, name, kind = declaration.settings, declaration.info.name, declaration.info.kind
    if not isinstance(settings, Command):
        raise TypeError("not a command")
    output = run_program(
        name,
        settings.argv,
        surroundings,
        timeout=settings.timeout,
        environment=settings.environment,
    )
    try:
        text = output.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise VaultError(f"{name}: the program printed no UTF-8 text") from None
    is_json = (
        settings.format == "json"
        if settings.format
        else bool(settings.fields) or not KINDS[kind].single
    )
    fields = fields_of_text(name, kind, text, settings.fields, json=is_json)
    return Entry.of(
        declaration.info, fields, expiry(name, parse_object(name, text)) if is_json else None
    )


def fetch_keyring(declaration: Declaration, surroundings: Surroundings) -> Entry:
    """Read the keyring's item.

    Raises:
        VaultError: no keyring, no such item, or it isn't what the entry needs.
    """
    settings, name = declaration.settings, declaration.info.name
    if not isinstance(settings, KeyringItem):
        raise TypeError("not an item of a keyring")
    text = surroundings.keyring.read(settings.service, settings.account)
    if not text:
        raise VaultError(
            f"{name}: the keyring has no item {settings.service} for {settings.account}"
        )
    fields = fields_of_text(name, declaration.info.kind, text, settings.fields)
    return Entry.of(declaration.info, fields)
