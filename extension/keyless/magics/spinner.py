"""One line that says what is being waited for, and for how long; gone when the wait is over.

It comes when nothing was heard for a second, and is redrawn in place, at most once a second.  No
thread draws it: the main thread does, while it waits for the sidecar's next answer, so it delays
neither output nor interrupts.  Only a front end that takes input has a person before it; in
nbclient's or papermill's runs, which take none, nothing is shown.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol

from keyless.magics.channel import Answer, Pending
from keyless.magics.rendering import one_line, text
from keyless.magics.results import current_shell

__all__ = ["Spinner", "person_watches", "spinner_for"]

#: Seconds of silence before it comes, and between two looks of it.
PATIENCE = 1.0
#: After a minute nobody counts seconds; a long run shouldn't send thousands of messages.
SLOWER_AFTER, SLOWER = 60.0, 5.0
_SIGNS = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

Bundle = dict[str, str]


class Line(Protocol):
    """What shows one line, and redraws it: a display of IPython's with an id."""

    def show(self, bundle: Bundle, /) -> None:
        """Show it for the first time."""

    def update(self, bundle: Bundle, /) -> None:
        """Show this instead."""


class Spinner:
    """The line for one command or call.  Used by the one thread that waits for it.

    Args:
        what: is waited for.
        line: is drawn on.
        clock: seconds that only go up.
    """

    def __init__(
        self,
        what: str,
        line: Line,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = one_line(what, 100)
        self._line = line
        self._clock = clock
        self._start = clock()
        self._shown = False
        self._looks = 0
        self._next = self._start + PATIENCE
        self._stopped = False

    def next(self, pending: Pending, say: object = None) -> Answer:
        """The next answer; meanwhile the line is drawn.

        Args:
            pending: where answers arrive.
            say: not used; a terminal's dialogue has more to say in the same place.
        """
        while not self._stopped:
            try:
                answer = pending.next(max(0.0, self._next - self._clock()))
            except TimeoutError:
                self._draw()
                continue
            if not self._shown:
                self._next = self._clock() + PATIENCE
            return answer
        return pending.next()

    def stop(self) -> None:
        """Take the line away for good: something else shows how far it is."""
        self._stopped = True
        self.close()

    def close(self) -> None:
        """Take the line away: the result says what came of it."""
        if self._shown:
            self._shown = False
            self._safely(self._line.update, {"text/plain": "", "text/html": ""})

    def _draw(self) -> None:
        elapsed = self._clock() - self._start
        sign = _SIGNS[self._looks % len(_SIGNS)]
        self._looks += 1
        said = f"{self._what}: {_duration(elapsed)}"
        bundle = {"text/plain": f"{sign} {said}", "text/html": f"<div>{sign} {text(said)}</div>"}
        # Noted first: an interrupt in between must not leave a line that nobody takes away.
        draw, self._shown = (self._line.update if self._shown else self._line.show), True
        self._safely(draw, bundle)
        self._next = self._clock() + (PATIENCE if elapsed < SLOWER_AFTER else SLOWER)

    def _safely(self, draw: Callable[[Bundle], None], bundle: Bundle) -> None:
        try:
            draw(bundle)
        except Exception:  # noqa: BLE001
            # A cell may have put anything between us and the front end.  The command goes on,
            # and is waited for without a line.
            self._stopped = True


def spinner_for(what: str) -> Spinner | None:
    """A spinner, where a person watches the cell that runs."""
    return Spinner(what, _Display()) if person_watches() else None


def person_watches() -> bool:
    """Whether the cell that runs in this thread was sent by a front end that takes input."""
    if threading.current_thread() is not threading.main_thread():
        return False
    kernel: Any = getattr(current_shell(), "kernel", None)
    return hasattr(kernel, "can_ask") and bool(kernel.can_ask())


class _Display:
    """A display of IPython's, with an id of its own."""

    def __init__(self) -> None:
        self._id = uuid.uuid4().hex

    def show(self, bundle: Bundle, /) -> None:
        """Show it for the first time."""
        self._publish(bundle, update=False)

    def update(self, bundle: Bundle, /) -> None:
        """Show this instead."""
        self._publish(bundle, update=True)

    def _publish(self, bundle: Bundle, *, update: bool) -> None:
        publish: Any = current_shell().display_pub.publish
        publish(bundle, transient={"display_id": self._id}, update=update)


def _duration(seconds: float) -> str:
    whole = math.floor(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return (
        f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
    )
