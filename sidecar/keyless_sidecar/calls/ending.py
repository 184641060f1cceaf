"""The end of a call: its answer sanitized, its files put into place, its record, its reply."""

from __future__ import annotations

import asyncio
import logging

from keyless.protocol.calls import CallFinished, ServiceError
from keyless.protocol.messages import Failed
from keyless_sidecar.audit import AuditUnavailable
from keyless_sidecar.calls.answers import encode, sanitized
from keyless_sidecar.calls.content import Owner, Saved, TooMuch, put
from keyless_sidecar.calls.made import Made
from keyless_sidecar.calls.outlet import Refusal
from keyless_sidecar.calls.planning import CallPlan
from keyless_sidecar.calls.recording import CallRecorder
from keyless_sidecar.execution.request_records import MAX_MESSAGE
from keyless_sidecar.execution.streams import merge
from keyless_sidecar.policy.refusal import refusal_text
from keyless_sidecar.sanitize import Patterns
from keyless_sidecar.workspace import WorkspaceRoot

__all__ = ["Ending", "refused_here"]

_log = logging.getLogger(__name__)
#: Errors that the handler makes without refusing anything.
_NOT_REFUSED = frozenset({"egress.ServiceUnavailable", "egress.KeylessAnswerHeldBack"})


class Ending:
    """What becomes of one call's result: :meth:`clean`, :meth:`record`, then :meth:`reply`.

    Args:
        request_id: of the call.
        plan: of it.
        made: what came of it.
        duration: seconds that it took.
    """

    def __init__(self, request_id: int, plan: CallPlan, made: Made, duration: float) -> None:
        self._id = request_id
        self._plan = plan
        self._made = made
        self._duration = duration
        self._redactions: dict[str, int] = {}
        self._notes: list[str] = []
        self._saved = Saved()
        self._error = made.error
        self._failure = made.failure
        #: The encoded answer.
        self.data = b""

    async def clean(self, recorder: CallRecorder, workspace: WorkspaceRoot, owner: Owner) -> None:
        """Take secrets out of everything, and put files into place.

        Args:
            recorder: knows the patterns.
            workspace: for saved content.
            owner: of new files there.
        """
        if self._failure is None:
            if self._made.large or self._made.downloads:
                await asyncio.to_thread(self._clean, recorder.patterns, workspace, owner)
            else:
                self._clean(recorder.patterns, workspace, owner)
        self._notes = [recorder.clean(note) for note in (*self._made.notes, *self._saved.notes)]
        if self._failure is not None:
            self._failure = (self._failure[0], recorder.clean(self._failure[1])[:MAX_MESSAGE])
        if self._error is not None:
            self._error = ServiceError(
                code=recorder.clean(self._error.code),
                message=recorder.clean(self._error.message)[:MAX_MESSAGE],
                status=self._error.status,
                request_id=recorder.clean(self._error.request_id),
            )

    def _clean(self, patterns: Patterns, workspace: WorkspaceRoot, owner: Owner) -> None:
        answer, found = sanitized(patterns, self._made.answer)
        try:
            self.data = encode(answer) if answer else b""
            self._saved = put(self._made.downloads, workspace, owner)
        except TooMuch as error:
            self._failure = ("OutputLimitExceeded", str(error))
        self._redactions = merge(dict(found), self._saved.redactions)

    async def record(self, recorder: CallRecorder) -> None:
        """Write the result down; without that there is no answer."""
        kind = "CallFailed" if self._error is not None else "Finished"
        message = ""
        if self._failure is not None:
            kind, message = self._failure
        try:
            await recorder.result(
                kind,
                message=message,
                error=self._error,
                duration=self._duration,
                size=len(self.data),
                redactions=self._redactions,
                files=self._saved.files,
                notes=self._notes,
            )
        except AuditUnavailable as error:
            _log.error("audit: %s", error)
            self.data = b""
            self._failure = (
                "SidecarUnavailable",
                "The call was made, but its result can't be recorded in the audit log, so it isn't "
                "passed on.",
            )

    def reply(self, record_id: str) -> CallFinished | Failed:
        """What the kernel hears after the answer."""
        if self._failure is not None:
            kind, message = self._failure
            return Failed(
                id=self._id,
                kind=kind,
                message=message,
                record_id=record_id,
                duration=self._duration,
                redactions=self._redactions,
            )
        return CallFinished(
            id=self._id,
            service=self._plan.service,
            operation=self._plan.operation.name,
            duration=self._duration,
            record_id=record_id,
            size=len(self.data),
            error=self._error,
            redactions=self._redactions,
            files=self._saved.files,
            notes=self._notes,
        )


def refused_here(made: Made, refusal: Refusal) -> None:
    """Tell an error that is the handler's own refusal, in the service's form, from the service's.

    Args:
        made: what the call came to, with an error; changed.
        refusal: of its last request.
    """
    record, error = refusal.record, made.error
    if refusal.decision is not None and refusal.act is not None:
        made.failure = ("PolicyDenied", refusal_text(refusal.decision, refusal.act))
    elif record.rule not in _NOT_REFUSED:
        made.failure = ("PolicyDenied", f"{record.reason.rstrip('.')} (rule {record.rule}).")
    elif error is not None and record.reason:
        made.error = ServiceError(code=error.code, message=record.reason, status=error.status)
