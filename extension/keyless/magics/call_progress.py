"""Shows how far a call has come: one line that is redrawn, with a bar where HTML is shown."""

from __future__ import annotations

import sys
from html import escape
from typing import Any

from keyless.magics.rendering import one_line
from keyless.magics.results import current_shell
from keyless.protocol.calls import Progress

__all__ = ["ProgressBar"]


class ProgressBar:
    """The progress of one call.  Nothing is shown before there is some."""

    def __init__(self) -> None:
        self._handle: Any = None

    def __call__(self, progress: Progress) -> None:
        """Show it."""
        line = _line(progress)
        if current_shell() is None:
            print(line, file=sys.stderr, flush=True)
            return
        from IPython.display import display

        bundle = {"text/plain": line, "text/html": _bar(progress, line)}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)

    def close(self) -> None:
        """Take the line away: the result says what came of it."""
        if self._handle is not None:
            self._handle.update({"text/plain": "", "text/html": ""}, raw=True)


def _line(progress: Progress) -> str:
    what = one_line(progress.what, 120)
    if progress.unit == "attempts":
        return f"{what}: attempt {progress.done} of {progress.total}"
    done = f"{what}: {_size(progress.done)}"
    if not progress.total:
        return done
    return f"{done} of {_size(progress.total)} ({progress.done * 100 // progress.total} %)"


def _bar(progress: Progress, line: str) -> str:
    value = f' value="{progress.done}" max="{progress.total}"' if progress.total else ""
    return f"<div>{escape(line)} <progress{value}></progress></div>"


def _size(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
