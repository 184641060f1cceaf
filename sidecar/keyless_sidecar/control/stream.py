"""News as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from typing import Any

import msgspec

from keyless_sidecar.events import Event, Events

__all__ = ["news"]

#: Seconds of silence after which a comment is sent, so that both ends notice a broken connection.
BEAT = 15.0


async def news(
    events: Events, pending: Iterable[Mapping[str, Any]], *, approves: bool
) -> AsyncGenerator[bytes, None]:
    """What waits now, and from then on whatever happens.

    Args:
        events: where it happens.
        pending: what waits.
        approves: whether a person listens who may answer questions.
    """
    with events.listen(approves=approves) as listener:
        for question in pending:
            yield _event("pending", question)
        # Closed by hand: a listener that has gone must not be counted until somebody tidies up.
        async with contextlib.aclosing(_beating(listener.__aiter__())) as parts:
            async for part in parts:
                yield part


async def _beating(coming: AsyncIterator[Event]) -> AsyncGenerator[bytes, None]:
    following = asyncio.ensure_future(anext(coming, None))
    try:
        while True:
            await asyncio.wait({following}, timeout=BEAT)
            if not following.done():
                yield b": still here\n\n"
                continue
            event = following.result()
            if event is None:
                return
            yield _event(event.kind, event.data)
            following = asyncio.ensure_future(anext(coming, None))
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def _event(kind: str, data: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(data))
