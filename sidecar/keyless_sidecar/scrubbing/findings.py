"""Where in a notebook a secret stood: the words for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding", "Place"]


@dataclass(frozen=True)
class Place:
    """A place in a notebook.

    Attributes:
        cell: number of the cell as people count, from 1; 0 for the notebook itself.
        part: such as ``source``, ``output 2 (text/html)``, ``attachment plot.png`` or
            ``metadata.widgets``.  It may quote names out of the notebook.
    """

    cell: int
    part: str

    def below(self, name: str) -> Place:
        """The place of a member."""
        return Place(self.cell, f"{self.part}.{name}"[:200])

    def __str__(self) -> str:
        return f"cell {self.cell}, {self.part}" if self.cell else f"notebook, {self.part}"


@dataclass(frozen=True)
class Finding:
    """One secret at one place.

    Attributes:
        place: where.
        line: number of the line in that text, from 1; 0 where it has no lines.
        name: of the credential or of the detector.  Never a value.
        count: how many times.
    """

    place: Place
    line: int
    name: str
    count: int

    def __str__(self) -> str:
        line = f", line {self.line}" if self.line else ""
        times = f" ({self.count} times)" if self.count > 1 else ""
        return f"{self.place}{line}: {self.name}{times}"
