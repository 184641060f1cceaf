"""What the records of a command and those of a call have in common: order, denial, untimely end.

:class:`~keyless_sidecar.execution.recording.Recorder` and
:class:`~keyless_sidecar.calls.recording.CallRecorder` say what else is in them.
"""

from __future__ import annotations

from typing import Any, Protocol

from keyless.protocol.messages import Failed, FailureKind
from keyless_sidecar.audit import AuditLog
from keyless_sidecar.cleaning import clean
from keyless_sidecar.sanitize import Patterns

__all__ = ["MAX_MESSAGE", "Denial", "RequestRecords"]

#: Characters of a sentence in a record or a reply.
MAX_MESSAGE = 2000


class Denial(Protocol):
    """Why a request isn't served: ``Ended``, ``Refused``."""

    @property
    def kind(self) -> FailureKind: ...

    message: str
    rule: str


class RequestRecords:
    """The records of one request.  Each is in the file at once; what must be on disk, is awaited.

    A request's first record waits for the disk together with the decision on it: until then nothing
    is done, and nobody is told anything.

    Args:
        kind: what they are called by: ``exec``, ``call``.
        audit: where they go.
        patterns: what may not be in them; set anew when more is known.

    All methods raise :class:`~keyless_sidecar.audit.AuditUnavailable`.
    """

    def __init__(self, kind: str, audit: AuditLog, patterns: Patterns) -> None:
        self._kind = kind
        self._audit = audit
        self.patterns = patterns
        self._concluded = False
        #: Id of the request's first record; it stands in the replies.
        self.record_id = ""

    async def denied(self, number: int, denial: Denial) -> Failed:
        """That it may not be, and the answer that says so; on disk, with the request.

        Args:
            number: the request's id.
            denial: why.
        """
        self._concluded = True
        message = self.clean(denial.message)[:MAX_MESSAGE]
        self._write(
            "decision",
            {
                "request": self.record_id,
                "allowed": False,
                "rule": denial.rule,
                "kind": denial.kind,
                "message": message,
            },
        )
        await self._audit.on_disk()
        return Failed(id=number, kind=denial.kind, message=message, record_id=self.record_id)

    def stopped(self) -> None:
        """That the sidecar ended it; called while the sidecar stops, hence without waiting."""
        if not self._concluded:
            self._audit.append(
                f"{self._kind}.result",
                {"request": self.record_id, "outcome": "Stopped"},
                from_reserve=True,
            )

    def clean(self, text: str) -> str:
        """A text without secrets."""
        return clean(self.patterns, text)

    async def on_disk(self) -> None:
        """Return when all that was written so far is on disk."""
        await self._audit.on_disk()

    def _write(self, stage: str, fields: dict[str, Any], *, closing: bool = False) -> str:
        return self._audit.write(f"{self._kind}.{stage}", fields, from_reserve=closing)
