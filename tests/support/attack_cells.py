"""The attack cells in ``tests/attacks/cells``: what each says about itself, and how it is run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.kernels import Stage

CELLS = Path(__file__).parents[1] / "attacks" / "cells"


@dataclass(frozen=True)
class Attack:
    """One cell.

    Args:
        name: its file's, without the ending.
        title: what it tries.
        wall: what stops it.
        fresh: whether it needs a kernel of its own, which it may ruin.
        naked: whether the secrets must lie in the unprotected kernel itself for it to win.
        source: its text.
    """

    name: str
    title: str
    wall: str
    fresh: bool
    naked: bool
    source: str

    def cell(self, world: Stage) -> str:
        """The whole text to execute."""
        hints = {
            "person": str(world.person),
            "stage": str(world.home),
            "listener": world.listener.port,
            "aws": int(world.aws.endpoint.rpartition(":")[2]),
        }
        prelude = (CELLS / "_prelude.py").read_text()
        return f"HINTS = {hints!r}\n{prelude}\n{self.source}"


def load() -> list[Attack]:
    """All attack cells.

    Raises:
        ValueError: a cell's docstring doesn't name its wall.
    """
    return [_read(path) for path in sorted(CELLS.glob("[!_]*.py"))]


def _read(path: Path) -> Attack:
    source = path.read_text()
    found = re.match(r'"""(.+?)\n\nWall: (.+?)\n((?:\w+: .+\n)*)"""', source)
    if found is None:
        raise ValueError(f"{path.name} needs a docstring with a title and its wall")
    notes = found[3]
    return Attack(
        path.stem, found[1], found[2], "Kernel: fresh" in notes, "Secrets: in" in notes, source
    )
