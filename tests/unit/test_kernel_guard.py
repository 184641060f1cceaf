"""A kernel's limits while it runs: who says what where a look and the end come close together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from keyless_kernel import guard as guard_module
from keyless_kernel.confine.limits import Limits, kernel_ceiling
from keyless_kernel.guard import Guard


@dataclass
class Meter:
    """A control group in which something was killed."""

    hits: list[str]
    grouped: bool = True
    ceiling: Any = field(default_factory=lambda: kernel_ceiling(Limits()))

    def exceeded(self, init_pid: int) -> str:
        return self.hits.pop(0) if self.hits else ""


class Limiter:
    period = 0.0

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def meter(self, ceiling: Any) -> Meter:
        return self._meter


@pytest.mark.parametrize("looks", [0, 1], ids=["seen at the end", "seen by a look before"])
def test_a_kernel_killed_for_its_memory_is_told(looks: int, tmp_path: Path) -> None:
    guard = Guard(Limits(), Limiter(Meter(["memory"])), str(tmp_path), "namespaces")  # type: ignore[arg-type]
    for _ in range(looks):
        finding = guard.look(1)
        assert finding is not None
        assert not finding.fatal
    assert guard.last_words(1, 137).startswith("the kernel was ended: more than")


def test_other_ends_are_not_blamed_on_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = Guard(Limits(), Limiter(Meter(["memory"])), str(tmp_path), "namespaces")  # type: ignore[arg-type]
    assert guard.look(1) is not None
    assert guard.last_words(1, 0) == ""
    # A child was killed, and long after it somebody killed the kernel.
    monkeypatch.setattr(guard_module, "_TAKING_DOWN", 0.0)
    assert guard.last_words(1, 137) == ""
