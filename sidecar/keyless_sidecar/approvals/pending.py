"""A question that waits for a person, and how it is shown.

Whatever a person sees of it was taken through the sanitizer, and has no character that a terminal
obeys or hides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from keyless.protocol.messages import FailureKind
from keyless_sidecar.policy.acts import Act, Decision

__all__ = ["Answer", "Pending", "Question", "QuestionFile", "view"]


@dataclass(frozen=True)
class QuestionFile:
    """What the command reads, as it will be read.

    Attributes:
        path: in the workspace, or ``(standard input)``.
        size: bytes.
        sha256: of its content, in hexadecimal; empty for a folder.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Question:
    """What a person is asked.

    Attributes:
        tool: the tool's name, ``sdk`` for a call, ``kernel`` for a cell's own request.
        shown: the arguments, or the words of an operation.
        acts: all that needs the approval.
        decision: the policy's, ``ask``.
        record: id of the request's first audit record.
        cell: which cell asked, as the kernel side says (``cell_hash``, ``execution_count``).
        files: what it reads.
        rules: the rule that asks about each of the acts; empty where it is the decision's for all.
        fingerprint: of all that would be sent.  Whoever went away and comes back with an equal
            question takes its place again; empty where that can't be told.
    """

    tool: str
    shown: tuple[str, ...]
    acts: tuple[Act, ...]
    decision: Decision
    record: str
    cell: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[QuestionFile, ...] = ()
    rules: tuple[str, ...] = ()
    fingerprint: str = ""

    def rule_of(self, number: int) -> str:
        """The rule that asks about an act."""
        return self.rules[number] if self.rules else self.decision.rule


@dataclass(frozen=True)
class Answer:
    """What came of a question.

    Attributes:
        approved: whether it may go ahead.
        rule: that asked.
        reason: one sentence for the cell.
        kind: of the failure, where it may not go ahead.
        approval: id of the question that a person answered, empty where none did.
    """

    approved: bool
    rule: str
    reason: str
    kind: FailureKind = "PolicyDenied"
    approval: str = ""


@dataclass
class Pending:
    """A question under way.  Owned by :class:`~keyless_sidecar.approvals.asking.Approvals`.

    Attributes:
        id: what an answer names.
        view: what a person is shown.
        deadline: on the monotonic clock.
        answered: its answer, once that is on record.
        deciding: an answer is being recorded; no other is taken.
        waiting: who waits for it.
    """

    id: str
    question: Question
    view: Mapping[str, Any]
    deadline: float
    answered: asyncio.Future[Answer]
    deciding: bool = False
    waiting: int = 0

    def shown(self) -> dict[str, Any]:
        """The view, with the seconds that are left."""
        return {**self.view, "seconds_left": round(max(0.0, self.deadline - time.monotonic()), 1)}


def view(
    identity: str, question: Question, clean: Callable[[str], str], *, grantable: bool
) -> dict[str, Any]:
    """A question as plain values, for people.

    Args:
        identity: the pending question's id.
        question: what is asked.
        clean: takes secrets out, and writes hidden characters as escapes.
        grantable: whether "allow for N minutes" can be the answer.
    """
    return {
        "id": identity,
        "tool": clean(question.tool),
        "shown": [clean(word) for word in question.shown],
        "acts": [_act(act, question.rule_of(n), clean) for n, act in enumerate(question.acts)],
        "rule": question.decision.rule,
        "reason": clean(question.decision.reason),
        "record_id": question.record,
        "execution_count": int(question.cell.get("execution_count") or 0),
        "cell_hash": clean(str(question.cell.get("cell_hash") or "")),
        "files": [
            {"path": clean(file.path), "size": file.size, "sha256": file.sha256}
            for file in question.files
        ],
        "grantable": grantable,
        "asked": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _act(act: Act, rule: str, clean: Callable[[str], str]) -> dict[str, Any]:
    given = act.attributes
    parameters = given.get("parameters")
    facts = {
        name: clean(str(given[name]))
        for name in ("region", "account", "resource", "host", "path", "method", "database", "user")
        if given.get(name)
    }
    return {
        "action": act.action,
        "credential": clean(act.credential),
        "mutating": act.mutating is not False,
        "rule": rule,
        "facts": facts,
        "parameters": {
            clean(name): clean(str(value))
            for name, value in (parameters.items() if isinstance(parameters, Mapping) else ())
        },
        "unknown_parameters": sorted(clean(name) for name in given.get("unknown_parameters", ())),
    }
