"""What a subject found: samples, figures that follow from them, and curves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from benchmarks import figures

Unit = Literal["s", "×", "ms", "MB/s", "MB"]


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number that is compared with a target, and with the run before.

    Attributes:
        key: names it in the results, for ever.
        title: what it is.
        unit: ``×`` for a ratio.
        value: measured.
        low, high: the ends of its 95% interval, where it has one.
    """

    key: str
    title: str
    unit: Unit
    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Group:
    """Samples of several sides that were taken in turn.

    Attributes:
        title: what each side did.
        unit: of the samples.
        sides: samples by the name of the side.
    """

    title: str
    unit: Unit
    sides: Mapping[str, Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Curve:
    """How something grows with its work.

    Attributes:
        key: names it in the results.
        title: of the plot.
        x: what the work is, with its unit.
        y: what was measured, with its unit.
        lines: by name, points of work and measure; both above zero.
    """

    key: str
    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


@dataclasses.dataclass
class Outcome:
    """All that a subject found.

    Attributes:
        missing: why a peer isn't there, by the peer's name.
        notes: what the figures don't say.
    """

    groups: list[Group] = dataclasses.field(default_factory=list)
    figures: list[Figure] = dataclasses.field(default_factory=list)
    curves: list[Curve] = dataclasses.field(default_factory=list)
    missing: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def ratio(self, key: str, title: str, ours: Sequence[float], theirs: Sequence[float]) -> None:
        """Add the ratio of the medians of samples that were taken in turn."""
        interval = figures.interval(figures.ratio, ours, theirs)
        self.figures.append(Figure(key, title, "×", figures.ratio(ours, theirs), *interval))

    def beyond(
        self,
        key: str,
        title: str,
        unit: Unit,
        ours: Sequence[float],
        theirs: Sequence[float],
        scale: float = 1.0,
    ) -> None:
        """Add how much the median of ours is above theirs, times ``scale``."""
        ours, theirs = ([value * scale for value in side] for side in (ours, theirs))
        interval = figures.interval(figures.difference, ours, theirs)
        self.figures.append(Figure(key, title, unit, figures.difference(ours, theirs), *interval))

    def middle(self, key: str, title: str, unit: Unit, samples: Sequence[float]) -> None:
        """Add the median of samples."""
        interval = figures.interval(figures.first_median, samples, samples)
        value = figures.first_median(samples, samples)
        self.figures.append(Figure(key, title, unit, value, *interval))

    def plain(self) -> dict[str, Any]:
        """For the results: samples as their summaries."""
        return {
            "groups": [
                {
                    "title": group.title,
                    "unit": group.unit,
                    "sides": {
                        name: figures.summary(samples, more=group.unit == "MB/s")
                        for name, samples in group.sides.items()
                    },
                }
                for group in self.groups
            ],
            "figures": [dataclasses.asdict(figure) for figure in self.figures],
            "curves": [
                {
                    **dataclasses.asdict(curve),
                    "lines": {
                        name: [list(at) for at in line] for name, line in curve.lines.items()
                    },
                    "slopes": {
                        name: figures.slope(line)
                        for name, line in curve.lines.items()
                        if len(line) > 1
                    },
                }
                for curve in self.curves
            ],
            "missing": dict(self.missing),
            "notes": list(self.notes),
        }
