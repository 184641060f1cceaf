"""Maps places in a projection of a text (see `index`) back to the text."""

from __future__ import annotations

from bisect import bisect_right
from itertools import compress

_BLOCK = 4096
_FEW = 8  # questions about one block, after which all of it is written down


class Positions:
    """Positions of the bytes that a projection keeps; most often few are asked for.

    `text`, the `noise` that its projection leaves out, and `keep`: for each byte, whether it stays.
    """

    def __init__(self, text: bytes, noise: bytes, keep: bytes):
        self._text = text
        self._noise = noise
        self._keep = keep
        self._before = [0]  # how many bytes of the projection stand before each block
        self._asked: dict[int, int] = {}
        self._blocks: dict[int, list[int]] = {}

    def __getitem__(self, place: int) -> int:
        """Where in the text the byte at `place` of the projection stands."""
        text, before = self._text, self._before
        while before[-1] <= place:
            at = (len(before) - 1) * _BLOCK
            if at >= len(text):
                raise IndexError(place)
            before.append(before[-1] + len(text[at : at + _BLOCK].translate(None, self._noise)))
        block = bisect_right(before, place) - 1
        place -= before[block]
        if block in self._blocks:
            return self._blocks[block][place]
        at = block * _BLOCK
        self._asked[block] = asked = self._asked.get(block, 0) + 1
        if asked > _FEW:
            piece = text[at : at + _BLOCK]
            kept = list(compress(range(at, at + len(piece)), piece.translate(self._keep)))
            self._blocks[block] = kept
            return kept[place]
        return self._narrowed(at, place)

    def _narrowed(self, at: int, place: int) -> int:
        """The same for a place in the projection of the block at `at`."""
        size = _BLOCK
        while size > 1:
            size //= 2
            kept = len(self._text[at : at + size].translate(None, self._noise))
            if place >= kept:
                place -= kept
                at += size
        return at
