"""Finds many byte patterns in one projection of a stream, and says what must be held back.

Called by `stream` through `patterns` and `views`. A *projection* is the stream without its noise
bytes: white space and punctuation, so that `A-K-I-A`, one character a line and line-wrapped base64
all look like the plain text. One Aho-Corasick automaton runs over the projection. It doesn't hold
the patterns but one short piece of each, rare in ordinary output (its anchor, see `rarity`), and a
hit is then compared with the whole pattern: with many thousands of patterns that keeps the
automaton small, and on ordinary text it stays near its root.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ahocorasick_rs import BytesAhoCorasick, Implementation

from .places import Positions
from .rarity import anchor, rarity

_STEM = 3
_HEAD = 5
# Up to so many patterns the automaton is a table, with a row of 256 bytes for each state; over it,
# a compact form, half as fast. Then anchors (and those made of hexadecimal digits) are longer, for
# fewer of so many stand in a text by chance. A thousand of AWS's secret keys are 110,000 patterns.
_TABLE = 120_000
_ANCHORS = (4, 6)
_MANY_ANCHORS = (5, 8)
_HEADS_TABLE = 2000
#: What stands for a marked byte in a projection.
_MARK = 0xFF


class Trigger(NamedTuple):
    """A short text after which a slower search is worth while.

    `kind` says which search; `texts` are the texts whose projection is the trigger. `more` is
    what must match where one stands, as the search can do nothing without. With `then`, no places
    are asked for and one hit is enough: `more` is looked for in all of the text as soon as the
    projection goes on with two bytes of `then`, or ends.
    """

    kind: str
    texts: tuple[bytes, ...]
    more: re.Pattern[bytes] | None = None
    then: bytes = b""


class Hit(NamedTuple):
    """A pattern at [start, end) of a projection: a secret's (then `kind` is "") or a trigger."""

    start: int
    end: int
    label: str
    kind: str = ""


#: What the automaton alone tells: the projection; whether a marked byte stands in the text; where
#: an anchor or a trigger stands, as (number, start, end). No class, as it is made for each piece.
Look = tuple[bytes, bool, list[tuple[int, int, int]]]


class Scan(NamedTuple):
    """What a projection of a text holds; `positions` maps places in it back to the text.

    `tail` is its end, as long as `Index.pending` may need; `hits` are all patterns, overlapping
    ones too, in no set order. `gate`: whether one of the gates stands in the projection.
    """

    patterns: Index
    positions: Positions
    tail: bytes
    hits: list[Hit]
    gate: bool = False


