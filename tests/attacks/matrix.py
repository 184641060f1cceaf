"""``make attacks``: every attack at every isolation level, as a matrix.

``python -m tests.attacks.matrix [--level LEVEL ...] [PYTEST ARGUMENT ...]`` runs the tests with the
markers ``attack`` and ``probe`` at each level that this machine can put in force.  A cell says

- ``blocked``: the test passed;
- ``open*``: the attack is known to work there, and the reason is listed below;
- ``n/a``: it makes no sense there, for the reason below;
- ``OPEN``: it works, or the test is broken, and nothing explains it: the exit status is 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.attacks.report_plugin import REPORT
from tests.support.levels import LEVELS, home_at, run_at, unavailable

BLOCKED, EXPLAINED, NOT_APPLICABLE, OPEN, MISSING = "blocked", "open*", "n/a", "OPEN", ""
#: Which level the surroundings of a run put in force; tests configure it as the minimum.
LEVEL_VARIABLE = "KEYLESS_TEST_LEVEL"
_LONGEST_RUN = 3600
_TITLE_WIDTH = 78
_OPTIONS = ("-q", "-p", "no:cacheprovider", "-p", "tests.attacks.report_plugin", "--tb=short")

_ASK = """
from keyless_kernel.confine import Confinement, ConfinementUnavailable, probe
import sys
try:
    print("level:" + probe(Confinement(minimum=sys.argv[1])).level)
except ConfinementUnavailable as error:
    print("refused:" + str(error))
"""


@dataclasses.dataclass(frozen=True)
class Cell:
    """How one attack ended at one level."""

    state: str
    reason: str = ""


@dataclasses.dataclass
class Column:
    """One level: how each attack ended, or why the level isn't there."""

    level: str
    unavailable: str = ""
    cells: dict[str, Cell] = dataclasses.field(default_factory=dict)
    trouble: str = ""


def judge(line: Mapping[str, object], level: str) -> Cell:
    """What one line of the report means at a level (pure)."""
    outcome, reason = str(line["outcome"]), str(line["reason"])
    open_at = line["open_at"]
    explained = open_at.get(level, "") if isinstance(open_at, Mapping) else ""
    if outcome == "passed":
        return Cell(BLOCKED)
    if outcome == "skipped":
        return Cell(NOT_APPLICABLE, reason)
    if outcome == "xfailed":
        return Cell(EXPLAINED, reason)
    return Cell(EXPLAINED, str(explained)) if explained else Cell(OPEN, reason)


def merge(lines: Iterable[Mapping[str, object]], level: str) -> dict[str, Cell]:
    """The cells of a level: the worst of the tests with one title (pure)."""
    order = [BLOCKED, NOT_APPLICABLE, EXPLAINED, OPEN]
    cells: dict[str, Cell] = {}
    for line in lines:
        title, cell = str(line["title"]), judge(line, level)
        if title not in cells or order.index(cell.state) > order.index(cells[title].state):
            cells[title] = cell
    return cells


def column(level: str, arguments: list[str]) -> Column:
    """Run all attacks at a level."""
    if reason := unavailable(level):
        return Column(level, reason)
    answer = run_at(level, [sys.executable, "-I", "-c", _ASK, level])
    said = (answer.stdout or answer.stderr).strip().splitlines()
    if f"level:{level}" not in said:
        return Column(level, said[-1] if said else f"exit status {answer.returncode}")
    with home_at(level) as home:
        report = home / "attacks.jsonl"
        done = run_at(
            level,
            [sys.executable, "-m", "pytest", *_OPTIONS, *arguments],
            {REPORT: str(report), LEVEL_VARIABLE: level},
            home=home,
            timeout=_LONGEST_RUN,
        )
        lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    found = Column(level, cells=merge(map(json.loads, lines), level))
    if done.returncode not in (0, 1) or not found.cells:
        found.trouble = (done.stdout + done.stderr)[-1500:]
    return found


def render(columns: list[Column]) -> str:
    """The matrix as text, with reasons below (pure)."""
    there = [each for each in columns if not each.unavailable]
    titles = list(dict.fromkeys(title for each in there for title in each.cells))
    width = min(_TITLE_WIDTH, max([len(title) for title in titles] + [6]))
    lines = [f"{'attack':{width}}  " + "  ".join(f"{each.level:>15}" for each in columns)]
    notes: dict[str, list[str]] = {}
    for title in titles:
        row = []
        for each in columns:
            cell = each.cells.get(title, Cell(MISSING))
            row.append("not available" if each.unavailable else cell.state)
            if cell.reason:
                notes.setdefault(f"{cell.state} {title}: {cell.reason}", []).append(each.level)
        lines.append(f"{title[:width]:{width}}  " + "  ".join(f"{state:>15}" for state in row))
    lines.append("")
    lines += [f"{note} ({', '.join(levels)})" for note, levels in notes.items()]
    for each in columns:
        if each.unavailable:
            lines.append(f"{each.level} is not available here: {each.unavailable}")
        elif each.trouble:
            lines.append(f"{each.level}: the run did not come to its end:\n{each.trouble}")
    counts = [
        f"{each.level}: "
        + ", ".join(
            f"{sum(cell.state == state for cell in each.cells.values())} {state}"
            for state in (BLOCKED, EXPLAINED, NOT_APPLICABLE, OPEN)
        )
        for each in there
    ]
    return "\n".join([*lines, *counts])


def verdict(columns: list[Column]) -> int:
    """Exit status: 1 for an unexplained open, an incomplete run, or no level at all (pure)."""
    there = [each for each in columns if not each.unavailable]
    bad = any(
        each.trouble or any(cell.state == OPEN for cell in each.cells.values()) for each in there
    )
    return int(bad or not there)


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description="every attack at every isolation level")
    parser.add_argument("--level", action="append", choices=LEVELS)
    options, arguments = parser.parse_known_args()
    chosen = arguments if any(Path(each).exists() for each in arguments) else ["tests", *arguments]
    columns = []
    for level in options.level or LEVELS:
        print(f"running the attacks at {level} …", file=sys.stderr, flush=True)
        columns.append(column(level, chosen))
    print(render(columns))
    return verdict(columns)


if __name__ == "__main__":
    sys.exit(main())
