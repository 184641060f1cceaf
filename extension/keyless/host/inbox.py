"""The messages of one kernel, sorted by the request that they answer.

Readers (of ZeroMQ channels or of a websocket) put messages in; whoever made a request takes out
what belongs to it.  Output beyond a limit is dropped here, so that a kernel can't fill the host's
memory.  One event loop's affair.
"""

from __future__ import annotations

import asyncio

from keyless.host.errors import SandboxDied
from keyless.host.outputs import Message, mapping

__all__ = ["Inbox", "Request"]

#: Characters of output that one request may give.
MAX_OUTPUT = 64 * 1024 * 1024
_OUTPUT = frozenset({"stream", "display_data", "execute_result", "update_display_data", "error"})


class Request:
    """One request's messages; ends when the reply has come and the kernel is idle again.

    Attributes:
        name: its message id.
        truncated: output was dropped.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.truncated = False
        self._queue: asyncio.Queue[Message | Exception] = asyncio.Queue()
        self._room = MAX_OUTPUT
        self._idle = self._replied = False
        self._failed: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return (self._idle and self._replied) or self._failed is not None

    def put(self, message: Message | Exception) -> None:
        """One message, or why there will be no more."""
        if not isinstance(message, Exception) and message.get("msg_type") in _OUTPUT:
            self._room -= _size(message)
            if self._room < 0:
                self.truncated = True
                return
        self._queue.put_nowait(message)

    async def next(self) -> Message | None:
        """The next message; ``None`` after the last one.

        Raises:
            SandboxDied: the kernel ended before.
        """
        if self._failed is not None:
            raise self._failed
        if self.done:
            return None
        message = await self._queue.get()
        if isinstance(message, Exception):
            self._failed = message
            raise message
        kind, content = message.get("msg_type"), mapping(message.get("content"))
        self._idle |= kind == "status" and content.get("execution_state") == "idle"
        self._replied |= kind == "execute_reply"
        return message


class Inbox:
    """All requests that wait."""

    def __init__(self) -> None:
        self._waiting: dict[str, Request] = {}
        self._ended: Exception | None = None

    @property
    def ended(self) -> Exception | None:
        """Why nothing comes any more."""
        return self._ended

    def open(self, request_id: str) -> Request:
        """Wait for a request's messages.

        Raises:
            SandboxDied: nothing comes any more.
        """
        if self._ended is not None:
            raise SandboxDied(str(self._ended))
        request = self._waiting[request_id] = Request(request_id)
        return request

    def close(self, request: Request) -> None:
        """Nobody waits for it any more."""
        self._waiting.pop(request.name, None)

    def deliver(self, message: Message) -> None:
        """A message came; one that nobody waits for is dropped."""
        parent = mapping(message.get("parent_header")).get("msg_id")
        request = self._waiting.get(parent) if isinstance(parent, str) else None
        if request is not None:
            request.put(message)

    def fail(self, reason: str) -> None:
        """Nothing comes any more: tell all that wait."""
        if self._ended is None:
            self._ended = SandboxDied(reason)
        for request in self._waiting.values():
            request.put(SandboxDied(reason))


def _size(message: Message) -> int:
    content = mapping(message.get("content"))
    texts = [content.get("text"), content.get("traceback"), *mapping(content.get("data")).values()]
    return sum(len(text) if isinstance(text, str) else len(str(text)) for text in texts)
