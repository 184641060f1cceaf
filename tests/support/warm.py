"""What tests of warm tools ask of a sidecar."""

from __future__ import annotations

from typing import Any

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
