"""How commands started while a subject ran, from the sidecars' records: warm or cold, and why."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.outcome import Outcome


@contextmanager
def noted(found: Outcome) -> Iterator[None]:
    """Add a note to an outcome on the commands that ended within."""
    before = _starts()
    yield
    starts = _starts() - before
    if starts:
        told = ", ".join(f"{count} {how}" for how, count in starts.most_common())
        found.notes.append(f"how the commands started, by their records: {told}")


def _starts() -> Counter[str]:
    found: Counter[str] = Counter()
    folder = Path(os.environ["JUPYTER_DATA_DIR"]) / "keyless" / "audit"
    for file in folder.glob("*.jsonl"):
        for line in file.read_text().splitlines():
            fields = json.loads(line)["fields"]
            if fields.get("start"):
                found[_how(fields)] += 1
    return found


def _how(fields: dict[str, object]) -> str:
    how = f"{fields['start']}{' with a sandbox that waited' if fields.get('prepared') else ''}"
    return f"{how} ({fields['cold_because']})" if fields.get("cold_because") else how
