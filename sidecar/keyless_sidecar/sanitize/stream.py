"""The streaming sanitizer: bytes in, bytes out, every known secret replaced by `[redacted:NAME]`.

Called by `text.TextStream` for a tool's output, by `sanitize_text` and by `scan_file`. However the
input is cut into pieces, the output is the same. Only what may begin a secret is held back, by no
clock: at most HOLD_BOUND bytes, and MAX_HELD where base64 of compressed data begins.

How it works: each call makes a buffer of what was held and what is new, and looks for secrets in
several views of it (`views`, `dumps`), with the detectors (`detection`), and in `packed` data.
Each of these gives the spans to redact, and from where on it can't decide yet. The buffer is cut
at the earliest of these points; what is before goes out, the rest is held.
"""

from __future__ import annotations

from .detection import Detection, DetectorState, masked
from .dumps import may_hold_dump, read_dump, unfinished_line
from .forms import LETTERS_NOISE
from .index import Index, Look, Scan
from .packed import LONGEST_RUN, Search, find_packed, run_end
from .patterns import Patterns
from .views import View, decode, needs_decoding, safe_cut

SPAN = 4096  # bytes in the stream over which a pattern may be spread by noise
HOLD_BOUND = SPAN + 2048
MAX_HELD = LONGEST_RUN + HOLD_BOUND

Mark = tuple[int, int, str]


class StreamSanitizer:
    """Sanitizes one stream. Owned by the task that reads the stream; not shared.

    `redactions` counts the replacements made so far, by label.
    """

    _reach = SPAN + 1

    def __init__(self, patterns: Patterns, *, detect: bool = True, look_inside: bool = True):
        """`detect`: look for unregistered credentials too (if `patterns` does). `look_inside`:
        decode base64 runs of compressed data."""
        self._patterns = patterns
        self._letters = patterns.letters
        self._visible = patterns.visible
        self._always = patterns.always
        self._symbols = bool(patterns.visible)
        self._detect = detect and patterns.detect
        self._look_inside = look_inside
        self._held = b""
        self._before = b""  # the byte in front of what is held
        self._covered = 0  # how much of what is held belongs to a span that is replaced already
        self._state = DetectorState()
        self._shown = 0  # how much of what is held went out already (see `show_held`)
        self._packed_run = False  # a run over the bound goes on at the start of what is held
        self._busy = False  # whether something found before goes on
        self.redactions: dict[str, int] = {}

    @property
    def held(self) -> int:
        """How many bytes are held back now."""
        return len(self._held)

    def look(self, data: bytes) -> Look:
        """The quick half of the search of what `feed` would take next.

        For a caller that wants to know whether all that `data` and what is held consists of is
        plain (see `patterns.PLAIN`).
        """
        return self._letters.look(self._held + data)

    def feed(self, data: bytes, look: Look | None = None) -> bytes:
        """Take the next piece of the stream; return what may go out now.

        `look`: what the method of this name told of the same `data`, so that it isn't done twice.
        """
        if not data:
            return b""
        buffer = self._held + data
        if look is None:
            look = self._letters.look(buffer)
        projected, marked, found = look
        loud = self._busy or b"\n0" in buffer or (buffer[0] == 0x30 and self._line_start)
        if loud or found or marked or self._always:
            scans = self._patterns.scan(buffer, look)
            if (
                loud
                or scans[0].hits
                or scans[-1].hits
                or needs_decoding(buffer, self._symbols)
                or masked(buffer)
            ):
                return self._advance(buffer, scans, final=False)
        # The quick way: there is nothing in the buffer but, perhaps, the beginning of a secret.
        cut = size = len(buffer)
        if projected:
            tail = projected[-self._letters.longest :]
            cut = _held_from(self._letters, tail, buffer, size, True)
        if self._symbols:
            tail = self._visible.tail(buffer)
            cut = min(cut, _held_from(self._visible, tail, buffer, size, True))
        if shown := self._shown:
            cut = self._beyond_shown(cut)
            self._shown = 0 if cut else shown
        self._held = buffer[cut:]
        if cut:
            self._before = buffer[cut - 1 : cut]
        return buffer if cut == size and not shown else buffer[shown:cut]

    def show_held(self, most: int) -> bytes:
        """Return what is held back, if it has at most `most` letters and digits.

        For a prompt whose last letters may begin a secret. They stay in the search, and the rest of
        a secret is replaced as ever: `most` of its characters may be seen, which is less than the
        search takes for a part of it anyway.
        """
        if self._covered or self._packed_run or self._state.active or masked(self._held):
            return b""
        if len(self._held.translate(None, LETTERS_NOISE)) > most:
            return b""
        shown, self._shown = self._shown, len(self._held)
        return self._held[shown:]

    def finish(self) -> bytes:
        """End the stream; return what was held back."""
        buffer = self._held
        return self._advance(buffer, self._patterns.scan(buffer), final=True)

    @property
    def _line_start(self) -> bool:
        return self._before in (b"", b"\n")

    def _advance(self, buffer: bytes, scans: list[Scan], final: bool) -> bytes:
        marks: list[Mark] = []
        unsafe: list[tuple[int, int]] = []  # (a, b): no cut at a < cut < b
        triggers: dict[str, list[int]] = {}
        cut = self._look(buffer, scans, final, marks, unsafe, triggers)
        if self._packed_run:
            end = run_end(buffer)
            self._covered = max(self._covered, end)
            self._packed_run = end == len(buffer) and not final
        guessed: list[Mark] = []
        goes_on = -1
        if self._look_inside and "packed" in triggers:
            packed = find_packed(buffer, self._before, final, triggers["packed"], self._search)
            guessed += packed.marks
            cut, goes_on = min(cut, packed.hold), packed.goes_on
        detection = None
        if self._detect and ("detect" in triggers or self._state.active or masked(buffer)):
            places = triggers.get("detect", [])
            detection = Detection(buffer, self._before, self._state, final, places)
            self._covered = max(self._covered, detection.covered)
            guessed += [(found.start, found.end, found.label) for found in detection.found]
            unsafe += [(found.whole, found.start + 1) for found in detection.found]
            cut = min(cut, detection.hold)
        cut = len(buffer) if final else self._beyond_shown(safe_cut(cut, unsafe))
        if detection is not None:
            self._state = detection.state_at(cut)
        if 0 <= goes_on < cut:
            self._packed_run = True
        out = self._emit(buffer, cut, marks, guessed)
        self._shown = 0 if cut or final else self._shown
        self._held = buffer[cut:]
        self._before = buffer[cut - 1 : cut] if cut else self._before
        self._busy = bool(self._covered or self._packed_run or self._state.active)
        return out

    def _beyond_shown(self, cut: int) -> int:
        """Where to cut: not inside of what was shown already, so that its rest can be replaced."""
        return cut if cut >= self._shown else 0

    def _look(
        self,
        buffer: bytes,
        scans: list[Scan],
        final: bool,
        marks: list[Mark],
        unsafe: list[tuple[int, int]],
        triggers: dict[str, list[int]],
    ) -> int:
        """Search the views; add to `marks`, `unsafe`, `triggers`; return from where on to hold."""
        cut = size = len(buffer)
        plain = View.plain(buffer)
        for scan in scans:
            cut = min(cut, _search_view(scan, plain, size, not final, False, marks, triggers))
        if "decode" in triggers or needs_decoding(buffer, self._symbols):
            numbers = "decode" in triggers
            decoded = decode(buffer, final, numbers, self._symbols, self._reach)
            unsafe += decoded.tokens
            cut = min(cut, decoded.cut)
            spare = not final and decoded.cut == size
            for view in decoded.views:
                for scan in self._patterns.scan(view.text, triggers=False):
                    held = _search_view(scan, view, size, spare, spare, marks, {})
                    if view is decoded.views[-1]:
                        cut = min(cut, held)
        if may_hold_dump(buffer, self._line_start):
            cut = min(cut, self._look_at_dump(buffer, final, marks, unsafe))
        return cut

    def _look_at_dump(
        self, buffer: bytes, final: bool, marks: list[Mark], unsafe: list[tuple[int, int]]
    ) -> int:
        cut = len(buffer) if final else unfinished_line(buffer, self._line_start)
        dump = read_dump(buffer, self._line_start, final)
        if dump is None:
            return cut
        unsafe += dump.lines
        found: list[Mark] = []
        scan = self._patterns.letters.scan(dump.view.text, triggers=False)
        at = _search_view(scan, dump.view, len(buffer), False, False, found, {})
        marks += [(start, max(end, dump.line_end(end - 1)), label) for start, end, label in found]
        return min(cut, at)

    def _search(self) -> Search:
        """A search for registered secrets, for what is inside compressed data."""
        inner = StreamSanitizer(self._patterns, detect=False, look_inside=False)

        def search(piece: bytes) -> str:
            if piece:
                inner.feed(piece)
            else:
                inner.finish()
            return next(iter(inner.redactions), "")

        return search

    def _emit(self, buffer: bytes, cut: int, marks: list[Mark], guessed: list[Mark]) -> bytes:
        """The output for buffer[:cut]. Marks that overlap are one; of equals no `guessed` one."""
        out = []
        shown = self._shown if cut else 0
        places = sorted(
            (max(start, shown), stop, guess, label)
            for guess, each in enumerate((marks, guessed))
            for start, stop, label in each
            if stop > shown
        )
        end = max(self._covered, shown)
        for start, stop, _, label in places:
            if start >= cut:
                break
            if start >= end:
                out.append(buffer[end:start])
                out.append(b"[redacted:%b]" % label.encode())
                self.redactions[label] = self.redactions.get(label, 0) + 1
            end = max(end, stop)
        if end < cut:
            out.append(buffer[end:cut])
        self._covered = max(0, end - cut)
        return b"".join(out)


