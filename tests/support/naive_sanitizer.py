"""The sanitizer's search done in the slow and obvious way, for comparison with the real one.

Every pattern is looked for by itself in every projection, what is held back is found by trying all
suffixes, and nothing is left out because the text looks harmless.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from keyless_sidecar.sanitize import StreamSanitizer
from keyless_sidecar.sanitize.binary import BinaryGuard
from keyless_sidecar.sanitize.detectors import DETECT_TRIGGER
from keyless_sidecar.sanitize.forms import (
    LETTERS_NOISE,
    VISIBLE_NOISE,
    letters_patterns,
    segments,
    visible_patterns,
)
from keyless_sidecar.sanitize.index import Hit, Scan, Trigger
from keyless_sidecar.sanitize.packed import PACKED_TRIGGER
from keyless_sidecar.sanitize.terminal import TerminalFilter
from keyless_sidecar.sanitize.views import DECODE_TRIGGER
from keyless_sidecar.sanitize.weakness import weakness


class NaiveIndex:
    """One projection and its patterns."""

    def __init__(self, noise: bytes, patterns: dict[bytes, str], triggers: list[Trigger]):
        self._noise = noise
        self._patterns = patterns
        self._triggers = [
            (text.translate(None, noise), text, trigger.kind)
            for trigger in triggers
            for text in trigger.texts
        ]
        texts = {*patterns, *(text for text, _, _ in self._triggers)}
        self._longest = max(map(len, texts))
        self._beginnings = {text[:size] for text in texts for size in range(1, len(text))}

    def scan(self, text: bytes, **options: bool) -> Scan:
        projected = text.translate(None, self._noise)
        hits = [
            Hit(at, at + len(pattern), label)
            for pattern, label in self._patterns.items()
            for at in _places(projected, pattern)
        ]
        kinds = {(short, kind) for short, whole, kind in self._triggers if whole in text}
        hits += [
            Hit(at, at + len(short), "", kind)
            for short, kind in kinds
            for at in _places(projected, short)
        ]
        tail = projected[-self._longest :]
        return Scan(self, self.positions(text), tail, hits)  # type: ignore[arg-type]

    def pending(self, tail: bytes, spare: bool) -> int:
        for start in range(len(tail)):
            suffix = tail[start:]
            if suffix in self._beginnings or (spare and suffix[:-1] in self._beginnings):
                return len(suffix)
        return 0

    def positions(self, text: bytes) -> list[int]:
        return [at for at, byte in enumerate(text) if byte not in self._noise]

    def from_end(self, text: bytes, length: int) -> int:
        at = len(text)
        while length:
            at -= 1
            length -= text[at] not in self._noise
        return at


def _places(text: bytes, pattern: bytes) -> Iterable[int]:
    at = text.find(pattern)
    while at >= 0:
        yield at
        at = text.find(pattern, at + 1)


class NaivePatterns:
    """What stands in for `Patterns`."""

    def __init__(self, secrets: Iterable[tuple[str, bytes]]):
        letters: dict[bytes, str] = {}
        visible: dict[bytes, str] = {}
        for label, value in secrets:
            for segment in () if weakness(value) else segments(value):
                for pattern in letters_patterns(segment):
                    letters.setdefault(pattern, label)
                for pattern in visible_patterns(segment):
                    visible.setdefault(pattern, label)
        triggers = [DECODE_TRIGGER, PACKED_TRIGGER] if letters or visible else []
        self.letters = NaiveIndex(LETTERS_NOISE, letters, [*triggers, DETECT_TRIGGER])
        self.visible = NaiveIndex(VISIBLE_NOISE, visible, []) if visible else None
        self.detect = True
        self.always = True

    def scan(self, text: bytes, **options: bool) -> list[Scan]:
        return [index.scan(text) for index in (self.letters, self.visible) if index is not None]


class NaiveSanitizer(StreamSanitizer):
    """Searches every buffer in all ways, and all of it."""

    _reach = 1 << 40

    def __init__(self, patterns: NaivePatterns, **options: bool):
        super().__init__(patterns, **options)  # type: ignore[arg-type]
        self._symbols = True

    def feed(self, data: bytes, look: object = None) -> bytes:
        if not data:
            return b""
        buffer = self._held + data
        return self._advance(buffer, self._patterns.scan(buffer), final=False)

    def _search(self):  # type: ignore[no-untyped-def]
        inner = NaiveSanitizer(self._patterns, detect=False, look_inside=False)  # type: ignore[arg-type]

        def search(piece: bytes) -> str:
            _ = inner.feed(piece) if piece else inner.finish()
            return next(iter(inner.redactions), "")

        return search


class NaiveText:
    """Stands in for `TextStream`: each step for each piece."""

    def __init__(self, sanitizer: NaiveSanitizer):
        self._sanitizer = sanitizer
        self._guard = BinaryGuard()
        self._terminal = TerminalFilter()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        clean = self._terminal.feed(self._guard.feed(data))
        return self._decoder.decode(self._sanitizer.feed(clean)).replace("\b", "")

    def finish(self) -> str:
        rest = self._terminal.feed(self._guard.finish(), final=True)
        data = self._sanitizer.feed(rest) + self._sanitizer.finish()
        return self._decoder.decode(data, True).replace("\b", "")
