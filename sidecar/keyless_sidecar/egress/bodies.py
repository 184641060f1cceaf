"""Where a body ends: readers for the three framings of HTTP/1.1, and writing the chunked one.

States are explicit instead of generators: a pull that was cancelled must never look like the end of
the body to the next one.
"""

from __future__ import annotations

import re
from typing import Protocol

from keyless_sidecar.egress.streams import CHUNK, Link, TooLong

_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})(?:;[\t\x20-\x7e]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")
_MAX_LINE = 4096
_MAX_TRAILERS = 32
LAST = b"0\r\n\r\n"


class BrokenBody(Exception):
    """The framing is malformed, or the connection ended too early; a part of a sentence."""


class Body(Protocol):
    """Hands out one body, piece by piece."""

    finished: bool

    async def pull(self) -> bytes:
        """The next piece; none at the end.

        Raises:
            BrokenBody: now and at every later pull.
            ConnectionError: the connection broke.
        """


class Sized:
    """A body of a known length."""

    def __init__(self, link: Link, length: int) -> None:
        self._link = link
        self._left = length
        self.finished = not length

    async def pull(self) -> bytes:
        """See :class:`Body`."""
        if self.finished:
            return b""
        data = await self._link.read_some(min(self._left, CHUNK))
        if not data:
            raise BrokenBody("it ended before its announced length")
        self._left -= len(data)
        self.finished = not self._left
        return data


class Chunked:
    """A body in chunks.  Extensions are ignored, trailers read and dropped."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._left = 0  # of this chunk, its line break included
        self._parts: list[bytes] = []  # kept here, so that a cancelled pull loses nothing
        self._broken = ""
        self.finished = False

    async def pull(self) -> bytes:
        """See :class:`Body`."""
        if self._broken:
            raise BrokenBody(self._broken)
        try:
            return await self._pull()
        except TooLong:
            self._broken = "a chunk's line is too long"
        except EOFError:
            self._broken = "it ended within a chunk"
        except BrokenBody as error:
            self._broken = str(error)
        raise BrokenBody(self._broken)

    async def _pull(self) -> bytes:
        # Many small chunks become one piece, as far as they are here already.
        size = sum(map(len, self._parts))
        while not self.finished and size < CHUNK and (self._link.buffered or not self._parts):
            if not self._left:
                await self._next()
            elif self._left > 2:
                data = await self._link.read_some(min(self._left - 2, CHUNK))
                if not data:
                    raise EOFError
                self._left -= len(data)
                self._parts.append(data)
                size += len(data)
            else:
                if await self._link.read_until(b"\n", 2) != b"\r\n":
                    raise BrokenBody("a chunk doesn't end where it should")
                self._left = 0
        parts, self._parts = self._parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _next(self) -> None:
        found = _SIZE.fullmatch(await self._link.read_until(b"\n", _MAX_LINE))
        if found is None:
            raise BrokenBody("a chunk's size is malformed")
        size = int(found.group(1), 16)
        if size:
            self._left = size + 2
            return
        for _ in range(_MAX_TRAILERS + 1):
            line = await self._link.read_until(b"\n", _MAX_LINE)
            if line == b"\r\n":
                self.finished = True
                return
            if not _TRAILER.fullmatch(line):
                raise BrokenBody("a trailer is malformed")
        raise BrokenBody("there are too many trailers")


class UntilEnd:
    """A body that the end of the connection ends."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.finished = False

    async def pull(self) -> bytes:
        """See :class:`Body`."""
        if self.finished:
            return b""
        data = await self._link.read_some()
        self.finished = not data
        return data


def chunk(data: bytes) -> tuple[bytes, bytes, bytes]:
    """The three parts of one chunk of the chunked coding; ``data`` must not be empty."""
    return b"%x\r\n" % len(data), data, b"\r\n"
