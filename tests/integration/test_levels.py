"""Every isolation level, put in force here, through a real kernel as a notebook uses it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.levels import LEVELS, run_at, unavailable
from tests.support.sidecar import SECRET

PROBE = Path(__file__).parents[1] / "support" / "level_probe.py"

#: What a sandbox of namespaces answers where there is nothing to refuse.
_HARMLESS_ANSWERS = {
    "processes": "['1', '2']",  # its own
    "host connections": "False",  # a table of its own
    "udp": "None",  # into its own loopback
}


@pytest.fixture(scope="module", params=LEVELS)
def report(request: pytest.FixtureRequest) -> dict[str, Any]:
    level: str = request.param
    if reason := unavailable(level):
        pytest.skip(reason)
    done = run_at(level, [sys.executable, str(PROBE)])
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    found["wanted"] = level
    found["log"] = done.stderr
    return found


def test_the_level_is_in_force_and_shown(report: dict[str, Any]) -> None:
    assert report["level"] == report["wanted"]
    assert f"isolation level: {report['wanted']}\n" in report["keyless"]
    lacks = "not hidden: names, sizes and times" in report["keyless"]
    assert lacks == report["wanted"].startswith("landlock")
    own_user = "the processes are yours outside too" in report["keyless"]
    assert own_user == (report["wanted"] == "landlock")


def test_ordinary_cells_work(report: dict[str, Any]) -> None:
    assert report["harmless"] == {
        **dict.fromkeys(("temporary", "process", "home", "cwd"), True),
        "mode": "0o640",
        "time": 5.0,
        "moved": ["moved"],
    }
    assert report["shell"].split() == ["from", "the", "shell"]
    assert "Traceback" not in report["log"]


def test_a_hostile_cell_reaches_nothing(report: dict[str, Any]) -> None:
    own_namespaces = report["wanted"].startswith("namespaces")
    for name, answer in report["hostile"].items():
        harmless = _HARMLESS_ANSWERS.get(name) if own_namespaces else None
        assert answer.startswith("refused: ") or answer == harmless, (name, answer)
    assert report["after"]["victim runs"]
    assert report["after"]["victim nice"] == 0
    assert report["after"]["private"] == ["of the person", "0o600", True]
    assert report["after"]["interpreter unchanged"]
    assert report["after"]["received"] == []


def test_a_leaky_tool_is_redacted(report: dict[str, Any]) -> None:
    said = report["tool"]
    assert "token=[redacted:canary]" in said["plain"]
    assert "LEAKY_SECRET=[redacted:canary]" in said["env"]
    assert SECRET not in json.dumps(report)


def test_a_tool_reaches_its_gate_and_nothing_else(report: dict[str, Any]) -> None:
    said = report["tool"]
    assert "403 Keyless: " in said["gate refuses"]
    assert "is not among the hosts" in said["gate refuses"]
    assert "200 OK" in said["gate"]
    assert report["after"]["asked"] == ["/hello"]
    assert "exit code 1" in said["direct"]
    assert "exit code 1" in said["private"]


def test_a_level_without_overlay_says_so(report: dict[str, Any]) -> None:
    without = "The workspace was read-only for the tool" in report["tool"]["plain"]
    assert without == report["wanted"].startswith("landlock")


def test_nothing_is_left(report: dict[str, Any]) -> None:
    assert report["running"] >= 4  # there was something to end
    assert report["left"] == []
    assert report["files"] == []
