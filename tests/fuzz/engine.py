"""Runs the fuzz targets: a short fixed search for the tests, a long random one for ``make fuzz``.

What is found is kept in ``tests/fuzz/cases/TARGET/``, one Python literal a file, and replayed by
``tests/fuzz/test_fuzz.py`` from then on.
"""

from __future__ import annotations

import ast
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from tests.fuzz import arguments, frames, opener, sanitizer

CASES = Path(__file__).with_name("cases")
_ROUND = 3000


@dataclass(frozen=True)
class Target:
    """A fuzz target: what is tried, and what must hold."""

    name: str
    module: ModuleType

    def check(self, value: Any) -> None:
        """Fail where ``value`` does what it must not."""
        self.module.check(value)

    def cases(self) -> Iterator[Path]:
        """Files of found values."""
        yield from sorted((CASES / self.name).glob("*.txt"))


TARGETS = {
    name: Target(name, module)
    for name, module in (
        ("frames", frames),
        ("arguments", arguments),
        ("opener", opener),
        ("sanitizer", sanitizer),
    )
}


def read_case(path: Path) -> Any:
    """The value in a case file; lines with ``#`` in front are for people."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return ast.literal_eval("\n".join(line for line in lines if not line.startswith("#")))


def keep_case(target: Target, value: Any, reason: str) -> Path:
    """Write a found value down."""
    text = ascii(value)
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    path = CASES / target.name / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    note = " ".join(reason.split())[:200].encode("ascii", "replace").decode()
    path.write_text(f"# {note}\n{text}\n", encoding="utf-8")
    return path


class Found(Exception):
    """A value does what it must not; the message says which, and where it is kept."""


def search(
    target: Target,
    *,
    examples: int,
    number: int | None = None,
    tried: Callable[[], None] = lambda: None,
) -> None:
    """Try values.

    Args:
        target: what is fuzzed.
        examples: how many values.
        number: seed; default: the same search every time.
        tried: called for each value.

    Raises:
        Found: the smallest value that fails, which is in a case file now.
    """
    failing: list[Any] = []

    def one(value: Any) -> None:
        tried()
        try:
            target.check(value)
        except Exception:
            failing[:] = [value]  # the last one is the smallest
            raise

    run = given(target.module.STRATEGY)(one)
    run = settings(
        max_examples=examples,
        derandomize=number is None,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.target, Phase.shrink),
    )(run)
    if number is not None:
        run = seed(number)(run)
    try:
        run()
    except Exception as error:
        if not failing:
            raise
        path = keep_case(target, failing[0], f"{type(error).__name__}: {error}")
        raise Found(f"{target.name}: {type(error).__name__}: {error} (kept in {path})") from error


def fuzz(target: Target, seconds: float) -> int:
    """Search for a time, with new seeds; returns how many values were tried.

    Raises:
        Found: as in :func:`search`.
    """
    end = time.monotonic() + seconds
    count = 0

    def tried() -> None:
        nonlocal count
        count += 1
        if time.monotonic() > end:
            raise _Over

    while time.monotonic() < end:
        try:
            search(target, examples=_ROUND, number=time.time_ns() % 2**32, tried=tried)
        except _Over:
            break
    return count


class _Over(BaseException):
    """The time is over; no failure, so hypothesis must not shrink it."""
