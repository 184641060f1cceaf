"""Blocking work with an end: what asks other machines may hang, the vault may not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from keyless_sidecar.vault.kinds import VaultError

__all__ = ["within"]

_T = TypeVar("_T")
#: Work under way at once, abandoned work included.
_MOST = 32
_slots = threading.BoundedSemaphore(_MOST)


def within(seconds: float, what: str, work: Callable[[], _T]) -> _T:
    """Do ``work`` on a thread of its own and return its result.

    Work that takes longer is abandoned: its thread ends when it can, and never holds up the
    process's end.

    Args:
        seconds: how long it may take.
        what: names it in the error.

    Raises:
        VaultError: it took longer, or too much is under way.
        Exception: whatever the work raised.
    """
    if not _slots.acquire(blocking=False):
        raise VaultError(f"{what}: too many sources are being waited for; try again")
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            errors.append(error)
        finally:
            _slots.release()

    thread = threading.Thread(target=run, name="keyless-source", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if results:
        return results[0]
    raise VaultError(f"{what}: the source did not answer within {seconds:g} seconds")
