"""What the audit keeps of a call, all of it on disk before the kernel hears of it (T8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keyless.protocol.calls import Call, ServiceError
from keyless.protocol.messages import FailureKind, WrittenFile
from keyless_sidecar.audit import AuditLog
from keyless_sidecar.calls.planning import CallPlan
from keyless_sidecar.execution.request_records import RequestRecords
from keyless_sidecar.sanitize import Patterns

__all__ = ["CallRecorder"]


class CallRecorder(RequestRecords):
    """Writes one call's records.

    Args:
        audit: where they go.
        patterns: what may not be in them; set anew when more is known.
    """

    def __init__(self, audit: AuditLog, patterns: Patterns) -> None:
        super().__init__("call", audit, patterns)

    def request(self, call: Call) -> None:
        """What was asked, on disk together with the decision on it.

        Parameters by name only: their values may be anything.
        """
        names = call.credentials
        self.record_id = self._write(
            "request",
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

    def allowed(self, plan: CallPlan) -> None:
        """That it may be made, by which rule; with the parameters that rules see.

        :meth:`on_disk` brings it to disk, with the request.
        """
        parameters = plan.acts[0].attributes.get("parameters", {}) if plan.acts else {}
        self._write(
            "decision",
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
        """How it ended; on disk."""
        self._concluded = True
        self._write(
            "result",
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
        await self._audit.on_disk()
