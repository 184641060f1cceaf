"""The operating system's keyring, by the ``keyring`` library (an extra).

Used for the vault's own key and for entries of the source ``keyring``.  On Linux that is the Secret
Service (GNOME Keyring, KWallet, KeePassXC) on the person's session bus.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from keyless_sidecar.vault.deadline import within
from keyless_sidecar.vault.kinds import VaultError
from keyless_sidecar.vault.optional import load_optional

__all__ = ["KEYRING_TIMEOUT", "OsKeyring"]

#: Seconds; a locked keyring waits for a person, and a sidecar can't.
KEYRING_TIMEOUT = 10.0
_DEFAULT_BACKEND = "keyring.backends.SecretService.Keyring"
_BUS = "DBUS_SESSION_BUS_ADDRESS"


class OsKeyring:
    """Reads and writes items.  May be used in any thread; opens nothing before it is used.

    Args:
        bus: address of the session bus; empty: what the environment says, else the user's usual
            one (the sidecar's environment says nothing).
        backend: class of the ``keyring`` library, by its full name.
        timeout: seconds for one call.
    """

    def __init__(
        self, bus: str = "", backend: str = _DEFAULT_BACKEND, timeout: float = KEYRING_TIMEOUT
    ) -> None:
        self._bus = bus
        self._backend = backend or _DEFAULT_BACKEND
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"OsKeyring({self._backend})"

    def read(self, service: str, account: str) -> str | None:
        """The value of an item, None where there is none.

        Raises:
            VaultError: the library is missing, no keyring runs, or it stays locked.
        """
        value = self._call("get_password", service, account)
        if value is not None and not isinstance(value, str):
            raise VaultError("The keyring's item is no text")
        return value

    def write(self, service: str, account: str, value: str) -> None:
        """Store an item, in place of one of the same name.

        Raises:
            VaultError: as for :meth:`read`.
        """
        self._call("set_password", service, account, value)

    def _call(self, method: str, *arguments: str) -> Any:
        core = load_optional("keyring.core", "keyring")
        errors = load_optional("keyring.errors", "keyring")

        def work() -> Any:
            try:
                return getattr(core.load_keyring(self._backend), method)(*arguments)
            except (errors.KeyringLocked, errors.InitError):
                raise VaultError(
                    "The keyring is locked or can't be opened: unlock it in your desktop session"
                ) from None
            except Exception as error:  # noqa: BLE001 - each backend has errors of its own
                # Only the type: a message could hold anything.
                raise VaultError(
                    f"The keyring can't be used ({type(error).__name__}): is its service running "
                    "in your session? c.Vault.keyring_bus names the session's bus"
                ) from None

        self._set_bus()
        return within(self._timeout, "The keyring", work)

    def _set_bus(self) -> None:
        """The library finds the bus by the environment, and only there."""
        usual = Path(f"/run/user/{os.geteuid()}/bus")
        if self._bus:
            os.environ[_BUS] = self._bus
        elif _BUS not in os.environ and usual.exists():
            os.environ[_BUS] = f"unix:path={usual}"
