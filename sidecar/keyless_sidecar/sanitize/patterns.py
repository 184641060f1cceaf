"""The compiled set of everything the sanitizer looks for; built once for each set of secrets.

Called by the sidecar when the vault's values change; shared by all of its streams.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from .detectors import DETECT_TRIGGER
from .forms import (
    LETTERS_NOISE,
    VISIBLE_NOISE,
    letters_patterns,
    segments,
    visible_patterns,
)
from .index import Index
from .packed import PACKED_TRIGGER
from .views import DECODE_TRIGGER
from .weakness import weakness


@dataclass(frozen=True, eq=False)
class Patterns:
    """Compiled patterns. Immutable. The repr shows no value.

    `letters` and `visible` are the patterns of the two projections (see `forms`), `detect` says
    whether credentials that nobody registered are looked for as well, `skipped` lists the
    (label, reason) of values that are too weak to be matched.
    """

    letters: Index = field(repr=False)
    visible: Index = field(repr=False)
    detect: bool = True
    skipped: tuple[tuple[str, str], ...] = ()

    @cached_property
    def indexes(self) -> tuple[Index, ...]:
        """The projections that hold any pattern."""
        return tuple(index for index in (self.letters, self.visible) if index)

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
        return cls(
            letters=Index(LETTERS_NOISE, letters, triggers),
            visible=Index(VISIBLE_NOISE, visible),
            detect=detect,
            skipped=tuple(skipped),
        )
