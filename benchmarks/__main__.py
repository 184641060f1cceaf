"""``python -m benchmarks``: measures everything side by side; called by ``make bench``.

It is a report: the exit status is 1 where a subject couldn't be measured, never for a target.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import comparison, page, table
from benchmarks.machine import ROOT, commit, machine, versions
from benchmarks.stage import Stage
from benchmarks.subjects import SUBJECTS

LAST = ROOT / "benchmarks" / "last.json"


def measure(stage: Stage, name: str) -> dict[str, Any]:
    """One subject's results, or why there are none."""
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    begun = time.monotonic()
    try:
        found, error = SUBJECTS[name](stage).plain(), ""
    except Exception as failure:  # noqa: BLE001 - it must not lose the others' results
        traceback.print_exc()
        lines = str(failure).strip().splitlines()
        found, error = {}, f"{type(failure).__name__}: {lines[-1] if lines else ''}"[:200]
    took = time.monotonic() - begun
    print(f"{took:.0f} s", file=sys.stderr, flush=True)
    return {"took": round(took, 1), "error": error, **found}


def run(names: list[str], *, quick: bool, full: bool) -> dict[str, Any]:
    """All results."""
    begun = time.monotonic()
    facts = {
        "format": 1,
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": commit(),
        "options": {"quick": quick, "full": full},
        "machine": machine(),
    }
    gc.freeze()  # what was imported needs no looking through before each round
    with Stage(quick=quick, full=full) as stage:
        subjects = {name: measure(stage, name) for name in names}
    facts["versions"] = versions()
    facts["took"] = round(time.monotonic() - begun, 1)
    return {"run": facts, "subjects": subjects}


def main() -> int:
    """Measure, write, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--only", action="append", choices=list(SUBJECTS), metavar="NAME",
                        help=f"may be given several times: {', '.join(SUBJECTS)}")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="few rounds, short curves")
    parser.add_argument("--full", action="store_true", help="curves up to 1 GB")
    parser.add_argument(
        "--keep", action="store_true", help="write benchmarks/last.json and docs/performance.md"
    )
    options = parser.parse_args()
    if options.keep and (options.only or options.quick):
        parser.error("what is kept is a whole run: --keep goes without --only and --quick")
    logging.getLogger("traitlets").setLevel(logging.ERROR)
    last = json.loads(LAST.read_text()) if LAST.exists() else None
    results = run(options.only or list(SUBJECTS), quick=options.quick, full=options.full)
    options.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1) + "\n"
    (options.output / "results.json").write_text(text)
    (options.output / "index.html").write_text(page.html(results, last))
    print(table.markdown(table.HEAD, table.rows(results)), end="\n\n")
    print(table.growth(results), end="\n\n")
    print(comparison.text(last, results))
    for sentence in table.notes(results):
        print(sentence)
    for sentence in table.missing(results):
        print(f"not measured: {sentence}")
    if options.keep:
        LAST.write_text(text)
        page.keep(results, ROOT / "docs")
    print(f"\nwritten to {options.output}")
    return int(any(subject["error"] for subject in results["subjects"].values()))


if __name__ == "__main__":
    sys.exit(main())
