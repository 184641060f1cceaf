"""The arithmetic: medians, percentiles, ratios with their intervals, slopes.  Pure."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence

Statistic = Callable[[Sequence[float], Sequence[float]], float]

#: A curve whose slope over its last decade is above this grows faster than its work.
STEEP = 1.15
_DRAWS = 1000


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that is no less than ``share`` (0 to 1) of them."""
    ordered = sorted(samples)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def summary(samples: Sequence[float], *, more: bool = False) -> dict[str, float]:
    """Count, median, best, and what 95% of the samples are no worse than (``p95``).

    Args:
        samples: at least one.
        more: whether more is better, as it is for speeds.
    """
    return {
        "count": len(samples),
        "median": statistics.median(samples),
        "p95": percentile(samples, 0.05 if more else 0.95),
        "best": max(samples) if more else min(samples),
    }


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The ratio of the medians."""
    return statistics.median(ours) / statistics.median(theirs)


def difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The difference of the medians."""
    return statistics.median(ours) - statistics.median(theirs)


def first_median(ours: Sequence[float], _: Sequence[float]) -> float:
    """The median of the first side, as a statistic of two."""
    return statistics.median(ours)


def interval(
    statistic: Statistic, ours: Sequence[float], theirs: Sequence[float]
) -> tuple[float, float]:
    """The 95% interval of a statistic, by drawing rounds anew.

    Both sides of a round are drawn together: what slowed the machine slowed both.  The same samples
    give the same interval.
    """
    rounds = list(zip(ours, theirs, strict=True))
    draw = random.Random(0)
    found = []
    for _ in range(_DRAWS):
        drawn = draw.choices(rounds, k=len(rounds))
        found.append(statistic([a for a, _ in drawn], [b for _, b in drawn]))
    return percentile(found, 0.025), percentile(found, 0.975)


def slope(line: Sequence[tuple[float, float]]) -> float:
    """How steep a line is over its last decade of work, on logarithmic scales.

    1 is as fast as the work, 2 is its square.  Fitted by least squares over the points whose work
    is at least a tenth of the most; over the last two points where the decade holds but one.
    """
    ordered = sorted(line)
    most = ordered[-1][0]
    last = [point for point in ordered if point[0] >= most / 10 * 0.999]
    last = last if len(last) > 1 else ordered[-2:]
    xs = [math.log(x) for x, _ in last]
    ys = [math.log(y) for _, y in last]
    return statistics.linear_regression(xs, ys).slope
