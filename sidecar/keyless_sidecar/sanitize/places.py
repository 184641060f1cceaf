"""Maps places in a projection of a text (see `index`) back to the text."""

from __future__ import annotations

from bisect import bisect_right

_BLOCK = 4096


class Positions:
    """Positions of the bytes that a projection keeps. Made for few questions, each answered late.

    `text`, and the `noise` that its projection leaves out.
    """

    def __init__(self, text: bytes, noise: bytes):
        self._text = text
        self._noise = noise
        self._before = [0]  # how many bytes of the projection stand before each block

    def __getitem__(self, place: int) -> int:
        """Where in the text the byte at `place` of the projection stands."""
        text, noise, before = self._text, self._noise, self._before
        while before[-1] <= place:
            at = (len(before) - 1) * _BLOCK
            if at >= len(text):
                raise IndexError(place)
            before.append(before[-1] + len(text[at : at + _BLOCK].translate(None, noise)))
        block = bisect_right(before, place) - 1
        at, size = block * _BLOCK, _BLOCK
        place -= before[block]
        while size > 1:
            size //= 2
            kept = len(text[at : at + size].translate(None, noise))
            if place >= kept:
                place -= kept
                at += size
        return at
