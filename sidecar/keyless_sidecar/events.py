"""What happens in this sidecar, told to whoever listens at the control socket.

Commands and questions are published here; :mod:`keyless_sidecar.control.stream` passes them on.  An
event is news and no record: the audit holds what counts.  Owned by the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Event", "Events", "Listener"]

Kind = Literal["pending", "decided", "started", "finished"]
#: Events that may wait for one listener; one that falls behind further is let go.
MOST_WAITING = 256


@dataclass(frozen=True)
class Event:
    """One piece of news; ``data`` holds plain values and no secret."""

    kind: Kind
    data: Mapping[str, Any]


class Listener:
    """One who listens.

    Args:
        approves: whether a person is behind it who may answer questions.
    """

    def __init__(self, *, approves: bool) -> None:
        self.approves = approves
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(MOST_WAITING + 1)
        self._lost = False

    def put(self, event: Event) -> None:
        """Take one in; whoever doesn't keep up hears nothing more, and its stream ends."""
        if self._lost:
            return
        if self._queue.qsize() >= MOST_WAITING:
            self._lost = True
            self._queue.put_nowait(None)
        else:
            self._queue.put_nowait(event)

    def end(self) -> None:
        """No more comes."""
        self._lost = True
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (event := await self._queue.get()) is not None:
            yield event


class Events:
    """Everybody who listens."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    @property
    def approvers(self) -> int:
        """How many of them may answer questions."""
        return sum(listener.approves for listener in self._listeners)

    def publish(self, kind: Kind, data: Mapping[str, Any]) -> None:
        """Tell everybody; never waits."""
        for listener in self._listeners:
            listener.put(Event(kind, data))

    @contextlib.contextmanager
    def listen(self, *, approves: bool) -> Iterator[Listener]:
        """Be told, for as long as the context lasts."""
        listener = Listener(approves=approves)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """End every stream."""
        for listener in self._listeners:
            listener.end()
