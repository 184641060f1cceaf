"""What runs now, and telling it to those who listen at the control socket."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from keyless.protocol.messages import Failed, Finished
from keyless_sidecar.events import Events
from keyless_sidecar.execution.planning import Plan
from keyless_sidecar.execution.recording import Recorder
from keyless_sidecar.flow import Flow
from keyless_sidecar.printable import printable

__all__ = ["News"]


class News:
    """Commands under way.  Owned by the event loop's thread.

    Args:
        events: who listens.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._running: dict[str, tuple[float, Mapping[str, Any]]] = {}

    def running(self) -> list[dict[str, Any]]:
        """What runs, with the seconds since its start."""
        now = time.monotonic()
        return [
            {**facts, "seconds": round(now - begun, 1)} for begun, facts in self._running.values()
        ]

    def started(self, flow: Flow, plan: Plan, recorder: Recorder) -> None:
        """A command was allowed and starts."""
        facts = {
            "record_id": recorder.record_id,
            "tool": plan.tool.name,
            "argv": [printable(recorder.clean(word)) for word in plan.checked.argv],
            "credentials": [info.name for info in plan.credentials],
            "origin": flow.origin,
        }
        self._running[recorder.record_id] = time.monotonic(), facts
        self._events.publish("started", facts)

    def ended(self, record_id: str) -> None:
        """It runs no more, however that came."""
        self._running.pop(record_id, None)

    def finished(self, record_id: str, reply: Finished | Failed) -> None:
        """Its result is on record."""
        outcome = reply.kind if isinstance(reply, Failed) else "Finished"
        facts: dict[str, Any] = {"record_id": record_id, "outcome": outcome}
        if isinstance(reply, Finished):
            facts["exit_code"] = reply.exit_code
        self._events.publish("finished", {**facts, "duration": round(reply.duration, 3)})
