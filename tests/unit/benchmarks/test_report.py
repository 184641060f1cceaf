"""What the benchmarks make of their samples: figures, the table of targets, what moved."""

from __future__ import annotations

import random
from typing import Any

import pytest
from benchmarks import comparison, figures, page, plots, table
from benchmarks.measuring import in_turn
from benchmarks.outcome import Curve, Group, Outcome
from benchmarks.subjects import SUBJECTS
from benchmarks.targets import TARGETS, Target

RATIO = Target("a thing ÷ another", "thing.ratio", 0.5, "×", "thing")
SPEED = Target("a stream", "thing.speed", 300, "MB/s", "thing", least=True)


def results(outcome: Outcome | None = None, error: str = "") -> dict[str, Any]:
    found = {} if outcome is None else outcome.plain()
    run = {"commit": "abc", "when": "now", "took": 1.0, "machine": {}, "versions": {}}
    return {"run": run, "subjects": {"thing": {"took": 1.0, "error": error, **found}}}


def measured(ours: list[float], theirs: list[float]) -> Outcome:
    outcome = Outcome([Group("a thing", "s", {"Keyless": ours, "bare": theirs})])
    outcome.ratio("thing.ratio", "ours ÷ theirs", ours, theirs)
    return outcome


def test_percentiles_and_medians() -> None:
    found = figures.summary([float(n) for n in range(1, 101)])
    assert found == {"count": 100, "median": 50.5, "p95": 95.0, "best": 1.0}
    assert figures.summary([3.0])["p95"] == 3.0
    speeds = figures.summary([float(n) for n in range(1, 101)], more=True)
    assert (speeds["p95"], speeds["best"]) == (5.0, 100.0)


def test_one_disturbed_round_moves_no_ratio() -> None:
    ours, theirs = [1.0, 1.1, 0.9, 1.0, 90.0], [2.0, 2.2, 1.8, 2.0, 2.0]
    assert figures.ratio(ours, theirs) == 0.5
    assert figures.difference(theirs, ours) == 1.0


def test_the_interval_holds_the_ratio_and_stays_the_same() -> None:
    draw = random.Random(1)
    ours = [draw.gauss(1, 0.05) for _ in range(40)]
    theirs = [draw.gauss(2, 0.05) for _ in range(40)]
    low, high = figures.interval(figures.ratio, ours, theirs)
    assert low < figures.ratio(ours, theirs) < high
    assert high - low < 0.1
    assert (low, high) == figures.interval(figures.ratio, ours, theirs)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_slope_is_the_power_of_the_last_decade(power: float) -> None:
    beginning = [(1.0, 50.0), (10.0, 50.0)]  # a fixed cost, before the work counts
    line = beginning + [(float(x), 0.01 * x**power) for x in (1000, 3000, 10_000)]
    assert figures.slope(line) == pytest.approx(power)


def test_a_decade_with_one_point_takes_the_one_before() -> None:
    assert figures.slope([(1, 1), (32, 1), (1024, 32)]) == pytest.approx(1.0)


def test_sides_are_taken_in_turn_and_the_first_round_does_not_count() -> None:
    asked: list[str] = []

    def side(name: str) -> float:
        asked.append(name)
        return float(len(asked))

    found = in_turn({"a": lambda: side("a"), "b": lambda: side("b")}, rounds=2)
    assert "".join(asked) == "ababab"
    assert found == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_the_table_says_what_was_met() -> None:
    outcome = measured([1.0, 1.0], [4.0, 4.0])
    outcome.middle("thing.speed", "a stream", "MB/s", [250.0, 260.0])
    assert table.rows(results(outcome), [RATIO, SPEED]) == [
        ("a thing ÷ another", "≤ 0.5", "0.25×", "yes"),
        ("a stream", "≥ 300 MB/s", "255 MB/s (250–260)", "no"),
    ]


def test_the_table_tells_what_failed_and_what_did_not_run() -> None:
    broken = results(error="RuntimeError: no such thing")
    assert table.rows(broken, [RATIO])[0][2:] == ("failed: RuntimeError: no such thing", "–")
    absent = Outcome(missing={"aws v2": "it isn't installed"})
    assert table.rows(results(absent), [RATIO])[0][2:] == ("aws v2: it isn't installed", "–")
    other = Target("else", "else.ratio", 1, "×", "else")
    assert table.rows(results(), [other])[0][2:] == ("not run", "–")
    assert list(table.missing(broken)) == ["thing failed: RuntimeError: no such thing"]


def test_what_grows_faster_than_its_work_is_named_but_no_peer() -> None:
    square = [(float(n), float(n * n)) for n in (1, 2, 4, 8)]
    flat = [(float(n), 1.0) for n in (1, 2, 4, 8)]
    curve = Curve("c", "Things", "things", "seconds", {"Keyless": square, "direct": square})
    told = table.growth(results(Outcome(curves=[curve])))
    assert "Things, Keyless: seconds grow with the power 2.00 of things" in told
    assert "direct" not in told
    calm = Curve("c", "Things", "things", "seconds", {"Keyless": flat})
    assert table.growth(results(Outcome(curves=[calm]))).startswith("Nothing grows faster")


def test_only_what_moved_by_more_than_a_seventh_is_listed() -> None:
    last = results(measured([1.0, 1.0], [4.0, 4.0]))
    same = results(measured([1.1, 1.1], [4.0, 4.0]))
    slower = results(measured([2.0, 2.0], [4.0, 4.0]))
    assert comparison.moved(last, same) == []
    assert "0 of 1 ratios" in comparison.text(last, same)
    assert [str(each) for each in comparison.moved(last, slower)] == [
        "thing.ratio (ours ÷ theirs): 0.25× → 0.50×, +100%"
    ]
    assert "1 of 1 ratios moved" in comparison.text(last, slower)
    assert comparison.text(None, same) == "There is no last run to compare with."


def test_the_page_holds_every_part_and_escapes_what_it_is_told() -> None:
    outcome = measured([1.0, 1.0], [4.0, 4.0])
    outcome.curves.append(Curve("c", "Bytes", "bytes", "seconds", {"a": [(1024, 0.1), (2048, 1)]}))
    outcome.missing["peer"] = "<script>"
    said = page.html(results(outcome), None)
    for part in ("a thing", "1 KB", "slope", "&lt;script&gt;", "There is no last run"):
        assert part in said
    assert "<script>" not in said


def test_amounts_are_short() -> None:
    assert plots.amount(0.0123, "s") == "12.3 ms"
    assert plots.amount(1234.5, "MB/s") == "1234 MB/s"
    assert plots.amount(0.147, "×") == "0.15×"


def test_every_target_is_measured_by_a_subject() -> None:
    assert {target.subject for target in TARGETS} <= SUBJECTS.keys()
    assert len({target.key for target in TARGETS}) == len(TARGETS)
