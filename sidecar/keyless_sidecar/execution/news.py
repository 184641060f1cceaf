"""What runs now, and telling it to those who listen at the control socket."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from keyless.protocol.calls import SDK, CallFinished
from keyless.protocol.messages import Failed, Finished
from keyless_sidecar.events import Events
from keyless_sidecar.execution.planning import Plan
from keyless_sidecar.execution.recording import Recorder
from keyless_sidecar.flow import CallFlow, Flow, Underway
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
        self._flows: dict[str, Underway] = {}

    def running(self) -> list[dict[str, Any]]:
        """What runs, with the seconds since its start."""
        now = time.monotonic()
        return [
            {**facts, "seconds": round(now - begun, 1)} for begun, facts in self._running.values()
        ]

    def started(self, flow: Flow, plan: Plan, recorder: Recorder) -> None:
        """A command was allowed and starts."""
        self._begin(
            flow,
            {
                "record_id": recorder.record_id,
                "tool": plan.tool.name,
                "argv": [printable(recorder.clean(word)) for word in plan.checked.argv],
                "credentials": [info.name for info in plan.credentials],
                "origin": flow.origin,
                "execution_count": flow.request.cell.execution_count,
            },
        )

    def called(self, flow: CallFlow, record_id: str, words: Sequence[str], credential: str) -> None:
        """A call was allowed and starts.

        Args:
            flow: what can be stopped.
            record_id: of its first record.
            words: service and operation.
            credential: the vault entry in use.
        """
        self._begin(
            flow,
            {
                "record_id": record_id,
                "tool": SDK,
                "argv": [printable(word) for word in words],
                "credentials": [credential],
                "origin": "cell",
                "execution_count": flow.request.cell.execution_count,
            },
        )

    def ended(self, record_id: str) -> None:
        """It runs no more, however that came."""
        self._running.pop(record_id, None)
        self._flows.pop(record_id, None)

    def runs(self, record_id: str) -> bool:
        """Whether a command of that record is under way."""
        return record_id in self._flows

    def stop(self, record_id: str) -> None:
        """Interrupt a command, by a person's word; nothing where it has ended meanwhile."""
        if flow := self._flows.get(record_id):
            flow.stopped = True
            flow.cancelled.set()

    def finished(self, record_id: str, reply: Finished | CallFinished | Failed) -> None:
        """Its result is on record."""
        outcome = reply.kind if isinstance(reply, Failed) else "Finished"
        facts: dict[str, Any] = {"record_id": record_id, "outcome": outcome}
        if isinstance(reply, Finished):
            facts["exit_code"] = reply.exit_code
        self._events.publish("finished", {**facts, "duration": round(reply.duration, 3)})

    def _begin(self, flow: Underway, facts: Mapping[str, Any]) -> None:
        record_id = str(facts["record_id"])
        self._running[record_id] = time.monotonic(), facts
        self._flows[record_id] = flow
        self._events.publish("started", facts)
