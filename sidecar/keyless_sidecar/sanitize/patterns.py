"""The compiled set of everything the sanitizer looks for; built once for each set of secrets.

Called by the sidecar when the vault's values change; shared by all of its streams.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .detectors import DETECT_TRIGGER
from .forms import (
    LETTERS_NOISE,
    VISIBLE_NOISE,
    letters_patterns,
    segments,
    visible_patterns,
)
from .index import Index, Look, Scan
from .packed import PACKED_TRIGGER
from .views import DECODE_TRIGGER
from .weakness import weakness

#: ASCII that is nothing but itself: no control, no beginning of an escape, no mask of a key.
PLAIN = bytes(c for c in range(0x20, 0x7F) if c not in b"%&*\\") + b"\t\n\r"
_MARKED = bytes(c for c in range(256) if c not in PLAIN)
_GATE = 3  # letters that a gate has at least


@dataclass(frozen=True, eq=False)
class Patterns:
    """Compiled patterns. Immutable. The repr shows no value.

    `letters` and `visible` are the patterns of the two projections (see `forms`), `detect` says
    whether credentials that nobody registered are looked for as well, `skipped` lists the
    (label, reason) of values that are too weak to be matched.

    The letters of a visible pattern stand in the letters' projection too. So the index `letters`
    looks for these as well (its gates), and only where it sees one, `visible` is searched. Of
    patterns without letters enough, `wide` says that some aren't ASCII, and `always` that others
    are there: then the search is needed in text that isn't ASCII, or in all.
    """

    letters: Index = field(repr=False)
    visible: Index = field(repr=False)
    detect: bool = True
    skipped: tuple[tuple[str, str], ...] = ()
    wide: bool = False
    always: bool = False

    def scan(self, text: bytes, look: Look | None = None, triggers: bool = True) -> list[Scan]:
        """Search the projections of `text`, for triggers too if they are asked for.

        `look`: of the first projection, where it was taken before.
        """
        first = self.letters.scan(text, look, triggers)
        if not self.visible:
            return [first]
        if first.gate or self.always or (self.wide and not text.isascii()):
            return [first, self.visible.scan(text)]
        return [first, self.visible.unscanned(text)]

    @classmethod
    def build(cls, secrets: Iterable[tuple[str, bytes]], *, detect: bool = True) -> Patterns:
        """Compile `secrets`, pairs of a label and a value.

        The label stands in the output as `[redacted:LABEL]`. Where two secrets share a value (or
        an encoding), the first one's label is used. Weak values (see `weakness`) are left out and
        listed in `skipped`; the vault should have refused them before. With `detect` false only
        registered values are found.
        """
        letters: dict[bytes, str] = {}
        visible: dict[bytes, str] = {}
        skipped = []
        for label, value in secrets:
            reason = weakness(value)
            if reason is not None:
                skipped.append((label, reason))
                continue
            for segment in segments(value):
                for pattern in letters_patterns(segment):
                    letters.setdefault(pattern, label)
                for pattern in visible_patterns(segment):
                    visible.setdefault(pattern, label)
        triggers = [DECODE_TRIGGER, PACKED_TRIGGER] if letters or visible else []
        if detect:
            triggers.append(DETECT_TRIGGER)
        gates = {pattern: pattern.translate(None, LETTERS_NOISE) for pattern in visible}
        without = [pattern for pattern, gate in gates.items() if len(gate) < _GATE]
        return cls(
            letters=Index(
                LETTERS_NOISE,
                letters,
                triggers,
                gates={gate for gate in gates.values() if len(gate) >= _GATE},
                marked=_MARKED,
            ),
            visible=Index(VISIBLE_NOISE, visible),
            detect=detect,
            skipped=tuple(skipped),
            wide=not all(map(bytes.isascii, without)),
            always=any(map(bytes.isascii, without)),
        )
