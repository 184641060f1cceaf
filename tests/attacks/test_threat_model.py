"""The threat model's table is what the tests say, and the matrix judges as it should."""

from __future__ import annotations

import subprocess
import sys

from tests.attacks.matrix import (
    BLOCKED,
    EXPLAINED,
    NOT_APPLICABLE,
    OPEN,
    Cell,
    Column,
    judge,
    merge,
    render,
    verdict,
)
from tests.attacks.threat_table import BEGIN, CHECKOUT, END, Row, place
from tests.attacks.threat_table import render as table


def line(outcome: str, reason: str = "", **more: object) -> dict[str, object]:
    return {"title": "T", "outcome": outcome, "reason": reason, "open_at": {}, **more}


def test_the_table_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.attacks.threat_table", "--check"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]


def test_a_table_has_one_line_a_row() -> None:
    text = table(
        [Row("a | title\nin two lines", "wall", "", "`t`"), Row("a", "b", "c (landlock)", "t")]
    )
    assert text.splitlines()[2:] == [
        "| a | b | c (landlock) | t |",
        "| a \\| title in two lines | wall | the same | `t` |",
    ]
    assert place(f"x\n{BEGIN}\nold\n{END}\ny", "new\n") == f"x\n{BEGIN}\nnew\n{END}\ny"


def test_rows_that_differ_little_become_one() -> None:
    rows = [Row(f"print: {form}", "wall", "", "`t`", form) for form in ("hex", "base64", "url")]
    other = Row("print: twice", "**open**: why", "", "`t`", "twice")
    assert table([*rows, other]).splitlines()[2:] == [
        "| print: twice | **open**: why |  | `t` (twice) |",
        "| print: base64, hex, url | wall | the same | `t` |",
    ]


def test_what_an_outcome_means() -> None:
    assert judge(line("passed"), "landlock") == Cell(BLOCKED)
    assert judge(line("failed", "boom"), "landlock") == Cell(OPEN, "boom")
    assert judge(line("xfailed", "why"), "landlock") == Cell(EXPLAINED, "why")
    assert judge(line("skipped", "no proc"), "landlock") == Cell(NOT_APPLICABLE, "no proc")
    known = line("failed", "boom", open_at={"landlock": "no pid namespace"})
    assert judge(known, "landlock") == Cell(EXPLAINED, "no pid namespace")
    assert judge(known, "namespaces") == Cell(OPEN, "boom")


def test_one_open_test_is_enough() -> None:
    lines = [line("passed"), line("failed", "boom"), line("skipped", "x"), line("passed")]
    assert merge(lines, "landlock") == {"T": Cell(OPEN, "boom")}


def test_the_matrix_and_its_exit_status() -> None:
    fine = Column("namespaces", cells={"T": Cell(BLOCKED), "U": Cell(EXPLAINED, "why")})
    missing = Column("landlock", "not in this version")
    text = render([fine, missing])
    assert "landlock is not available here: not in this version" in text
    assert "open* U: why (namespaces)" in text
    assert "namespaces: 1 blocked, 1 open*, 0 n/a, 0 OPEN" in text
    assert verdict([fine, missing]) == 0
    assert verdict([missing]) == 1
    assert verdict([fine, Column("landlock", cells={"T": Cell(OPEN)})]) == 1
    assert verdict([fine, Column("landlock", cells={"T": Cell(BLOCKED)}, trouble="x")]) == 1
