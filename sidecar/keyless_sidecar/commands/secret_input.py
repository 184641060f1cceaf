"""Where ``vault add`` gets secrets from: a prompt, standard input, a descriptor.  Never argv."""

from __future__ import annotations

import getpass
import os
import sys
from typing import NoReturn

import msgspec

from keyless_sidecar.vault import KINDS, VaultError

__all__ = ["ask_fields", "ask_new_passphrase", "ask_passphrase", "parse_fields", "read_descriptor"]

_MAX_INPUT = 1024 * 1024
_TERMINAL = "/dev/tty"


def read_descriptor(fd: int, what: str) -> str:
    """All the text that a descriptor has, without the last line's end.

    Args:
        fd: an open descriptor; it is read to its end and left open.
        what: named in errors.

    Raises:
        VaultError: it isn't open, is a terminal, or holds too much or no UTF-8.
    """
    chunks, size = [], 0
    try:
        if os.isatty(fd):
            raise VaultError(
                f"{what} would be seen as it is typed: leave the option out to get a hidden prompt"
            )
        while chunk := os.read(fd, 65536):
            chunks.append(chunk)
            size += len(chunk)
            if size > _MAX_INPUT:
                raise VaultError(f"{what} is longer than {_MAX_INPUT} bytes")
    except OSError as error:
        raise VaultError(f"{what} can't be read: {error.strerror}") from None
    try:
        text = b"".join(chunks).decode()
    except UnicodeDecodeError:
        raise VaultError(f"{what} is no UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")


def parse_fields(kind: str, text: str, *, raw: bool) -> dict[str, str]:
    """The fields in a text from a pipe.

    A JSON object gives the fields by name.  For kinds that can do with one value, any other text
    (or, with ``raw``, every text) is that value.

    Raises:
        VaultError: it is neither.  The message doesn't repeat it.
    """
    single = KINDS[kind].single
    if not raw:
        try:
            fields = msgspec.json.decode(text, type=dict[str, str])
        except msgspec.MsgspecError:
            fields = None
        known = KINDS[kind]
        if fields is not None and (known.any_field or set(fields) & set(known.required)):
            return fields
    if single:
        return {single: text}
    names = ", ".join(KINDS[kind].required)
    raise VaultError(f"A credential of kind {kind} is given as a JSON object with texts: {names}")


def ask_fields(kind: str) -> dict[str, str]:
    """Ask at the terminal for each field; secrets aren't shown.

    Raises:
        VaultError: there is no terminal.
    """
    known = KINDS[kind]
    if known.any_field:
        return {known.single: _ask(known.single)}
    fields = {field: _ask(field, shown=field in known.plain) for field in known.required}
    for field in known.optional:
        value = _ask(f"{field} (empty: none)", shown=field in known.plain)
        if value:
            fields[field] = value
    return fields


def ask_passphrase() -> str:
    """Ask for the vault's passphrase.

    Raises:
        VaultError: there is no terminal.
    """
    return _ask("Passphrase of the vault")


def ask_new_passphrase() -> str:
    """Ask for a new passphrase, twice.

    Raises:
        VaultError: there is no terminal, or the two differ.
    """
    first = _ask("New passphrase for the vault")
    if first != _ask("Once more"):
        raise VaultError("The two passphrases differ")
    return first


def _ask(label: str, *, shown: bool = False) -> str:
    try:
        with open(_TERMINAL) as terminal:
            if not shown:
                return getpass.getpass(f"{label}: ")
            sys.stderr.write(f"{label}: ")
            sys.stderr.flush()
            return terminal.readline().removesuffix("\n")
    except (OSError, EOFError):
        _no_terminal()


def _no_terminal() -> NoReturn:
    raise VaultError(
        "There is no terminal to ask at: use --from-stdin or --from-fd for the secret, "
        "--passphrase-fd for the vault's passphrase"
    )
