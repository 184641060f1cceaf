"""The body of a tool's request, as handlers pull it."""

from __future__ import annotations

import asyncio
from typing import Self

from keyless_sidecar.egress import bodies
from keyless_sidecar.egress.http1 import Head
from keyless_sidecar.egress.messages import BadMessage
from keyless_sidecar.egress.streams import Link

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Incoming:
    """Owned by whoever handles the request; an iterator that a cancelled pull doesn't end.

    Args:
        link: the tool's connection.
        head: how the body is framed.
        idle: seconds that the tool may be silent.
    """

    def __init__(self, link: Link, head: Head, idle: float) -> None:
        self._link = link
        self._idle = idle
        self._ask = head.expects_continue
        self._answered = False
        self._body: bodies.Body = (
            bodies.Chunked(link) if head.length is None else bodies.Sized(link, head.length)
        )

    @property
    def finished(self) -> bool:
        """Whether all of it was read, so that what follows is another request."""
        return self._body.finished

    def answered(self) -> None:
        """The answer begins: ``100 Continue`` can't be said any more."""
        self._answered = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._body.finished:
            raise StopAsyncIteration
        try:
            if self._ask:
                if self._answered:
                    raise BadMessage("The request was answered without its body.")
                self._ask = False
                await self._link.write(_CONTINUE)
            async with asyncio.timeout(self._idle):
                data = await self._body.pull()
        except bodies.BrokenBody as error:
            raise BadMessage(f"The request's body is refused: {error}.") from None
        except (ConnectionError, TimeoutError):
            raise BadMessage("The request's body broke off.") from None
        if not data:
            raise StopAsyncIteration
        return data
