"""Runs the demo's notebook headless, cell by cell, and says on the terminal how it goes.

Used by ``demo.py``.  Plain nbclient: nothing here knows Keyless but the kernel's name.
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

KERNEL = "keyless"
_START = "Start the kernel"
_WIDTH = 60  # of a result on the terminal
_ATTEMPT = re.compile(r"^\[attempt\] (?P<name>.+?) → (?P<got>.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """One line of the table at the end."""

    name: str
    seconds: float
    result: str
    ok: bool = True


@dataclass(frozen=True)
class Attempt:
    """One try to take the key, and what it got."""

    name: str
    got: str

    @property
    def keys(self) -> int:
        """How many things that look like a key the agent counted."""
        found = re.match(r"(\d+) keys?\b", self.got)
        return int(found[1]) if found else 0


@dataclass
class Progress:
    """Writes ``… step`` while a step runs and ``✓ step 1.2 s`` when it is done."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)
    steps: list[Step] = field(default_factory=list)
    _started: float = 0.0

    def begin(self, name: str) -> None:
        """A step starts."""
        self._started = time.monotonic()
        if self.stream.isatty():
            self.stream.write(f"  … {name}\r")
            self.stream.flush()

    def end(self, name: str, result: str, *, ok: bool = True) -> None:
        """The step that was begun last is over."""
        step = Step(name, time.monotonic() - self._started, result, ok)
        self.steps.append(step)
        mark = "✓" if ok else "✗"
        self.stream.write(f"  {mark} {name:<52} {step.seconds:6.2f} s   {result}\n")
        self.stream.flush()


def run(source: Path, target: Path, progress: Progress, timeout: float) -> NotebookNode:
    """Execute a notebook and leave the result in ``target``, also where a cell fails.

    Args:
        source: the notebook; not changed.
        timeout: seconds that one cell may take.

    Raises:
        CellExecutionError: a cell raised; it is in the notebook that was written.
    """
    notebook: NotebookNode = nbformat.read(  # type: ignore[no-untyped-call]
        source, as_version=4
    )

    def kernel_started(**_: Any) -> None:
        progress.end(_START, f"{KERNEL}, its sidecar beside it")

    def started(cell: NotebookNode, cell_index: int, **_: Any) -> None:
        if cell.cell_type == "code":
            progress.begin(_title(cell, cell_index))

    def finished(cell: NotebookNode, cell_index: int, execute_reply: Any, **_: Any) -> None:
        ok = execute_reply["content"]["status"] == "ok"
        progress.end(_title(cell, cell_index), _summary(cell), ok=ok)

    client = NotebookClient(
        notebook,
        kernel_name=KERNEL,
        timeout=round(timeout),
        coalesce_streams=True,
        on_notebook_start=kernel_started,
        on_cell_execute=started,
        on_cell_executed=finished,
    )
    progress.begin(_START)
    try:
        client.execute()
    finally:
        nbformat.write(notebook, target)  # type: ignore[no-untyped-call]
    return notebook


def attempts(notebook: NotebookNode) -> list[Attempt]:
    """The attempts that the notebook's cells report, in order."""
    return [
        Attempt(found["name"], found["got"])
        for cell in notebook.cells
        for found in _ATTEMPT.finditer(_text(cell))
    ]


def failure(error: CellExecutionError) -> str:
    """One line for a failed cell."""
    return _short(f"{error.ename}: {' '.join(str(error.evalue).split())}", 160)


def _title(cell: NotebookNode, index: int) -> str:
    return str(cell.metadata.get("keyless", {}).get("step", f"Cell {index}"))


def _text(cell: NotebookNode) -> str:
    outputs = cell.get("outputs", []) if cell.cell_type == "code" else []
    return "".join(str(out.get("text", "")) for out in outputs if out.output_type == "stream")


def _summary(cell: NotebookNode) -> str:
    """What a cell said, on one line."""
    text = _text(cell)
    tries = [Attempt(found["name"], found["got"]) for found in _ATTEMPT.finditer(text)]
    if tries:
        keys = sum(attempt.keys for attempt in tries)
        return f"{len(tries)} {'tries' if len(tries) > 1 else 'try'}, {keys} keys got"
    for out in cell.outputs:
        if out.output_type == "error":
            return _short(f"{out.ename}: {out.evalue}")
    lines = [line.strip(" ,") for line in text.splitlines() if len(line.strip(" {}[],")) > 2]
    return _short(lines[-1]) if lines else "done"


def _short(text: str, width: int = _WIDTH) -> str:
    """Fit for the person's terminal: cells may print control sequences."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return text if len(text) <= width else text[: width - 1] + "…"
