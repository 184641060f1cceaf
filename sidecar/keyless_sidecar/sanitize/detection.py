"""Finds credentials that nobody registered in the buffers of a stream.

Called by `stream` on buffers in which a trigger of the `detectors` was seen, or a masked key, and
while a credential goes on or an access key id has just passed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .detectors import ACCESS_KEY_ID, ALL, MORE, START, START_NEAR, WHOLE, WHOLE_NEAR

_NEIGHBOUR = 256  # bytes after an access key id in which its secret is looked for
_KEY_BODY = 16_384
_MASK = b"*" * 8
_LONGEST_NEIGHBOUR = 100
#: How the placeholders of the egress proxy begin: worthless, and used in later cells.
#: As short as the shortest body of a detector, since the rest may be in the next buffer.
_PLACEHOLDER = re.compile(
    rb"A[KS]IAKEYL|keyless0[A-Za-z0-9/+]{32}|keylessplacehold|gh[pousr]_keyless|github_pat_keyless"
)
_KEY_END = re.compile(rb"-{1,5}\Z|-{5}E(?:N(?:D)?)?\Z")
_MASKED = re.compile(rb"\*{8,}|\*+\Z")


@dataclass(frozen=True)
class Found:
    """A credential: it begins (with what tells it) at `whole`; [start, end) is to be redacted.

    `more` is the number of the detector whose credential goes on at the end of the buffer, or -1;
    `room` is how many bytes of it may still be swallowed.
    """

    label: str
    whole: int
    start: int
    end: int
    more: int = -1
    room: int = 0


@dataclass(frozen=True)
class DetectorState:
    """What one stream carries from buffer to buffer; positions count from the buffer's start.

    `resume`: nothing before it is looked at again. `near`: up to here an access key id's secret
    is looked for. `more`, `room`: as in `Found`, for a credential that goes on at `resume`.
    """

    resume: int = 0
    near: int = 0
    more: int = -1
    room: int = 0

    @property
    def active(self) -> bool:
        return self.more >= 0 or self.near > 0 or self.resume > 0


def masked(buffer: bytes) -> bool:
    """Whether a masked key (`****************ABCD`) may stand or begin in the buffer."""
    return b"*" in buffer and (_MASK in buffer or buffer.endswith(b"*"))


class Detection:
    """One pass of the detectors over one buffer.

    After it, `found` are the credentials, `covered` is where one that goes on from the buffer
    before ends (0 if none), and `hold` is from where the buffer must be held back.
    """

    def __init__(
        self,
        buffer: bytes,
        before: bytes,
        state: DetectorState,
        final: bool,
        triggers: Sequence[int],
    ):
        """`before` is the byte in front of the buffer, or empty at the start of the stream.

        `triggers` is where the triggers stand in the buffer.
        """
        self._text = before + buffer
        self._shift = len(before)
        self._final = final
        self._state = state
        self._ids: list[tuple[int, int]] = []
        self.found: list[Found] = []
        self.hold = len(buffer)
        self.covered = 0
        if state.more >= 0:
            end, more, room = self._swallow(state.resume + self._shift, state.more, state.room)
            self.covered = end - self._shift
            self._state = DetectorState(self.covered, state.near, more, room)
        stars = [m.start() for m in _MASKED.finditer(buffer)] if masked(buffer) else []
        self._run(self._state.resume + self._shift, sorted({*triggers, *stars}))

    def state_at(self, cut: int) -> DetectorState:
        """The state for the buffer that begins at `cut` of this one."""
        resume, near = max(self._state.resume, cut), self._state.near
        more, room = self._state.more, self._state.room
        for found in self.found:
            if found.start < cut:
                resume, more, room = max(cut, found.end), found.more, found.room
        for start, end in self._ids:
            if start < cut:
                resume, near = max(resume, end), max(near, end + _NEIGHBOUR)
        return DetectorState(resume - cut, max(0, near - cut), more, room)

    def _run(self, at: int, triggers: list[int]) -> None:
        text, shift = self._text, self._shift
        near = self._state.near + shift if self._state.near else 0
        for trigger in triggers:
            place = trigger + shift
            at, near = self._run_near(at, min(near, place), near)
            if place < at:
                continue
            match = WHOLE.match(text, place)
            if match is not None and not self._unsettled(match):
                at, near = self._add(match, near)
            elif not self._final and START.match(text, place):
                self.hold = min(self.hold, trigger)
        begin = at
        at, near = self._run_near(at, near, near)
        if not self._final and near > begin:
            start = START_NEAR.search(text, max(at, len(text) - _LONGEST_NEIGHBOUR))
            if start is not None and start.start() < near:
                self.hold = min(self.hold, start.start() - shift)

    def _run_near(self, at: int, end: int, near: int) -> tuple[int, int]:
        """Add the secrets of an access key id that begin between `at` and `end`."""
        while at < end and (match := _near_secret(self._text, at, end)) is not None:
            if self._unsettled(match):
                self.hold = min(self.hold, match.start() - self._shift)
                break
            at, near = self._add(match, near)
        return at, near

    def _unsettled(self, match: re.Match[bytes]) -> bool:
        """Whether the next byte of the stream may still undo a match at the buffer's end."""
        number = int((match.lastgroup or "d0")[1:])
        return bool(ALL[number].after) and match.end() == len(self._text) and not self._final

    def _add(self, match: re.Match[bytes], near: int) -> tuple[int, int]:
        """Note what was found; return where to go on, and `near`."""
        at, shift = match.end(), self._shift
        number = int((match.lastgroup or "d0")[1:])
        if _PLACEHOLDER.match(self._text, match.start(f"d{number}")):
            return at, near
        if number == ACCESS_KEY_ID:
            self._ids.append((match.start() - shift, at - shift))
            return at, at + _NEIGHBOUR
        start = match.start(f"d{number}") - shift
        at, more, room = self._swallow(at, number, _KEY_BODY)
        label = ALL[number].label
        self.found.append(Found(label, match.start() - shift, start, at - shift, more, room))
        return at, near

    def _swallow(self, at: int, number: int, room: int) -> tuple[int, int, int]:
        """(where the rest of a credential ends, `more`, `room` left) as in `Found`."""
        detector, text = ALL[number], self._text
        if not detector.more:
            return at, -1, 0
        match = MORE[number].match(text, at)
        end = match.end() if match else at
        if detector.label != "private-key":
            return end, (number if end == len(text) else -1), room
        if end - at >= room:
            return at + room, -1, 0
        if self._final:
            return end, -1, 0
        cut = _KEY_END.search(text, max(at, len(text) - 8))
        if cut is not None and cut.start() <= end:
            self.hold = min(self.hold, cut.start() - self._shift)
            return cut.start(), number, room - (cut.start() - at)
        return end, (number if end == len(text) else -1), room - (end - at)


def _near_secret(text: bytes, at: int, near: int) -> re.Match[bytes] | None:
    """The first secret-like word that begins between `at` and `near`."""
    while at < near:
        match = WHOLE_NEAR.search(text, at, near + _LONGEST_NEIGHBOUR)
        if match is None or match.start() >= near:
            return None
        word = match[0]
        # A git hash or a number is no secret key: those mix cases and digits.
        if len(word) > 40 or (
            word.upper() != word and word.lower() != word and any(c in b"0123456789" for c in word)
        ):
            return match
        at = match.end()
    return None
