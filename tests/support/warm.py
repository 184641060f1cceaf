"""What tests of warm tools ask of a sidecar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.leftovers import descendants
from tests.support.sidecar import Result, Sidecar


def result_record(sidecar: Sidecar, result: Result) -> dict[str, Any]:
    """What the audit says of how a command was started and ended."""
    assert result.end is not None
    found = [
        record["fields"]
        for record in sidecar.records()
        if record["kind"] == "exec.result" and record["fields"]["request"] == result.end.record_id
    ]
    assert len(found) == 1, found
    return dict(found[0])


def zygotes(pid: int) -> list[int]:
    """A sidecar's zygotes, without their forks and the bubblewraps above them."""
    found = [
        child
        for child, line in descendants(pid).items()
        if "The program of a zygote" in line and _stat(child)[0].startswith("python")
    ]
    return [child for child in found if int(_stat(child)[2]) not in found]


def _stat(pid: int) -> list[str]:
    """Name, state and parent, or nothing of the kind."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return ["", "", "0"]
    return [name, *rest.split()[:2]]
