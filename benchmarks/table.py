"""The results in words: the table of targets, what grows too fast, what isn't there.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.figures import STEEP
from benchmarks.plots import amount
from benchmarks.targets import TARGETS, Target

Results = Mapping[str, Any]
HEAD = ("what", "target", "measured", "met?")


def figures(results: Results) -> dict[str, Mapping[str, Any]]:
    """All figures by key."""
    return {
        figure["key"]: figure
        for subject in results["subjects"].values()
        for figure in subject.get("figures", ())
    }


def curves(results: Results) -> list[Mapping[str, Any]]:
    """All curves."""
    return [
        curve for subject in results["subjects"].values() for curve in subject.get("curves", ())
    ]


def rows(results: Results, targets: Sequence[Target] = TARGETS) -> list[tuple[str, str, str, str]]:
    """What, target, measured, met?"""
    found = figures(results)
    return [
        (target.what, target.wanted, *_measured(target, found.get(target.key), results))
        for target in targets
    ]


def _measured(
    target: Target, figure: Mapping[str, Any] | None, results: Results
) -> tuple[str, str]:
    if figure is not None:
        told = amount(figure["value"], figure["unit"])
        if figure["low"] is not None and figure["low"] != figure["high"]:
            told += f" ({amount(figure['low'], '').strip()}–{amount(figure['high'], '').strip()})"
        return told, "yes" if target.met(figure["value"]) else "no"
    subject = results["subjects"].get(target.subject)
    if subject is None:
        return "not run", "–"
    if subject.get("error"):
        return f"failed: {subject['error']}", "–"
    missing = "; ".join(f"{name}: {why}" for name, why in subject.get("missing", {}).items())
    return missing or "not measured in this run", "–"


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table of Markdown, its columns aligned for a terminal too."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in body]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = [list(head), ["-" * width for width in widths], *cells]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def steep(results: Results) -> list[str]:
    """What grows faster than its work, a sentence each."""
    return [
        f"{curve['title']}, {name}: {curve['y']} grow with the power {slope:.2f} of {curve['x']}"
        for curve in curves(results)
        for name, slope in curve["slopes"].items()
        if slope > STEEP and not _beside(name)
    ]


def growth(results: Results) -> str:
    """The same as text, also where there is nothing to name."""
    named = steep(results)
    if named:
        return "\n".join(["Grows faster than its work:", "", *(f"- {each}." for each in named)])
    return f"Nothing grows faster than its work (no slope above {STEEP} in the last decade)."


def missing(results: Results) -> Iterator[str]:
    """Peers that weren't there, and subjects that failed, a sentence each."""
    for name, subject in results["subjects"].items():
        if subject.get("error"):
            yield f"{name} failed: {subject['error']}"
        for peer, why in subject.get("missing", {}).items():
            yield f"{name}: no {peer}: {why}"


def notes(results: Results) -> Iterator[str]:
    """What subjects said beside their figures, a sentence each."""
    for name, subject in results["subjects"].items():
        for note in subject.get("notes", ()):
            yield f"{name}: {note}"


def _beside(name: str) -> bool:
    """Whether a line is of a peer."""
    return name in ("direct", "mitmproxy", "plain ipykernel", "subprocess.run")
