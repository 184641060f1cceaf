"""The vault's passphrase, where a Jupyter server was started with one on a descriptor."""

from __future__ import annotations

import functools
import os

__all__ = ["PassphraseUnreadable", "passphrase_from_descriptor"]


class PassphraseUnreadable(ValueError):
    """The variable names no readable descriptor."""


@functools.cache
def passphrase_from_descriptor() -> str | None:
    """The passphrase, or None where the server was given none.

    ``KEYLESS_PASSPHRASE_FD=3 jupyter lab 3< <(pass show keyless)``.  Read once, then closed.

    Raises:
        PassphraseUnreadable: the variable names no open descriptor.
    """
    number = os.environ.get("KEYLESS_PASSPHRASE_FD")
    if number is None:
        return None
    try:
        with os.fdopen(int(number), encoding="utf-8") as file:
            return file.read().rstrip("\n")
    except (ValueError, OSError) as error:
        raise PassphraseUnreadable(
            f"KEYLESS_PASSPHRASE_FD={number} is no readable descriptor ({error})"
        ) from None
