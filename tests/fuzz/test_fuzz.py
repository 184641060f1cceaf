"""The fuzz targets in the normal tests: every value found before, and a short fixed search."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzz.bulk import in_process, real_sidecars
from tests.fuzz.engine import TARGETS, Found, Target, read_case, search

EXAMPLES = {"frames": 300, "arguments": 300, "opener": 150, "sanitizer": 120}
FOUND = [
    pytest.param(target, path, id=f"{target.name}-{path.stem}")
    for target in TARGETS.values()
    for path in target.cases()
]


@pytest.mark.parametrize(("target", "path"), FOUND)
def test_what_was_found_before_holds_now(target: Target, path: Path) -> None:
    target.check(read_case(path))


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_short_search(target: Target) -> None:
    tried = 0

    def count() -> None:
        nonlocal tried
        tried += 1

    search(target, examples=EXAMPLES[target.name], tried=count)
    assert tried >= EXAMPLES[target.name] // 2


def test_many_frames_change_nothing() -> None:
    """A short run of what ``make fuzz-frames`` does with ten million."""
    assert in_process(60_000, seed=1) < 4 << 20
    growth, wrong = real_sidecars(1500, seed=1)
    assert wrong == []
    assert growth < 8 << 20


def test_a_fault_is_found_made_small_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.fuzz.engine.CASES", tmp_path)

    def faulty(value: list[bytes]) -> None:
        assert b"\x00\x00" not in b"".join(value), "two zeros"

    monkeypatch.setattr(TARGETS["frames"].module, "check", faulty)
    with pytest.raises(Found, match="two zeros"):
        search(TARGETS["frames"], examples=500, number=1)
    (path,) = (tmp_path / "frames").iterdir()
    assert path.read_text().startswith("# AssertionError: two zeros")
    value = read_case(path)
    assert b"\x00\x00" in b"".join(value)
    assert sum(map(len, value)) < 60
