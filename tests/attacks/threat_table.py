"""The threat model's table of attacks, made from the tests' markers so that it can't drift.

``python -m tests.attacks.threat_table`` writes it into ``docs/threat-model.md``; with ``--check``
it only compares.  A marker ``attack(wall=..., title=...)`` names the wall that stops the attack;
``instead={level: wall}`` another wall at a level, ``open_at={level: reason}`` a level where nothing
stops it.  What generally stands in for a wall at the weaker levels is in :data:`INSTEAD`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from tests.attacks.report_plugin import attack_of

CHECKOUT = Path(__file__).resolve().parents[2]
DOCUMENT = CHECKOUT / "docs" / "threat-model.md"
BEGIN, END = "<!-- attacks: begin (generated) -->", "<!-- attacks: end -->"

#: So many rows with one title but for what follows a colon become one.
_JOINED = 3
#: Walls that the levels without namespaces lack → what stands there instead.
INSTEAD: Mapping[str, Mapping[str, str]] = {
    "pid namespace": {
        "landlock-root": "another user, Landlock's ptrace and signal scopes",
        "landlock": "undumpable sidecar, Landlock's ptrace and signal scopes",
    },
    "mount namespace": {
        "landlock-root": "another user, Landlock's file rules",
        "landlock": "Landlock's file rules",
    },
    "control socket outside of every sandbox": {
        "landlock-root": "another user, Landlock's file rules, system-call filter",
        "landlock": "Landlock's file rules, system-call filter: no connect",
    },
    "network namespace": {
        "landlock-root": "system-call filter: no network socket",
        "landlock": "system-call filter: no network socket",
    },
    "network namespace of tools": {
        "landlock-root": "every connection ends at the sidecar's gate",
        "landlock": "every connection ends at the sidecar's gate",
    },
    "pid namespace ends with the command": {
        "landlock-root": "a wrapper process hunts the whole tree",
        "landlock": "a wrapper process hunts the whole tree",
    },
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One attack: what it is, what stops it, and the test."""

    title: str
    wall: str
    weaker: str
    test: str
    case: str = ""


class Collector:
    """Takes the attacks out of pytest's collection."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.broken: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Called with every test."""
        for item in items:
            found = attack_of(item)
            if found is None or found["marker"] != "attack":
                continue
            wall, instead, open_at = str(found["wall"]), found["instead"], found["open_at"]
            assert isinstance(instead, Mapping)
            assert isinstance(open_at, Mapping)
            others = {**INSTEAD.get(wall, {}), **instead}
            others |= {level: f"**open**: {reason}" for level, reason in open_at.items()}
            if expected := item.get_closest_marker("xfail"):
                # A test that is expected to fail shows that nothing stops the attack.
                wall, others = f"**open**: {expected.kwargs.get('reason', 'no reason given')}", {}
            name, _, case = item.name.partition("[")
            test = f"`{Path(str(item.path)).stem}.{name}`"
            row = Row(str(found["title"]), wall, _weaker(others), test, case.rstrip("]"))
            self.rows.setdefault((row.wall, row.title), row)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that can't be collected would make a table with holes."""
        if report.failed:
            self.broken.append(report.nodeid)


def _weaker(others: Mapping[str, str]) -> str:
    groups: dict[str, list[str]] = {}
    for level, wall in others.items():
        groups.setdefault(wall, []).append(level)
    return "; ".join(f"{wall} ({', '.join(levels)})" for wall, levels in groups.items())


def group(rows: Iterable[Row]) -> list[Row]:
    """Join rows that only differ in what stands after the title's colon (pure)."""
    groups: dict[Row, list[Row]] = {}
    for row in rows:
        head, colon, _ = row.title.partition(": ")
        key = dataclasses.replace(row, title=f"{head}{colon}", case="")
        groups.setdefault(key, []).append(row)
    joined = []
    for key, members in groups.items():
        if len(members) < _JOINED or not key.title.endswith(": "):
            joined += members
            continue
        tails = sorted(member.title.removeprefix(key.title) for member in members)
        joined.append(dataclasses.replace(key, title=key.title + ", ".join(tails)))
    return sorted(joined, key=lambda row: (row.wall, row.title))


def render(rows: Iterable[Row]) -> str:
    """The table in Markdown (pure)."""
    lines = [
        "| attack | what stops it | where that is missing | shown by |",
        "|---|---|---|---|",
    ]
    for row in group(rows):
        test = f"{row.test} ({row.case})" if row.case else row.test
        weaker = row.weaker or ("" if row.wall.startswith("**open**") else "the same")
        cells = [_cell(text) for text in (row.title, row.wall, weaker, test)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def place(document: str, table: str) -> str:
    """The document with a new table (pure).

    Raises:
        ValueError: the document has no place for it.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT.name} needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}{END}{after}"


def main() -> int:
    """Write or compare."""
    collector = Collector()
    # Only what has such tests: collecting all of them takes long.
    files = [str(p) for p in CHECKOUT.glob("tests/**/test_*.py") if "mark.attack" in p.read_text()]
    arguments = ["--collect-only", "-q", "-q", "-p", "no:cacheprovider", *sorted(files)]
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        pytest.main(["--rootdir", str(CHECKOUT), *arguments], plugins=[collector])
    if collector.broken:
        print(f"can't be collected: {', '.join(collector.broken)}", file=sys.stderr)
        return 1
    rows = list(collector.rows.values())
    old = DOCUMENT.read_text(encoding="utf-8")
    new = place(old, render(rows))
    if "--check" in sys.argv:
        if old != new:
            print(
                "docs/threat-model.md is not what the tests say: run "
                "python -m tests.attacks.threat_table",
                file=sys.stderr,
            )
        return int(old != new)
    DOCUMENT.write_text(new, encoding="utf-8")
    print(f"{len(rows)} attacks in {DOCUMENT.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
