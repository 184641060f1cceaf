"""Takes samples: of several sides in turn, so that the machine's noise hits all of them alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Measure = Callable[[], float]


def timed(action: Callable[[], object]) -> Measure:
    """A measure that is the wall time of an action, in seconds."""

    def measure() -> float:
        begun = time.perf_counter()
        action()
        return time.perf_counter() - begun

    return measure


def in_turn(sides: Mapping[str, Measure], rounds: int, warmup: int = 1) -> dict[str, list[float]]:
    """Samples of each side: A, B, C, A, B, C...

    Args:
        sides: by name.
        rounds: samples of each.
        warmup: rounds before them, which don't count.
    """
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warmup + rounds):
        with _no_collection():
            for name, measure in sides.items():
                value = measure()
                if number >= warmup:
                    samples[name].append(value)
    return samples


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python's garbage collector out of a round."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
