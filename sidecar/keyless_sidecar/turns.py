"""One worker thread, asked from the event loop for short work that blocks: a file, the disk.

``run_in_executor`` chains two futures and takes several locks for each piece of work; where that is
asked for with each request, half of the time goes into it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["Turns"]

_T = TypeVar("_T")
_Item = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class Turns:
    """Does one piece of work after the other.  Its thread begins with the first one.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._items: SimpleQueue[_Item | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    async def run(self, work: Callable[[], _T]) -> _T:
        """Have something done in the thread.

        Cancelled work isn't begun; what was begun is finished, and nobody hears of it.

        Raises:
            RuntimeError: it was closed.
            Exception: whatever ``work`` raises.
        """
        if self._closed:
            raise RuntimeError("no more work is taken")
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_T] = loop.create_future()
        self._items.put((loop, done, work))
        return await done

    def close(self) -> None:
        """Take no more; what is there already is done still.  Doesn't wait, idempotent."""
        self._closed = True
        self._items.put(None)

    def _work(self) -> None:
        while (item := self._items.get()) is not None:
            loop, done, work = item
            if done.cancelled():
                continue
            result, failure = None, None
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_tell, done, result, failure)
            del item, done, work, result, failure  # values of the vault, for one


def _tell(done: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(result)
    else:
        done.set_exception(failure)
