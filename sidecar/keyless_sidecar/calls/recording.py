"""What the audit keeps of a call, each record on disk before the kernel hears of it (T8)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from keyless.protocol.calls import Call, ServiceError
from keyless.protocol.messages import Failed, FailureKind, WrittenFile
from keyless_sidecar.audit import AuditLog
from keyless_sidecar.calls.planning import CallPlan
from keyless_sidecar.execution.recording import MAX_MESSAGE
from keyless_sidecar.sanitize import Patterns, sanitize_text
from keyless_sidecar.tools import Refused

__all__ = ["CallRecorder"]


class CallRecorder:
    """Writes one call's records.

    Args:
        audit: where they go.
        patterns: what may not be in them; set anew when more is known.

    All methods raise :class:`~keyless_sidecar.audit.AuditUnavailable`.
    """

    def __init__(self, audit: AuditLog, patterns: Patterns) -> None:
        self._audit = audit
        self.patterns = patterns
        self._concluded = False
        #: Id of the call's first record; it stands in the replies.
        self.record_id = ""

    async def request(self, call: Call) -> None:
        """What was asked.  Parameters by name only: their values may be anything."""
        names = call.credentials
        self.record_id = await self._append(
            "call.request",
            {
                "id": call.id,
                "service": self.clean(call.service),
                "operation": self.clean(call.operation),
                "parameters": sorted(self.clean(name) for name in call.parameters),
                "credentials": None if names is None else [self.clean(name) for name in names],
                "region": self.clean(call.region),
                # As text: it may be a number that JSON doesn't know.
                "timeout": None if call.timeout is None else repr(call.timeout),
                "paginate": call.paginate,
                "wait": self.clean(call.wait),
                "save": {self.clean(name): self.clean(path) for name, path in call.save.items()},
                "dry_run": call.dry_run,
                "refused": self.clean(call.refused),
                "execution_count": call.cell.execution_count,
                "cell_hash": self.clean(call.cell.cell_hash),
            },
        )

    async def allowed(self, plan: CallPlan) -> None:
        """That it may be made, by which rule; with the parameters that rules see."""
        parameters = plan.acts[0].attributes.get("parameters", {}) if plan.acts else {}
        await self._append(
            "call.decision",
            {
                "request": self.record_id,
                "allowed": True,
                "rule": plan.rule,
                "operation": plan.name,
                "actions": [act.action for act in plan.acts],
                "mutating": any(act.mutating is not False for act in plan.acts),
                "parameters": {
                    name: self.clean(str(value)) for name, value in sorted(parameters.items())
                },
                "credentials": [plan.credential.name],
                "region": plan.region,
                "files": [self.clean(upload.name) for upload in plan.uploads],
                "timeout": plan.timeout,
            },
        )

    async def denied(self, call: Call, refused: Refused) -> Failed:
        """That it may not be made, and the answer that says so."""
        self._concluded = True
        message = self.clean(refused.message)[:MAX_MESSAGE]
        await self._append(
            "call.decision",
            {
                "request": self.record_id,
                "allowed": False,
                "rule": refused.rule,
                "kind": refused.kind,
                "message": message,
            },
        )
        return Failed(id=call.id, kind=refused.kind, message=message, record_id=self.record_id)

    async def result(
        self,
        outcome: FailureKind | str,
        *,
        message: str = "",
        rule: str = "",
        error: ServiceError | None = None,
        duration: float,
        size: int = 0,
        redactions: Mapping[str, int] | None = None,
        files: Sequence[WrittenFile] = (),
        notes: Sequence[str] = (),
    ) -> None:
        """How it ended."""
        self._concluded = True
        await self._append(
            "call.result",
            {
                "request": self.record_id,
                "outcome": outcome,
                "message": message,
                "rule": rule,
                "error": error.code if error is not None else "",
                "status": error.status if error is not None else 0,
                "duration": round(duration, 3),
                "answer_bytes": size,
                "redactions": dict(redactions or {}),
                "files": [[file.path, file.size, file.sha256] for file in files],
                "notes": list(notes),
            },
            closing=True,
        )

    def stopped(self) -> None:
        """That the sidecar ended it; called while the sidecar stops, hence without waiting."""
        if not self._concluded:
            self._audit.append(
                "call.result", {"request": self.record_id, "outcome": "Stopped"}, from_reserve=True
            )

    def clean(self, text: str) -> str:
        """A text without secrets."""
        return sanitize_text(self.patterns, text)[0]

    async def _append(self, kind: str, fields: dict[str, Any], *, closing: bool = False) -> str:
        return await asyncio.to_thread(self._audit.append, kind, fields, from_reserve=closing)
