"""What is only done where something takes a while; where it doesn't, no task is made for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Later"]


class Later:
    """Begins work on the event loop after a while, unless :meth:`end` comes before.

    Args:
        seconds: until it begins.
        work: makes what is begun.
    """

    def __init__(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(seconds, self._begin)

    def _begin(self) -> None:
        self._task = asyncio.ensure_future(self._work())

    async def end(self) -> bool:
        """Cancel what goes on.  Returns once nothing does any more.

        Returns:
            whether the work came to its proper end.
        """
        self._timer.cancel()
        task = self._task
        if task is None:
            return False
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return not task.cancelled() and task.exception() is None