class Index:
    """The patterns of one projection, compiled. Immutable; shared by all streams.

    Inside, the bytes that the projection keeps are numbered from 0 on, without a gap: the automaton
    has a row for each state, as long as its alphabet, so that is half of the memory.
    """

    def __init__(
        self,
        noise: bytes,
        patterns: Mapping[bytes, str],
        triggers: Sequence[Trigger] = (),
        *,
        gates: Collection[bytes] = (),
        marked: bytes = b"",
    ):
        """Compile `patterns`, projected bytes of 8 or more → label, and `triggers`.

        `noise` holds the byte values that the projection leaves out. `gates` are projected bytes
        too, of which a scan only says whether any was seen. `marked` are those bytes of the noise
        of which a scan says whether any was seen.
        """
        self.noise = noise
        kept = bytes(c for c in range(256) if c not in noise)
        codes = bytearray(range(256))
        for code, byte in enumerate(kept):
            codes[byte] = code
        for byte in marked:
            codes[byte] = _MARK
        self._codes = bytes(codes)
        self._unmarked = bytes(c for c in noise if c not in marked)
        self._keep = bytes(c not in noise for c in range(256))
        starts = _merged(noise, triggers)
        self._triggers = [
            trigger._replace(then=self._coded(trigger.then)) for trigger in starts.values()
        ]
        known = sorted(patterns)
        whole = [*known, *sorted(gates)]
        table = len(whole) <= _TABLE
        sizes = _ANCHORS if table else _MANY_ANCHORS
        places = [anchor(pattern, rarity(noise), sizes) for pattern in whole]
        self._offsets = bytes(at for at, _ in places)
        self._labels = [patterns[pattern] for pattern in known]
        self._wholes = [self._coded(pattern) for pattern in whole]
        self._anchors = _automaton(
            [
                *map(self._coded, starts),
                *(
                    pattern[at : at + size]
                    for pattern, (at, size) in zip(self._wholes, places, strict=True)
                ),
            ],
            table,
        )
        self._sorted = sorted({*self._wholes[: len(known)], *map(self._coded, starts)})
        self.longest = max(map(len, self._sorted), default=0)
        self._short = frozenset(p[:n] for p in self._sorted for n in (1, 2, 3) if len(p) > n)
        stems, self._stem_at = _ranges(self._sorted, _STEM)
        self._stems = {stem: number for number, stem in enumerate(stems)}
        heads, self._head_at = _ranges(self._sorted, _HEAD)
        self._heads = _automaton(heads, len(heads) <= _HEADS_TABLE)

    def __bool__(self) -> bool:
        return bool(self._sorted)

    def _coded(self, kept: bytes) -> bytes:
        return kept.translate(self._codes)

    def look(self, text: bytes) -> Look:
        """The quick half of a scan."""
        projected = text.translate(self._codes, self._unmarked)
        marked = _MARK in projected
        if marked:
            projected = projected.translate(None, bytes([_MARK]))
        if self._anchors is None:
            return projected, marked, []
        return (
            projected,
            marked,
            self._anchors.find_matches_as_indexes(projected, overlapping=True),
        )

    def scan(self, text: bytes, look: Look | None = None, triggers: bool = True) -> Scan:
        """Find all patterns in the projection of `text`, and all triggers if they are asked for.

        `look` is the quick half, if it is done already.
        """
        projected, _, found = look or self.look(text)
        tail = projected[-self.longest :]
        positions = Positions(text, self.noise, self._keep)
        if not found:
            return Scan(self, positions, tail, [])
        hits, gate = self._verified(found, projected, text, positions if triggers else None)
        return Scan(self, positions, tail, hits, gate)

    def unscanned(self, text: bytes) -> Scan:
        """The scan of a text in which no pattern can stand whole."""
        return Scan(self, Positions(text, self.noise, self._keep), self.tail(text), [])

    def tail(self, text: bytes) -> bytes:
        """The end of the projection of `text`, as long as `pending` may need."""
        longest = self.longest
        size = 2 * longest
        while True:
            tail = text[-size:].translate(self._codes, self.noise)
            if len(tail) >= longest or size >= len(text):
                return tail[-longest:]
            size *= 4

    def from_end(self, text: bytes, length: int) -> int:
        """Where in `text` the last `length` bytes of its projection begin."""
        keep = self._keep
        at = len(text)
        while length:
            at -= 1
            length -= keep[text[at]]
        return at

    def _verified(
        self,
        found: list[tuple[int, int, int]],
        projected: bytes,
        text: bytes,
        positions: Positions | None,
    ) -> tuple[list[Hit], bool]:
        hits, gate = [], False
        asked: set[int] = set()
        first = len(self._triggers)
        for number, start, end in found:
            if number < first:
                if positions is None:
                    continue
                trigger = self._triggers[number]
                if trigger.then:
                    if number in asked or projected[end : end + 2].strip(trigger.then):
                        continue
                    asked.add(number)
                if _stands(trigger, text, positions, start):
                    hits.append(Hit(start, end, "", trigger.kind))
                continue
            number -= first
            begin, pattern = start - self._offsets[number], self._wholes[number]
            if begin >= 0 and projected.startswith(pattern, begin):
                if number < len(self._labels):
                    hits.append(Hit(begin, begin + len(pattern), self._labels[number]))
                else:
                    gate = True
        return hits, gate

    def pending(self, tail: bytes, spare: bool) -> int:
        """The length of the longest suffix that is a proper prefix of a pattern, or 0.

        `tail`: of a scan. With `spare`, the last byte may yet be taken back by a backspace: then a
        suffix whose last byte is dropped counts as well.
        """
        # What goes on as a pattern, goes on as one without its last byte too: with `spare` it is
        # enough to look for that.
        size = len(tail)
        end = size - spare
        if self._heads is not None and size >= _HEAD:
            for number, start, stop in self._heads.find_matches_as_indexes(tail, overlapping=True):
                if stop <= end and self._goes_on(tail[start:end], self._head_at, number):
                    return size - start
        if end > _STEM:
            number = self._stems.get(tail[end - _STEM - 1 : end - 1], -1)
            if number >= 0 and self._goes_on(tail[end - _STEM - 1 : end], self._stem_at, number):
                return _STEM + 1 + spare
        short = self._short
        for length in (3, 2, 1):
            if length <= end and tail[end - length : end] in short:
                return length + spare
        return 1 if spare and tail[-1:] in short else 0

    def _goes_on(self, text: bytes, ranges: array[int], number: int) -> bool:
        """Whether a pattern of the range `number` of `ranges` goes on after `text`."""
        patterns, at, end = self._sorted, ranges[number], ranges[number + 1]
        if end - at > 1:
            at = bisect_left(patterns, text, at, end)
            at += at < end and patterns[at] == text
            return at < end and patterns[at].startswith(text)
        return len(patterns[at]) > len(text) and patterns[at].startswith(text)


def _stands(trigger: Trigger, text: bytes, positions: Positions, start: int) -> bool:
    """Whether a trigger that begins at `start` of the projection stands in the text itself."""
    more = trigger.more
    if more is not None and trigger.then:
        return more.search(text) is not None
    at = positions[start]
    return text.startswith(trigger.texts, at) and (more is None or more.match(text, at) is not None)


def _ranges(patterns: list[bytes], size: int) -> tuple[list[bytes], array[int]]:
    """The beginnings, of this `size`, of longer sorted patterns, and where each stands first."""
    found: dict[bytes, int] = {}
    for at, pattern in enumerate(patterns):
        if len(pattern) > size:
            found.setdefault(pattern[:size], at)
    return list(found), array("I", [*found.values(), len(patterns)])


def _automaton(patterns: list[bytes], table: bool) -> BytesAhoCorasick | None:
    if not patterns:
        return None
    kind = Implementation.DFA if table else Implementation.ContiguousNFA
    return BytesAhoCorasick(patterns, implementation=kind)


def _merged(noise: bytes, triggers: Sequence[Trigger]) -> dict[bytes, Trigger]:
    """The triggers by projection; those of one kind and projection are one."""
    merged: dict[bytes, Trigger] = {}
    for trigger in triggers:
        for text in trigger.texts:
            projected = text.translate(None, noise)
            texts = merged[projected].texts if projected in merged else ()
            merged[projected] = trigger._replace(texts=(*texts, text))
    return merged
