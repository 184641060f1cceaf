"""What a call gave back: :class:`CallResult`, a dictionary that shows itself well.

Made by :mod:`keyless.magics.calling`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from keyless.magics import call_rendering, tabular
from keyless.magics.results import _Shown
from keyless.protocol.calls import ServiceError
from keyless.protocol.messages import WrittenFile

__all__ = ["CallFacts", "CallResult"]


@dataclass(frozen=True)
class CallFacts:
    """What is known of a call beside its answer; :class:`CallResult` has the same attributes."""

    service: str
    operation: str
    record_id: str = ""
    duration: float = 0.0
    redactions: Mapping[str, int] = field(default_factory=dict)
    files: tuple[WrittenFile, ...] = ()
    notes: tuple[str, ...] = ()
    error: ServiceError | None = None
    dry_run: bool = False


class CallResult(_Shown, dict[str, Any]):
    """One call's answer, as boto3 would give it, but for streams: they are bytes, or saved files.

    Args:
        answer: the service's; with ``ResponseMetadata`` (request id, HTTP status).
        facts: beside it; see the attributes.

    Attributes:
        service, operation: as the API names them.
        selected: what ``query`` selected; ``None`` without one.
        record_id: the audit record.
        duration: seconds.
        redactions: how many values were replaced, by name of the credential or detector.
        files: what was saved into the workspace.
        notes: one sentence each, what the user should know.
        error: what the service answered instead (where that didn't raise).
        dry_run: nothing was called; the notes say what would have happened.
    """

    def __init__(self, answer: Mapping[str, Any], facts: CallFacts) -> None:
        super().__init__(answer)
        self.service = facts.service
        self.operation = facts.operation
        self.record_id = facts.record_id
        self.duration = facts.duration
        self.redactions = dict(facts.redactions)
        self.files = facts.files
        self.notes = facts.notes
        self.error = facts.error
        self.dry_run = facts.dry_run
        self.queried = False
        self.selected: Any = None

    @property
    def ok(self) -> bool:
        """Whether the service did what it was asked for."""
        return self.error is None

    def select(self, query: Any) -> None:
        """Apply a compiled JMESPath expression to the answer."""
        self.queried, self.selected = True, query.search(dict(self))

    def df(self, member: str = "") -> Any:
        """The answer's rows as a ``pandas.DataFrame``, or those of what ``query`` selected.

        Args:
            member: which list is meant, where the answer holds several.

        Raises:
            InvalidRequest: it holds no rows, or pandas isn't there.
        """
        return tabular.frame_of(self.selected if self.queried else dict(self), member)

    def __repr__(self) -> str:
        return call_rendering.plain(self)

    def __await__(self) -> Generator[None, None, CallResult]:
        """``await secure_call(...)`` gives the result that is already there."""
        yield from ()
        return self

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": call_rendering.html(self)}

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))
