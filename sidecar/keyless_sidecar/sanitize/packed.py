"""Looks inside base64 text that holds compressed data (gzip or zlib).

Called by `stream` on buffers in which the beginning of such data was seen. A run is held back until
it ends, then decoded and searched; its size, packed and unpacked, is bounded, and a run over a
bound is redacted unseen.
"""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .index import Trigger

# No run begins inside of a longer word.
_BEGIN = re.compile(rb"(?<![A-Za-z0-9+/=_-])(?:H4sI|eJ[w-z]|eN[o-r]|eA[E-H]|eF[4-7])")
# The beginnings of base64 of gzip and of zlib at its four usual levels.
PACKED_TRIGGER = Trigger(
    "packed",
    (
        b"H4sI",
        *(b"eJ" + bytes([c]) for c in b"wxyz"),
        *(b"eN" + bytes([c]) for c in b"opqr"),
        *(b"eA" + bytes([c]) for c in b"EFGH"),
        *(b"eF" + bytes([c]) for c in b"4567"),
    ),
    _BEGIN,
)
UNCHECKED = "compressed-data"

LONGEST_RUN = 65_536  # bytes of base64 text
LONGEST_CONTENT = 8 << 20  # bytes after decompression
_ENOUGH = 64  # characters that tell whether a run is compressed data at all

_RUN = re.compile(rb"(?:[A-Za-z0-9+/_-]|\r?\n[ \t]{0,8}|\\r|\\n)*(?:\r|\\)?={0,2}")
# The same, for a run over the bound: one character decides, so that it may be cut anywhere.
_LONG_RUN = re.compile(rb"[A-Za-z0-9+/_=\r\n\t \\-]*")
_BREAKS = re.compile(rb"[\r\n\t ]|\\[rn]")
_URLSAFE = bytes.maketrans(b"-_", b"+/")

Search = Callable[[bytes], str]


@dataclass(frozen=True)
class PackedRuns:
    """What one buffer holds.

    `marks`: (start, end, label) of runs to redact. `hold`: from where the buffer must be held back.
    `goes_on`: where a run begins that is over the bound and not at its end yet, or -1.
    """

    marks: list[tuple[int, int, str]]
    hold: int
    goes_on: int


def run_end(buffer: bytes) -> int:
    """Where a run over the bound that goes on at the start of the buffer ends."""
    match = _LONG_RUN.match(buffer)
    return match.end() if match else 0


def find_packed(
    buffer: bytes,
    before: bytes,
    final: bool,
    triggers: Sequence[int],
    search: Callable[[], Search],
) -> PackedRuns:
    """Find the runs of compressed data in `buffer` (`before` is the byte in front of it).

    `triggers` is where PACKED_TRIGGER stands in the buffer.
    `search` makes a function that is given the content in pieces and says the label of a secret in
    it as soon as it knows one, "" before; an empty piece ends the content.
    """
    text = before + buffer
    shift = len(before)
    marks = []
    hold, goes_on = len(buffer), -1
    for trigger in sorted(triggers):
        start = trigger + shift
        if not _BEGIN.match(text, start):
            continue
        opening = _end(text, start, start + _ENOUGH)
        if opening == len(text) and not final:
            hold = min(hold, trigger)
            continue
        if not _is_packed(text[start:opening]):
            continue
        end = _end(text, start, len(text))
        open_run = end == len(text) and not final
        if end - start > LONGEST_RUN:
            end = start + run_end(text[start:])
            marks.append((start - shift, end - shift, UNCHECKED))
            if end == len(text) and not final:
                goes_on = start - shift
        elif open_run:
            hold = min(hold, start - shift)
        elif label := _content(text[start:end], search()):
            marks.append((start - shift, end - shift, label))
    return PackedRuns(marks, hold, goes_on)


def _end(text: bytes, start: int, limit: int) -> int:
    """Where the run that begins at `start` ends, `limit` at most."""
    match = _RUN.match(text, start, limit)
    return match.end() if match else start


def _decode(run: bytes) -> bytes:
    text = _BREAKS.sub(b"", run).translate(_URLSAFE).rstrip(b"=\\")
    text = text[: len(text) - (len(text) % 4 == 1)]
    return binascii.a2b_base64(text + b"=" * (-len(text) % 4))


def _is_packed(run: bytes) -> bool:
    try:
        zlib.decompressobj(47).decompress(_decode(run), 4096)
    except (zlib.error, binascii.Error):
        return False
    return True


def _content(run: bytes, search: Search) -> str:
    """The label of a secret in the run's content, UNCHECKED when it's too large, or ""."""
    inflater = zlib.decompressobj(47)
    data = _decode(run)
    size = 0
    while data and not inflater.eof:
        try:
            piece = inflater.decompress(data, 1 << 16)
        except zlib.error:
            break
        data = inflater.unconsumed_tail
        size += len(piece)
        if size > LONGEST_CONTENT:
            return UNCHECKED
        if piece and (label := search(piece)):
            return label
    return search(b"")
