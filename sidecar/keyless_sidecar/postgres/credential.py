"""From the vault to a :class:`~keyless_sidecar.postgres.settings.Target`, just in time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from keyless_sidecar.postgres.client import Refusal
from keyless_sidecar.postgres.masking import Mask, entry_mask
from keyless_sidecar.postgres.settings import Target, TargetError, read_target
from keyless_sidecar.vault import VaultError

__all__ = ["Credential", "fetch_target"]


class Credential(Protocol):
    """A vault entry with its values."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def fields(self) -> Mapping[str, str]: ...
    def secrets(self) -> list[tuple[str, bytes]]: ...


async def fetch_target(
    name: str, fetch: Callable[[str], Awaitable[Credential]], mask: Mask
) -> tuple[Target, Mask]:
    """The server of an entry, and what takes the entry's values out of texts.

    Args:
        name: of the entry.
        fetch: gets it.
        mask: takes other secrets out.

    Raises:
        Refusal: there is no such entry (any more), or it names no server.
    """
    try:
        entry = await fetch(name)
        if entry.kind != "postgres":
            raise VaultError(f"The credential {name} is not of kind postgres")
        return read_target(entry.name, entry.fields), entry_mask(entry.secrets(), mask)
    except VaultError as error:
        raise Refusal(f"Keyless: {mask(str(error)).rstrip('.')}.") from None
    except TargetError as error:
        raise Refusal(f"Keyless: {error}") from None
