"""Plots as SVG, readable on light and dark pages: bars of samples, curves on logarithmic scales.

Drawn by hand, since their colours follow the reader's preference, which pictures of a plotting
library don't.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_WIDTH = 720
_ROW = 26
STYLE = """
.plot { --paper: #ffffff; --ink: #1f2328; --faint: #59636e; --grid: #d8dee4;
  --c0: #0969da; --c1: #bc4c00; --c2: #1a7f37; --c3: #8250df; --c4: #6e7781;
  font: 13px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .plot { --paper: #15191f; --ink: #e6edf3; --faint: #9198a1;
  --grid: #30363d; --c0: #58a6ff; --c1: #f0883e; --c2: #56d364; --c3: #bc8cff; --c4: #8b949e; } }
.plot .paper { fill: var(--paper); }
.plot text { fill: var(--ink); }
.plot .title { font-weight: 600; }
.plot .faint { fill: var(--faint); font-size: 12px; }
.plot .grid { stroke: var(--grid); }
.plot .whisker { stroke: var(--ink); stroke-width: 1.5; }
.plot .line { fill: none; stroke-width: 2; }
.plot .b0, .plot .d0 { fill: var(--c0); } .plot .l0 { stroke: var(--c0); }
.plot .b1, .plot .d1 { fill: var(--c1); } .plot .l1 { stroke: var(--c1); }
.plot .b2, .plot .d2 { fill: var(--c2); } .plot .l2 { stroke: var(--c2); }
.plot .b3, .plot .d3 { fill: var(--c3); } .plot .l3 { stroke: var(--c3); }
.plot .b4, .plot .d4 { fill: var(--c4); } .plot .l4 { stroke: var(--c4); }
"""
_OURS = ("Keyless", "secure", "cell with %secure", "sidecar", "kernel in", "supervisor")


def bars(group: Mapping[str, Any]) -> str:
    """The sides of a group: medians as bars, thin lines to their 95th percentiles.

    Args:
        group: as in the results.
    """
    sides, unit = group["sides"], group["unit"]
    most = max(max(side["p95"], side["median"]) for side in sides.values()) or 1.0
    left, right = 280, 110
    scale = (_WIDTH - left - right) / most
    better = "more is better" if unit == "MB/s" else "less is better"
    better += "; thin lines reach to what 95% are no worse than"
    parts = [_text(16, 24, f"{group['title']}", "title"), _text(16, 42, better, "faint")]
    for number, (name, side) in enumerate(sides.items()):
        y = 58 + number * _ROW
        width, end = side["median"] * scale, left + side["p95"] * scale
        colour = 0 if name.startswith(_OURS) else 4
        parts += [
            _text(left - 8, y + 14, name, anchor="end"),
            f'<rect x="{left}" y="{y}" width="{max(width, 1):.1f}" height="18" rx="2" '
            f'class="b{colour}"/>',
            f'<path d="M{left + width:.1f} {y + 9}H{end:.1f}" class="whisker"/>',
            _text(max(left + width, end) + 8, y + 14, amount(side["median"], unit)),
        ]
    return _svg(70 + len(sides) * _ROW, parts, group["title"])


def curves(curve: Mapping[str, Any], *, width: int = _WIDTH, height: int = 320) -> str:
    """Lines over the work, both scales logarithmic; the legend gives each one's slope."""
    return _svg(height, curve_parts(curve, width, height), curve["title"], width)


def sheet(found: Sequence[Mapping[str, Any]], columns: int = 2) -> str:
    """Several curves as one picture."""
    width, height = 520, 300
    rows = math.ceil(len(found) / columns)
    parts = []
    for number, curve in enumerate(found):
        x, y = number % columns * width, number // columns * height
        inner = "".join(curve_parts(curve, width, height))
        parts.append(f'<g transform="translate({x} {y})">{inner}</g>')
    return _svg(rows * height, parts, "growth curves", columns * width)


def curve_parts(curve: Mapping[str, Any], width: int, height: int) -> list[str]:
    """What :func:`curves` draws, without its frame."""
    ours_first = sorted(curve["lines"].items(), key=lambda each: not each[0].startswith(_OURS))
    lines = {name: line for name, line in ours_first if line}
    left, right, top, bottom = 64, 20, 62 + 16 * ((len(lines) + 1) // 2), 48
    points = [point for line in lines.values() for point in line]
    x = _Scale([p[0] for p in points], left, width - right)
    y = _Scale([p[1] for p in points], height - bottom, top)
    parts = [_text(16, 24, curve["title"], "title"), _text(16, 42, curve["y"], "faint")]
    for value in y.ticks():
        parts.append(f'<path d="M{left} {y(value):.1f}H{width - right}" class="grid"/>')
        parts.append(_text(left - 8, y(value) + 4, short(value, curve["y"]), "faint", "end"))
    for value in x.powers(32) if curve["x"] == "bytes" else x.ticks():
        parts.append(f'<path d="M{x(value):.1f} {top}V{height - bottom}" class="grid"/>')
        label = short(value, curve["x"])
        parts.append(_text(x(value), height - bottom + 18, label, "faint", "middle"))
    parts.append(_text((left + width) / 2, height - 10, curve["x"], "faint", "middle"))
    for number, (name, line) in enumerate(lines.items()):
        path = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in line)
        parts.append(f'<path d="M{path}" class="line l{number % 5}"/>')
        parts += [
            f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3.5" class="d{number % 5}"/>'
            for a, b in line
        ]
        at, row = 16 + number % 2 * (width // 2 - 8), 58 + number // 2 * 16
        slope = curve.get("slopes", {}).get(name)
        told = name if slope is None else f"{name}: slope {slope:.2f}"
        parts.append(f'<rect x="{at}" y="{row - 9}" width="10" height="10" class="b{number % 5}"/>')
        parts.append(_text(at + 16, row, told, "faint"))
    return parts


def amount(value: float, unit: str) -> str:
    """A number with its unit, in three digits at most."""
    if unit == "s" and value < 1:
        value, unit = value * 1000, "ms"
    return f"{_rounded(value)}{unit}" if unit == "×" else f"{_rounded(value)} {unit}"


def short(value: float, axis: str) -> str:
    """A tick's label: 1 KB for 1024 bytes, 1k for a thousand."""
    if axis == "bytes":
        for size, name in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")):
            if value >= size * 0.9:
                return f"{value / size:.0f} {name}"
        return f"{value:.0f} B"
    if axis.startswith("seconds") and value < 1:
        return f"{value * 1000:g} ms"
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _rounded(value: float) -> str:
    if value >= 100 or value <= -100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.3f}" if 0 < abs(value) < 0.1 else f"{value:.2f}"


class _Scale:
    """Values to places, logarithmically."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        low, high = min(values), max(values)
        if high < low * 4:  # a flat line stays flat
            low, high = low / 2, high * 2
        self._low, self._high = math.log10(low), math.log10(high)
        self._begin, self._end = begin, end

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._begin + share * (self._end - self._begin)

    def powers(self, base: float) -> list[float]:
        """The base's powers within: those of 32 are round numbers of bytes."""
        step = math.log10(base)
        first, last = math.ceil(self._low / step - 1e-9), math.floor(self._high / step + 1e-9)
        return [base**power for power in range(first, last + 1)]

    def ticks(self) -> list[float]:
        """Decades within, or parts of them where there are few."""
        for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
            found = [
                step * 10.0**power
                for power in range(math.floor(self._low), math.ceil(self._high) + 1)
                for step in steps
                if self._low - 1e-9 <= math.log10(step * 10.0**power) <= self._high + 1e-9
            ]
            if len(found) >= 3:
                break
        return found[:: max(1, len(found) // 6)]


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(words)}</text>'


def _svg(height: float, parts: Sequence[str], title: str, width: int = _WIDTH) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" '
        f'width="{width}" height="{height:.0f}" class="plot" role="img" '
        f'aria-label="{escape(title)}"><style>{STYLE}</style>'
        f'<rect class="paper" width="100%" height="100%" rx="6"/>{"".join(parts)}</svg>'
    )
