"""Finds many byte patterns in one projection of a stream, and says what must be held back.

Called by `stream` through `views`. A *projection* is the stream without its noise bytes: white
space and punctuation, so that `A-K-I-A`, one character a line and line-wrapped base64 all look like
the plain text. One Aho-Corasick automaton runs over the projection. It doesn't hold the patterns
but one short rare piece of each (its anchor), and a hit is then compared with the whole pattern:
with many thousands of patterns that keeps the automaton small, and on ordinary text it stays near
its root.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, compress
from typing import NamedTuple

from ahocorasick_rs import BytesAhoCorasick, Implementation

_ANCHOR = 5
_HEAD = 4
_BLOCK = 512
_DFA_PATTERNS = 20_000
_NUMBER_ANCHOR = 8
_NUMBER = frozenset(b"0123456789abcdefABCDEF")
_WEIGHTS = bytes(
    4 if c in b"etaoinsrhldcu" else 1 if c in b"qzxjk" or 65 <= c <= 90 else 2 for c in range(256)
)


class Trigger(NamedTuple):
    """A short text after which a slower search is worth while.

    `kind` says which search; `texts` are the texts whose projection is the trigger.
    """

    kind: str
    texts: tuple[bytes, ...]


class Hit(NamedTuple):
    """A pattern at [start, end) of a projection: a secret's (then `kind` is "") or a trigger."""

    start: int
    end: int
    label: str
    kind: str = ""


class Scan(NamedTuple):
    """What a projection of a text holds: all patterns, overlapping ones too, in no set order."""

    patterns: Index
    projected: bytes
    hits: list[Hit]


class Positions:
    """Maps places in a projection back to the text. Works block by block, as few are asked for."""

    def __init__(self, text: bytes, noise: bytes, keep: bytes):
        self._text = text
        self._keep = keep
        sizes = (
            len(text[at : at + _BLOCK].translate(None, noise)) for at in range(0, len(text), _BLOCK)
        )
        self._before = list(accumulate(sizes, initial=0))
        self._blocks: dict[int, list[int]] = {}

    def __getitem__(self, place: int) -> int:
        block = bisect_right(self._before, place) - 1
        kept = self._blocks.get(block)
        if kept is None:
            at = block * _BLOCK
            piece = self._text[at : at + _BLOCK]
            kept = list(compress(range(at, at + len(piece)), piece.translate(self._keep)))
            self._blocks[block] = kept
        return kept[place - self._before[block]]


class Index:
    """The patterns of one projection, compiled. Immutable; shared by all streams."""

    def __init__(
        self, noise: bytes, patterns: Mapping[bytes, str], triggers: Sequence[Trigger] = ()
    ):
        """Compile `patterns`, projected bytes of 8 or more → label, and `triggers`.

        `noise` holds the byte values that the projection leaves out.
        """
        self.noise = noise
        starts = _merged(noise, triggers)
        self._keep = bytes(c not in noise for c in range(256))
        anchors: dict[bytes, list[tuple[int, bytes, str]]] = {}
        for pattern, label in patterns.items():
            at, size = _anchor(pattern)
            anchors.setdefault(pattern[at : at + size], []).append((at, pattern, label))
        self._triggers = [*starts.values(), *(None for _ in anchors)]
        self._candidates = [*([] for _ in starts), *anchors.values()]
        self._sorted = sorted({*patterns, *starts})
        self.longest = max(map(len, self._sorted), default=0)
        self._anchors = _automaton([*starts, *anchors])
        heads = {p[:_HEAD] for p in self._sorted if len(p) > _HEAD}
        self._heads = _automaton(sorted(heads))
        self._short = frozenset(p[:n] for p in self._sorted for n in range(1, _HEAD) if len(p) > n)

    def __bool__(self) -> bool:
        return bool(self._sorted)

    def positions(self, text: bytes) -> Positions:
        """Where in `text` the bytes of its projection stand."""
        return Positions(text, self.noise, self._keep)

    def scan(self, text: bytes) -> Scan:
        """Find all patterns in the projection of `text`."""
        projected = text.translate(None, self.noise)
        if self._anchors is None:
            return Scan(self, projected, [])
        found = self._anchors.find_matches_as_indexes(projected, overlapping=True)
        return Scan(self, projected, self._verified(found, projected, text) if found else [])

    def from_end(self, text: bytes, length: int) -> int:
        """Where in `text` the last `length` bytes of its projection begin."""
        keep = self._keep
        at = len(text)
        while length:
            at -= 1
            length -= keep[text[at]]
        return at

    def _verified(
        self, found: list[tuple[int, int, int]], projected: bytes, text: bytes
    ) -> list[Hit]:
        hits = []
        known: dict[int, bool] = {}
        for number, start, end in found:
            trigger = self._triggers[number]
            if trigger is not None:
                if number not in known:
                    known[number] = any(piece in text for piece in trigger.texts)
                if known[number]:
                    hits.append(Hit(start, end, "", trigger.kind))
                continue
            for offset, pattern, label in self._candidates[number]:
                begin = start - offset
                if begin >= 0 and projected.startswith(pattern, begin):
                    hits.append(Hit(begin, begin + len(pattern), label))
        return hits

    def pending(self, projected: bytes, spare: bool) -> list[int]:
        """Lengths, longest first, of the suffixes that are proper prefixes of a pattern.

        With `spare`, the last byte may yet be taken back by a backspace: then a suffix whose last
        byte is dropped counts as well.
        """
        tail = projected[-self.longest :]
        short = self._short
        lengths = []
        if self._heads is not None:
            for _, start, _ in self._heads.find_matches_as_indexes(tail, overlapping=True):
                suffix = tail[start:]
                if self._begins(suffix) or (spare and self._begins(suffix[:-1])):
                    lengths.append(len(suffix))
        for length in (4, 3, 2, 1):
            suffix = tail[-length:]
            if len(suffix) == length and (suffix in short or (spare and suffix[:-1] in short)):
                lengths.append(length)
        return lengths

    def _begins(self, text: bytes) -> bool:
        """Whether `text` is a proper prefix of a pattern."""
        at = bisect_left(self._sorted, text)
        if at < len(self._sorted) and self._sorted[at] == text:
            at += 1
        return at < len(self._sorted) and self._sorted[at].startswith(text)


def _automaton(patterns: list[bytes]) -> BytesAhoCorasick | None:
    if not patterns:
        return None
    small = len(patterns) <= _DFA_PATTERNS
    return BytesAhoCorasick(patterns, implementation=Implementation.DFA if small else None)


def _merged(noise: bytes, triggers: Sequence[Trigger]) -> dict[bytes, Trigger]:
    """The triggers by projection; those of one kind and projection are one."""
    merged: dict[bytes, Trigger] = {}
    for trigger in triggers:
        for text in trigger.texts:
            projected = text.translate(None, noise)
            texts = merged[projected].texts if projected in merged else ()
            merged[projected] = Trigger(trigger.kind, (*texts, text))
    return merged


def _anchor(pattern: bytes) -> tuple[int, int]:
    """Where the piece of the pattern begins that is rarest in ordinary text, and its length."""
    size = _NUMBER_ANCHOR if _NUMBER.issuperset(pattern) else _ANCHOR
    starts = range(max(1, len(pattern) - size + 1))
    return min(starts, key=lambda at: _cost(pattern[at : at + size])), size


def _cost(piece: bytes) -> int:
    """How common a piece is; the first two bytes count most, as they keep the automaton busy."""
    weights = piece.translate(_WEIGHTS)
    return weights[0] + weights[1] + sum(weights)
