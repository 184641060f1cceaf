"""Work that has to come to its end although whoever waits for it is cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

__all__ = ["finish"]

_LOG = logging.getLogger(__name__)


async def finish(work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` to its end; a cancel meanwhile, or several, come into force afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:  # noqa: BLE001 - the task has it, and it is raised or logged below
            break
    if cancelled is not None:
        if not task.cancelled() and (problem := task.exception()) is not None:
            _LOG.error("a sandbox did not end well: %s", problem)
        raise cancelled
    task.result()
