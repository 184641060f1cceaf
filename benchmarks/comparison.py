"""This run beside the last one that was kept: which figures moved.  Pure."""

from __future__ import annotations

import dataclasses

from benchmarks.plots import amount
from benchmarks.table import Results, figures

#: Ratios of two runs agree within this share.
AGREES = 0.15


@dataclasses.dataclass(frozen=True)
class Moved:
    """A figure that is another one than it was.

    Attributes:
        key: of the figure.
        title: likewise.
        unit: likewise.
        before, now: its values.
    """

    key: str
    title: str
    unit: str
    before: float
    now: float

    def __str__(self) -> str:
        share = f"{self.now / self.before - 1:+.0%}" if self.before > 0 else "from nothing"
        told = f"{amount(self.before, self.unit)} → {amount(self.now, self.unit)}"
        return f"{self.key} ({self.title}): {told}, {share}"


def moved(last: Results, now: Results) -> list[Moved]:
    """Figures of both runs whose values differ by more than `AGREES`, ratios first."""
    before = figures(last)
    found = [
        Moved(key, figure["title"], figure["unit"], before[key]["value"], figure["value"])
        for key, figure in figures(now).items()
        if key in before and _differ(before[key]["value"], figure["value"])
    ]
    return sorted(found, key=lambda each: each.unit != "×")


def text(last: Results | None, now: Results) -> str:
    """What moved, in words."""
    if last is None:
        return "There is no last run to compare with."
    both = figures(last).keys() & figures(now).keys()
    count = sum(figures(now)[key]["unit"] == "×" for key in both)
    found = moved(last, now)
    ratios = [each for each in found if each.unit == "×"]
    others = [each for each in found if each.unit != "×"]
    lines = [
        f"Beside the last run ({last['run']['commit']}): {len(ratios)} of {count} ratios moved "
        f"by more than {AGREES:.0%}{':' if ratios else '.'}"
    ]
    lines += [f"- {each}" for each in ratios]
    if others:
        lines += ["", "Figures that are no ratios, and depend on the machine, moved too:"]
        lines += [f"- {each}" for each in others]
    return "\n".join(lines)


def _differ(before: float, now: float) -> bool:
    if before <= 0 or now <= 0:
        return before != now
    return max(before / now, now / before) > 1 + AGREES
