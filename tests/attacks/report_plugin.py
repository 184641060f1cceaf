"""A pytest plugin that writes down how each attack ended; ``tests.attacks.matrix`` loads it.

An attack is a test with the marker ``attack`` or ``probe``.  Those that show that the attack wins
without protection are no part of the matrix.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

REPORT = "KEYLESS_ATTACK_REPORT"


def attack_of(item: pytest.Item) -> dict[str, object] | None:
    """What a test's markers say, or None where it is no attack on a protected kernel."""
    marker, probe = item.get_closest_marker("attack"), item.get_closest_marker("probe")
    if "unprotected" in item.name or (marker is None and probe is None):
        return None
    if marker is not None:
        title = str(marker.kwargs.get("title") or marker.args[1])
        wall = str(marker.kwargs.get("wall") or marker.args[0])
        return {
            "title": title.rstrip("."),
            "wall": wall,
            "instead": dict(marker.kwargs.get("instead", {})),
            "open_at": dict(marker.kwargs.get("open_at", {})),
            "marker": "attack",
        }
    assert probe is not None
    return {"title": f"probe {probe.args[0]}", "wall": "", "instead": {}, "open_at": {},
            "marker": "probe"}  # fmt: skip


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep only the attacks, and let their reports carry what they are."""
    kept = []
    for item in items:
        if found := attack_of(item):
            item.user_properties.append(("attack", found))
            kept.append(item)
    dropped = [item for item in items if item not in set(kept)]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
    items[:] = kept


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One line for each phase that says something."""
    target = os.environ.get(REPORT)
    found = dict(report.user_properties).get("attack")
    if not target or not found or os.environ.get("PYTEST_XDIST_WORKER"):
        return
    if report.when != "call" and report.outcome == "passed":
        return
    line = {
        **found,
        "test": report.nodeid,
        "outcome": _outcome(report),
        "reason": _reason(report),
    }
    with Path(target).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _outcome(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.outcome == "skipped" else "failed"
    return report.outcome


def _reason(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return str(report.wasxfail).removeprefix("reason: ")
    if report.outcome == "skipped" and isinstance(report.longrepr, Sequence):
        return str(report.longrepr[-1]).removeprefix("Skipped: ")
    if report.outcome == "failed":
        lines = report.longreprtext.strip().splitlines()
        errors = [line[1:].strip() for line in lines if line.startswith("E ")]
        return (errors or lines or [""])[0][:300]
    return ""
