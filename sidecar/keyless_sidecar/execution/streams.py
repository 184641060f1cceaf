"""From a child's two pipes to the kernel side: sanitized, within the limit, as fast as it is read.

Used by :mod:`keyless_sidecar.execution.command`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Literal, Protocol

from keyless_sidecar.sanitize import Patterns, StreamSanitizer, TextStream

CHUNK = 64 * 1024
#: Characters in one message; at most four bytes each, which one window of credit covers.
PIECE = 32 * 1024

Stream = Literal["stdout", "stderr"]
Emit = Callable[[Stream, str], Awaitable[None]]


class Source(Protocol):
    """What is read: :class:`keyless_sidecar.execution.child.Child`."""

    async def read(self, stream: str, size: int) -> bytes:
        """The next piece, empty at the end."""


class Streams:
    """Both streams of one command.

    Args:
        source: the child.
        patterns: what is taken out.
        limit: bytes over both streams, as the command writes them.
        emit: passes text on; waits as long as the kernel side takes none.
        on_limit: called once when the limit is reached; nothing more is read then.
    """

    def __init__(
        self,
        source: Source,
        patterns: Patterns,
        limit: int,
        emit: Emit,
        on_limit: Callable[[], None],
    ) -> None:
        self._source = source
        self._left = limit
        self._emit = emit
        self._on_limit = on_limit
        self._sanitizers = {
            "stdout": StreamSanitizer(patterns),
            "stderr": StreamSanitizer(patterns),
        }
        self._texts = {name: TextStream(each) for name, each in self._sanitizers.items()}
        self._turn = asyncio.Lock()  # so that text goes out in its order
        #: Bytes that the command wrote, as far as they were read.
        self.size = 0
        self.over = False

    async def run(self) -> None:
        """Until both streams have ended."""
        await asyncio.gather(self._pump("stdout"), self._pump("stderr"))

    async def show_held(self) -> None:
        """Pass on what the sanitizer holds back of a prompt, as far as it may."""
        async with self._turn:
            await self._pass_on("stdout", self._texts["stdout"].show_held())

    @property
    def redactions(self) -> dict[str, int]:
        """Replaced values by name, over both streams."""
        return merge(*(each.redactions for each in self._sanitizers.values()))

    @property
    def notes(self) -> list[str]:
        """What the user should know about the text."""
        return list(dict.fromkeys(note for each in self._texts.values() for note in each.notes))

    async def _pump(self, name: Stream) -> None:
        text = self._texts[name]
        while not self.over and (data := await self._source.read(name, CHUNK)):
            if len(data) > self._left:
                data = data[: self._left]
                self.over = True
            self._left -= len(data)
            self.size += len(data)
            if self.over:
                self._on_limit()
            async with self._turn:
                await self._pass_on(name, text.feed(data))
        async with self._turn:
            await self._pass_on(name, text.finish())

    async def _pass_on(self, name: Stream, text: str) -> None:
        for piece in _pieces(text):
            await self._emit(name, piece)


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), PIECE):
        yield text[start : start + PIECE]


def merge(*counts: dict[str, int]) -> dict[str, int]:
    """Sum of counts by name."""
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total
