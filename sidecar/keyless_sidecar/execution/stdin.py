"""Waiting for the standard input that a request announced.

Used by :mod:`keyless_sidecar.execution.runner`, and before that by ``consent``.
"""

from __future__ import annotations

import asyncio

from keyless_sidecar.execution.planning import Ended
from keyless_sidecar.flow import Flow

__all__ = ["STDIN_TIMEOUT", "standard_input"]

#: Seconds in which announced standard input must have arrived.
STDIN_TIMEOUT = 60.0


async def standard_input(flow: Flow) -> int | None:
    """A descriptor of the announced standard input, once it is all there.

    Raises:
        Ended: cancelled, or not all of it came.
    """
    if flow.cancelled.is_set():
        raise Ended("CommandCancelled", "The command was cancelled before it started.")
    if flow.stdin is None:
        return None
    arrival = asyncio.ensure_future(flow.stdin.complete.wait())
    cancel = asyncio.ensure_future(flow.cancelled.wait())
    try:
        await asyncio.wait({arrival, cancel}, timeout=STDIN_TIMEOUT, return_when="FIRST_COMPLETED")
    finally:
        arrival.cancel()
        cancel.cancel()
    if flow.cancelled.is_set():
        raise Ended("CommandCancelled", "The command was cancelled before it started.")
    if not flow.stdin.complete.is_set():
        raise Ended(
            "InvalidRequest",
            f"The announced standard input did not arrive within {STDIN_TIMEOUT:.0f} s.",
        )
    return flow.stdin.open()
