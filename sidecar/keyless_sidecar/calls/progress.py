"""How far a call's content has come: counted in its threads, told to the kernel now and then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

from keyless.protocol.calls import Progress

__all__ = ["PAUSE", "Meter", "tell"]

#: Seconds between two messages.
PAUSE = 0.25
#: Less content than this is there before anybody looks.
_WORTH_TELLING = 4 << 20


class Meter:
    """The latest count.  Written by a call's threads, read by the event loop's.

    Args:
        request_id: of the call.
    """

    def __init__(self, request_id: int) -> None:
        self._id = request_id
        self._turn = threading.Lock()
        self._latest: Progress | None = None

    def moved(self, what: str, done: int, total: int | None) -> None:
        """Content moves: ``done`` bytes of ``total`` so far."""
        if (done if total is None else total) >= _WORTH_TELLING:
            self._set(Progress(id=self._id, what=what, done=done, total=total))

    def tried(self, what: str, attempt: int, most: int) -> None:
        """A state wasn't reached yet."""
        self._set(Progress(id=self._id, what=what, done=attempt, total=most, unit="attempts"))

    def take(self) -> Progress | None:
        """What has not been told yet."""
        with self._turn:
            latest, self._latest = self._latest, None
        return latest

    def _set(self, progress: Progress) -> None:
        with self._turn:
            self._latest = progress


async def tell(meter: Meter, send: Callable[[Progress], Awaitable[None]]) -> None:
    """Tell what the meter counts, until cancelled.

    Raises:
        ConnectionError: the kernel side is gone.
    """
    while True:
        if (progress := meter.take()) is not None:
            await send(progress)
        await asyncio.sleep(PAUSE)
