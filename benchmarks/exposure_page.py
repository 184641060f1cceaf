"""The table and the plot of what :mod:`benchmarks.exposure` measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

#: Where nothing was ever seen, and a logarithm has no place for it.
_NOTHING = 0.001


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The comparison as Markdown."""
    lines = [
        "| pattern | any CLI tool | exposed | to the cells, s | to the tool, s | took, s |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = row["key_in_cells"] + row["session_in_cells"]
        lines.append(
            f"| {row['name']} | {'yes' if row['cli'] else 'no'} | {row['exposed']} | "
            f"{_seconds(cells)}{_otherwise(row)} | {_seconds(row['key_in_tool'])} | "
            f"{row['seconds']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def write_plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Bars: how long cells and tools held something that is worth taking."""
    with mpl.rc_context({"svg.hashsalt": "keyless", "svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        axes = figure.subplots()
        for number, row in enumerate(rows):
            if row["otherwise"]:
                axes.barh(number - 0.2, row["otherwise"], 0.36, color="#c0392b", alpha=0.2)
                axes.text(
                    row["otherwise"] * 0.9,
                    number - 0.2,
                    f"{row['otherwise']:.0f} where it isn't revoked",
                    va="center",
                    ha="right",
                    fontsize=8,
                )
            sides = (
                ("cells", row["key_in_cells"] + row["session_in_cells"], "#c0392b", -0.2),
                ("tool", row["key_in_tool"], "#e69f00", 0.2),
            )
            for _, seconds, colour, shift in sides:
                axes.barh(number + shift, max(seconds, 0), 0.36, color=colour, left=_NOTHING)
                axes.text(
                    max(seconds, _NOTHING) * 1.15,
                    number + shift,
                    _seconds(seconds),
                    va="center",
                    fontsize=8,
                )
        axes.set_xscale("log")
        axes.set_xlim(_NOTHING, 1000)
        axes.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("seconds for which it was held, by looks into memory (logarithmic)")
        axes.barh(0, 0, color="#c0392b", label="by the cells: untrusted code")
        axes.barh(0, 0, color="#e69f00", label="by the tool: its own isolated process")
        axes.legend(fontsize=8, loc="lower right", frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, metadata={"Date": None})


def _otherwise(row: Mapping[str, Any]) -> str:
    return f" ({row['otherwise']:.0f} where it isn't revoked)" if row["otherwise"] else ""


def _seconds(value: float) -> str:
    return "never" if value == 0 else f"{value:.2f}"