def _search_view(
    scan: Scan,
    view: View,
    size: int,
    spare: bool,
    settle: bool,
    marks: list[Mark],
    triggers: dict[str, list[int]],
) -> int:
    """Take over what a scan of one view found; return from where in the buffer to hold back.

    `size` of the buffer. `spare`: a backspace may still take back the view's last byte; `settle`:
    then a match that ends with it isn't certain. Adds to `marks`, and the places of triggers to
    `triggers`.
    """
    hold = size
    if scan.hits:
        positions = scan.positions
        for hit in scan.hits:
            if hit.kind == "decode":  # asks for another view of all, whatever the place
                triggers["decode"] = []
                continue
            start = view.start(positions[hit.start])
            if hit.kind:
                triggers.setdefault(hit.kind, []).append(start)
                continue
            end = view.end(positions[hit.end - 1])
            if end - start <= SPAN:
                marks.append((start, end, hit.label))
                if settle and end == size:
                    hold = min(hold, start)
    return min(hold, _held_from(scan.patterns, scan.tail, view.text, size, spare, view))


def _held_from(
    index: Index, tail: bytes, text: bytes, size: int, spare: bool, view: View | None = None
) -> int:
    """From where in the buffer, of `size`, the longest beginning of a secret stands at its end.

    `text`: of the view, or the buffer itself; its projection ends with `tail`.
    """
    while length := index.pending(tail, spare):
        start = index.from_end(text, length)
        if view is not None:
            start = view.start(start)
        if size - start <= SPAN:
            return start
        tail = tail[1 - length :] if length > 1 else b""
    return size
