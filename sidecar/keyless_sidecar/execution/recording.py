"""What the audit keeps of one request, and what the kernel side is told of it.

Everything that came from the kernel side or a tool is sanitized before it is written or sent.  Used
by :mod:`keyless_sidecar.execution.runner`.
"""

from __future__ import annotations

from collections.abc import Sequence

from keyless.protocol.messages import Exec, Failed, Finished, WrittenFile
from keyless_sidecar.audit import AuditLog
from keyless_sidecar.execution.order import Outcome
from keyless_sidecar.execution.planning import Plan
from keyless_sidecar.execution.request_records import MAX_MESSAGE, RequestRecords
from keyless_sidecar.sanitize import Patterns

#: What one reply or record names at most, so that it fits a frame.
MAX_FILES, MAX_PATHS = 1000, 256 * 1024
MAX_NOTES, MAX_NOTE = 40, 600


class Recorder(RequestRecords):
    """Writes one command's records.

    Args:
        audit: where they go.
        patterns: what may not be in them.
    """

    def __init__(self, audit: AuditLog, patterns: Patterns) -> None:
        super().__init__("exec", audit, patterns)

    def request(self, request: Exec, origin: str = "cell") -> None:
        """What was asked, and where it came from; on disk together with the decision on it."""
        names, terminal = request.credentials, request.terminal
        self.record_id = self._write(
            "request",
            {
                "id": request.id,
                "origin": origin,
                "tool": self.clean(request.tool),
                "argv": [self.clean(argument) for argument in request.argv],
                "credentials": None if names is None else [self.clean(name) for name in names],
                # As text: it may be a number that JSON doesn't know.
                "timeout": None if request.timeout is None else repr(request.timeout),
                "isolated": request.isolated,
                "cwd": self.clean(request.cwd),
                "stdin_size": request.stdin_size,
                "terminal": terminal and [terminal.rows, terminal.columns],
                "dry_run": request.dry_run,
                "refused": self.clean(request.refused),
                "execution_count": request.cell.execution_count,
                "cell_hash": self.clean(request.cell.cell_hash),
            },
        )

    async def allowed(self, plan: Plan) -> None:
        """That it may run, by which rule; on disk, with the request."""
        self._write(
            "decision",
            {
                "request": self.record_id,
                "allowed": True,
                "rule": plan.rule,
                "approval": plan.approval,
                "checked_by": plan.checked.rule,
                "operation": plan.checked.operation,
                "mutating": plan.checked.mutating,
                "credentials": [info.name for info in plan.credentials],
                "files": [self.clean(file.path) for file in plan.checked.files],
                "timeout": plan.timeout,
            },
        )
        await self._audit.on_disk()

    async def result(
        self, request: Exec, outcome: Outcome, patterns: Patterns
    ) -> Finished | Failed:
        """How it ended, on disk, and the answer that says so.

        Args:
            request: as it came.
            outcome: of its command.
            patterns: up to date; a value may have been added meanwhile.
        """
        self.patterns = patterns
        self._concluded = True
        notes = _fit([self.clean(note) for note in outcome.notes])
        files = _listed(outcome.files)
        kind, message = outcome.failure or ("Finished", "")
        message = self.clean(message)[:MAX_MESSAGE]
        self._write(
            "result",
            {
                "request": self.record_id,
                "outcome": kind,
                "message": message,
                "detail": self.clean(outcome.detail),
                "start": outcome.start,
                "prepared": outcome.ready,
                "cold_because": self.clean(outcome.cold_because),
                "exit_code": outcome.exit_code,
                "duration": round(outcome.duration, 3),
                "output_bytes": outcome.output,
                # How much was typed, never what.
                "typed_bytes": outcome.typed,
                "redactions": outcome.redactions,
                "egress_refused": {
                    self.clean(name): count for name, count in outcome.refused.items()
                },
                "files": [[file.path, file.size, file.sha256] for file in files],
                "notes": notes,
            },
            closing=True,
        )
        await self._audit.on_disk()
        if outcome.failure is not None:
            return Failed(
                id=request.id,
                kind=outcome.failure[0],
                message=message,
                record_id=self.record_id,
                duration=outcome.duration,
                redactions=outcome.redactions,
            )
        if len(files) < len(outcome.files):
            notes.append(f"{len(outcome.files)} files were written; {len(files)} are listed.")
        return Finished(
            id=request.id,
            exit_code=outcome.exit_code,
            duration=outcome.duration,
            record_id=self.record_id,
            redactions=outcome.redactions,
            files=files,
            notes=notes,
        )


def _listed(files: Sequence[WrittenFile]) -> list[WrittenFile]:
    chosen: list[WrittenFile] = []
    size = 0
    for file in files[:MAX_FILES]:
        size += len(file.path.encode())
        if size > MAX_PATHS:
            break
        chosen.append(file)
    return chosen


def _fit(notes: Sequence[str]) -> list[str]:
    shown = [note if len(note) <= MAX_NOTE else note[:MAX_NOTE] + "…" for note in notes[:MAX_NOTES]]
    if len(notes) > MAX_NOTES:
        shown.append(f"{len(notes) - MAX_NOTES} more notes are left out.")
    return shown
