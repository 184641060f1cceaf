"""Reads hex dumps (xxd, hexdump -C, od) in a stream, so that a value cut by their columns is found.

Called by `stream`. Only the digits of a dump count: neither the offsets in front nor the text
column behind. A dump line is told by its offset, which begins with 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .views import View

_OFFSET = rb"0[0-9a-fA-F]{5,15}"
_BODIES = (
    rb"(?:[0-9a-fA-F]{4,8} ){1,8}[0-9a-fA-F]{0,8}"  # xxd, hexdump
    rb"|[0-9a-fA-F]{2}(?: [0-9a-fA-F]{2}){7}  [0-9a-fA-F]{2}(?: [0-9a-fA-F]{2}){0,7}"  # hexdump -C
    rb"|[0-9a-fA-F]{2}(?: [0-9a-fA-F]{2}){0,15}(?![0-9a-fA-F])"  # od -t x1
    rb"|[0-9a-fA-F]{2,8}"
    rb"|(?:  \\?[!-~ ] ?|  \\[0-9abfnrtv]| [0-7]{3}){1,16}"  # od -c
)
_LINE = re.compile(rb"^" + _OFFSET + rb":? {1,3}(" + _BODIES + rb")[^\n]{0,80}\n", re.MULTILINE)
_LAST = re.compile(rb"^" + _OFFSET + rb":? {1,3}(" + _BODIES + rb")[^\n]{0,80}\Z", re.MULTILINE)
_STARTED = re.compile(rb"0[0-9a-fA-F]{0,15}\Z|" + _OFFSET + rb":? {0,3}(?:[0-9a-fA-F\\ ][^\n]*)?\Z")
_LONGEST = 140


@dataclass(frozen=True)
class Dump:
    """The dump lines of a buffer: their digits as a view, and the lines' (start, end)."""

    view: View
    lines: list[tuple[int, int]]

    def line_end(self, position: int) -> int:
        """Where the dump line that holds `position` ends, its line feed left out."""
        return next((end for start, end in self.lines if start <= position < end), position)


def may_hold_dump(buffer: bytes, line_start: bool) -> bool:
    """Whether a line of the buffer begins like a dump line, as far as a quick look tells."""
    return b"\n0" in buffer or (line_start and buffer.startswith(b"0"))


def unfinished_line(buffer: bytes, line_start: bool) -> int:
    """Where the last line begins if it may still become a dump line; else the buffer's length."""
    start = buffer.rfind(b"\n") + 1
    near = len(buffer) - start <= _LONGEST
    if near and (start or line_start) and _STARTED.match(buffer, start):
        return start
    return len(buffer)


def _zeros(buffer: bytes) -> Iterator[int]:
    """Where lines begin with 0."""
    if buffer.startswith(b"0"):
        yield 0
    at = 0
    while at := buffer.find(b"\n0", at) + 1:
        yield at


def read_dump(buffer: bytes, line_start: bool, final: bool) -> Dump | None:
    """The dump lines of the buffer, or None. `line_start`: whether the buffer begins a line."""
    matches = [match for at in _zeros(buffer) if (match := _LINE.match(buffer, at))]
    if final and (last := _LAST.search(buffer, buffer.rfind(b"\n") + 1)):
        matches.append(last)
    matches = [
        match for match in matches if len(match[0]) <= _LONGEST and (line_start or match.start())
    ]
    if not matches:
        return None
    pieces: list[bytes] = []
    text_at, buffer_at = [], []
    lines = []
    size = 0
    for match in matches:
        text_at.append(size)
        buffer_at.append(match.start(1))
        pieces.append(match[1])
        size += len(match[1])
        lines.append((match.start(), match.end() - match[0].endswith(b"\n")))
    return Dump(View(b"".join(pieces), text_at, buffer_at, [0] * len(pieces)), lines)
