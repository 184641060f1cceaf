"""Looks for secrets in a file, also inside what is compressed in it.

Called by the runner on every file that a tool leaves in the workspace, before the file gets there,
and by calls on the content that they save.
"""

from __future__ import annotations

import bz2
import lzma
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from .patterns import Patterns
from .stream import StreamSanitizer

UNCHECKED = "unchecked-content"

_BLOCK = 1 << 18
_DEPTH = 3
# gzip, zlib at its levels (a git object is one), a deflated member of a zip file, bzip2, xz
_MAGIC = re.compile(
    rb"\x1f\x8b\x08|x[\x01\x5e\x9c\xda]|PK\x03\x04.{4}\x08\x00.{20}|BZh[1-9]1AY&SY|\xfd7zXZ\0",
    re.DOTALL,
)
_OVERLAP = 32
#: Bytes for which one more attempt is allowed: random data begin like zlib every 16 KiB.
_ATTEMPT = 4096
_MEMORY = 128 << 20


@dataclass
class _Search:
    """What the searches of one file share. `size`: bytes that may still be unpacked; `attempts`:
    places at which unpacking may still be tried; `found`: the secrets by label."""

    patterns: Patterns
    detect: bool
    size: int
    attempts: int
    found: dict[str, int] = field(default_factory=dict)

    @property
    def spent(self) -> bool:
        return self.size < 0 or self.attempts < 0


def scan_file(
    patterns: Patterns,
    fd: int,
    *,
    max_unpacked: int = 256 << 20,
    max_attempts: int = 20_000,
    detect: bool = False,
) -> dict[str, int]:
    """Count the secrets in a regular file, by label; an empty dict means that none was found.

    The file is read in blocks with pread, from its start; the descriptor's position is not used.
    gzip, zlib, bzip2, xz and deflated zip members are unpacked wherever they begin in the file,
    also inside each other (3 levels). When a bound is hit before everything was looked at, the
    label `unchecked-content` is in the result as well: the caller must withhold the file.

    Parameters: `fd`, open for reading; `max_unpacked`, bytes to unpack at most; `max_attempts`,
    places at most at which unpacking is tried, beside one for each 4 KiB; `detect`, count
    unregistered credentials too.
    Errors: OSError when reading fails.
    """
    search = ContentSearch(
        patterns, max_unpacked=max_unpacked, max_attempts=max_attempts, detect=detect
    )
    offset = 0
    while not search.spent and (block := os.pread(fd, _BLOCK, offset)):
        offset += len(block)
        search.feed(block)
    return search.finish()


class ContentSearch:
    """The same for content that goes by: `feed` it in pieces, then `finish`.

    Parameters: as for `scan_file`; `grows`: what may be unpacked grows with the content, so
    that content of any size can be searched to its end.
    """

    def __init__(
        self,
        patterns: Patterns,
        *,
        max_unpacked: int = 256 << 20,
        max_attempts: int = 20_000,
        detect: bool = False,
        grows: bool = False,
    ):
        self._search = _Search(patterns, detect, max_unpacked, max_attempts)
        self._content = _Content(self._search, _DEPTH)
        self._grows = grows

    @property
    def spent(self) -> bool:
        """Whether a bound was hit, so that nothing more is looked at."""
        return self._search.spent

    def feed(self, block: bytes) -> None:
        """Search the next piece."""
        if self._search.spent:
            return
        self._search.attempts += len(block) // _ATTEMPT
        if self._grows:
            self._search.size += len(block)
        self._content.feed(block)

    def finish(self) -> dict[str, int]:
        """End it; the secrets found, as `scan_file` gives them."""
        self._content.finish()
        if self._search.spent:
            self._search.found[UNCHECKED] = 1
        return self._search.found


class _Content:
    """Searches one stream of bytes, and everything compressed that begins in it, in one pass."""

    def __init__(self, search: _Search, depth: int):
        self._search = search
        self._depth = depth
        self._sanitizer = StreamSanitizer(search.patterns, detect=search.detect)
        self._packed: list[_Packed] = []
        self._before = b""

    def feed(self, block: bytes) -> None:
        self._sanitizer.feed(block)
        self._packed = [packed for packed in self._packed if packed.feed(block)]
        if self._depth:
            self._begin_packed(self._before + block, len(self._before))

    def finish(self) -> None:
        for packed in self._packed:
            packed.finish()
        self._sanitizer.finish()
        for label, count in self._sanitizer.redactions.items():
            self._search.found[label] = self._search.found.get(label, 0) + count

    def _begin_packed(self, text: bytes, known: int) -> None:
        for match in _MAGIC.finditer(text):
            if match.end() <= known:
                continue
            self._search.attempts -= 1
            if self._search.spent:
                break
            packed = _Packed(match[0], self._search, self._depth - 1)
            if packed.feed(memoryview(text)[match.start() :]):
                self._packed.append(packed)
        self._before = text[-_OVERLAP:]


class _Packed:
    """Unpacks one compressed stream as the blocks go by, and searches its content."""

    def __init__(self, magic: bytes, search: _Search, depth: int):
        self._search = search
        self._depth = depth
        self._unpacked: _Content | None = None  # made late: most attempts come to nothing
        self._skip = 0  # bytes of a header that is no part of the compressed stream
        self._inflater: zlib._Decompress | bz2.BZ2Decompressor | lzma.LZMADecompressor
        if magic.startswith(b"PK"):
            self._inflater = zlib.decompressobj(-15)
            lengths = magic[26:28], magic[28:30]
            self._skip = len(magic) + sum(int.from_bytes(size, "little") for size in lengths)
        elif magic.startswith(b"BZ"):
            self._inflater = bz2.BZ2Decompressor()
        elif magic.startswith(b"\xfd"):
            self._inflater = lzma.LZMADecompressor(memlimit=_MEMORY)
        else:
            self._inflater = zlib.decompressobj(47)

    @property
    def _content(self) -> _Content:
        if self._unpacked is None:
            self._unpacked = _Content(self._search, self._depth)
        return self._unpacked

    def feed(self, block: bytes | memoryview) -> bool:
        """Unpack the next block; False when the stream has ended, or isn't one."""
        data, self._skip = block[self._skip :], max(0, self._skip - len(block))
        try:
            for piece in self._unpack(data):
                self._search.size -= len(piece)
                self._content.feed(piece)
                if self._search.spent:
                    break
            else:
                if not self._inflater.eof:
                    return True
        except (zlib.error, lzma.LZMAError, OSError, EOFError):
            pass  # not a compressed stream after all, or a broken one: what came out was searched
        self.finish()
        return False

    def finish(self) -> None:
        if self._unpacked is not None:
            self._unpacked.finish()

    def _unpack(self, data: bytes | memoryview) -> Iterator[bytes]:
        inflater = self._inflater
        while not inflater.eof:
            piece = inflater.decompress(data, _BLOCK)
            if piece:
                yield piece
            if isinstance(inflater, (bz2.BZ2Decompressor, lzma.LZMADecompressor)):
                data = b""
                if inflater.needs_input:
                    return
            else:
                data = inflater.unconsumed_tail
                if not data and len(piece) < _BLOCK:
                    return
