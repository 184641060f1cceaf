"""What the audit keeps of one request, and what the kernel side is told of it.

Everything that came from the kernel side or a tool is sanitized before it is written or sent.  Used
by :mod:`keyless_sidecar.execution.runner`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from keyless.protocol.messages import Exec, Failed, Finished, WrittenFile
from keyless_sidecar.audit import AuditLog
from keyless_sidecar.execution.order import Outcome
from keyless_sidecar.execution.planning import Ended, Plan
from keyless_sidecar.sanitize import Patterns, sanitize_text

#: What one reply or record names at most, so that it fits a frame.
MAX_FILES, MAX_PATHS = 1000, 256 * 1024
MAX_NOTES, MAX_NOTE = 40, 600
MAX_MESSAGE = 2000


class Recorder:
    """Writes one request's records; each is on disk when its method returns.

    Args:
        audit: where they go.
        patterns: what may not be in them.

    All methods raise :class:`~keyless_sidecar.audit.AuditUnavailable`.
    """

    def __init__(self, audit: AuditLog, patterns: Patterns) -> None:
        self._audit = audit
        self._patterns = patterns
        self._concluded = False
        #: Id of the request's first record; it stands in the replies.
        self.record_id = ""

    async def request(self, request: Exec, origin: str = "cell") -> None:
        """What was asked, and where it came from."""
        names, terminal = request.credentials, request.terminal
        self.record_id = await self._append(
            "exec.request",
            {
                "id": request.id,
                "origin": origin,
                "tool": self._clean(request.tool),
                "argv": [self._clean(argument) for argument in request.argv],
                "credentials": None if names is None else [self._clean(name) for name in names],
                # As text: it may be a number that JSON doesn't know.
                "timeout": None if request.timeout is None else repr(request.timeout),
                "isolated": request.isolated,
                "cwd": self._clean(request.cwd),
                "stdin_size": request.stdin_size,
                "terminal": terminal and [terminal.rows, terminal.columns],
                "dry_run": request.dry_run,
                "refused": self._clean(request.refused),
                "execution_count": request.cell.execution_count,
                "cell_hash": self._clean(request.cell.cell_hash),
            },
        )

    async def allowed(self, plan: Plan) -> None:
        """That it may run, by which rule."""
        await self._append(
            "exec.decision",
            {
                "request": self.record_id,
                "allowed": True,
                "rule": plan.rule,
                "approval": plan.approval,
                "checked_by": plan.checked.rule,
                "operation": plan.checked.operation,
                "mutating": plan.checked.mutating,
                "credentials": [info.name for info in plan.credentials],
                "files": [self._clean(file.path) for file in plan.checked.files],
                "timeout": plan.timeout,
            },
        )

    async def denied(self, request: Exec, denial: Ended) -> Failed:
        """That it may not run, and the answer that says so."""
        self._concluded = True
        message = self._clean(denial.message)[:MAX_MESSAGE]
        await self._append(
            "exec.decision",
            {
                "request": self.record_id,
                "allowed": False,
                "rule": denial.rule,
                "kind": denial.kind,
                "message": message,
            },
        )
        return Failed(id=request.id, kind=denial.kind, message=message, record_id=self.record_id)

    async def result(
        self, request: Exec, outcome: Outcome, patterns: Patterns
    ) -> Finished | Failed:
        """How it ended, and the answer that says so.

        Args:
            request: as it came.
            outcome: of its command.
            patterns: up to date; a value may have been added meanwhile.
        """
        self._patterns = patterns
        self._concluded = True
        notes = _fit([self._clean(note) for note in outcome.notes])
        files = _listed(outcome.files)
        kind, message = outcome.failure or ("Finished", "")
        message = self._clean(message)[:MAX_MESSAGE]
        await self._append(
            "exec.result",
            {
                "request": self.record_id,
                "outcome": kind,
                "message": message,
                "detail": self._clean(outcome.detail),
                "exit_code": outcome.exit_code,
                "duration": round(outcome.duration, 3),
                "output_bytes": outcome.output,
                # How much was typed, never what.
                "typed_bytes": outcome.typed,
                "redactions": outcome.redactions,
                "egress_refused": {
                    self._clean(name): count for name, count in outcome.refused.items()
                },
                "files": [[file.path, file.size, file.sha256] for file in files],
                "notes": notes,
            },
            closing=True,
        )
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

    def stopped(self) -> None:
        """That the sidecar ended it; called while the sidecar stops, hence without waiting."""
        if not self._concluded:
            self._audit.append(
                "exec.result", {"request": self.record_id, "outcome": "Stopped"}, from_reserve=True
            )

    def clean(self, text: str) -> str:
        """A text without secrets."""
        return self._clean(text)

    def _clean(self, text: str) -> str:
        return sanitize_text(self._patterns, text)[0]

    async def _append(self, kind: str, fields: dict[str, Any], *, closing: bool = False) -> str:
        return await asyncio.to_thread(self._audit.append, kind, fields, from_reserve=closing)


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
