"""What one command, or a kernel's own requests, have been approved for, and asking for more.

A command's approval carries over to the requests that its tool sends: what was shown with the
command isn't asked about a second time, and nothing else is covered by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from keyless_sidecar.approvals.asking import Answer, Approvals
from keyless_sidecar.approvals.identity import covers
from keyless_sidecar.approvals.pending import Question, QuestionFile
from keyless_sidecar.policy.acts import Act, Decision, Policy

__all__ = ["Scope"]

#: Called when a question begins to wait.
Tell = Callable[[], Awaitable[None]]


class Scope:
    """Owned by the event loop's thread.

    Args:
        approvals: asks.
        tool: who acts, for people.
        record: id of the first audit record of the command; empty for a kernel's own requests.
        cell: which cell it comes from.
        cancelled: set when the command is no longer wanted.
        tell: says in the cell that a question waits.
    """

    def __init__(
        self,
        approvals: Approvals,
        *,
        tool: str,
        record: str = "",
        cell: Mapping[str, Any] | None = None,
        cancelled: asyncio.Event | None = None,
        tell: Tell | None = None,
    ) -> None:
        self._approvals = approvals
        self._tool = tool
        self._record = record
        self._cell = dict(cell or {})
        self._cancelled = cancelled
        self._tell = tell
        self._approved: list[Act] = []

    def refusal(self, shown: Sequence[str], asks: Sequence[tuple[Decision, Act]]) -> str:
        """Why nobody would be asked about a command; empty where somebody would, or has been."""
        return self._approvals.refusal(self._question(shown, asks))

    async def command(
        self,
        shown: Sequence[str],
        asks: Sequence[tuple[Decision, Act]],
        files: Sequence[QuestionFile] = (),
    ) -> Answer:
        """Ask about a whole command; once approved, its requests may do what was shown.

        Args:
            shown: its arguments, as they will be run.
            asks: what needs the approval, with the decision on each.
            files: what it reads.

        Raises:
            AuditUnavailable: it can't be recorded.
        """
        answer = await self._ask(shown, asks, files, "")
        if answer.approved:
            self._approved += [act for _, act in asks]
        return answer

    async def request(
        self, acts: Iterable[Act], policy: Policy, shown: Sequence[str], fingerprint: str = ""
    ) -> Decision:
        """Decide on a request that the policy asks about.

        Args:
            acts: all that it does.
            policy: in force.
            shown: the request, for people.
            fingerprint: of all of it; empty where its body isn't known.

        Returns:
            ``allow``, ``deny``, or ``ask`` where a person didn't approve it, with the reason.

        Raises:
            AuditUnavailable: it can't be recorded.
        """
        asks: list[tuple[Decision, Act]] = []
        allowed: Decision | None = None
        for act in acts:
            decision = policy.decide(act)
            if decision.outcome == "deny":
                return decision
            if decision.outcome == "ask" and not any(covers(own, act) for own in self._approved):
                asks.append((decision, act))
            else:
                allowed = allowed or decision
        if not asks:
            if allowed is None:
                return Decision("deny", "policy.error", "There is nothing to decide about.")
            reason = (
                "It was approved with the command." if allowed.outcome == "ask" else allowed.reason
            )
            return Decision("allow", allowed.rule, reason)
        answer = await self._ask(shown, asks, (), fingerprint)
        return Decision("allow" if answer.approved else "ask", answer.rule, answer.reason)

    async def close(self) -> None:
        """The command has ended: what is still asked for it is taken back."""
        if self._record:
            await self._approvals.withdraw(self._record)

    async def _ask(
        self,
        shown: Sequence[str],
        asks: Sequence[tuple[Decision, Act]],
        files: Sequence[QuestionFile],
        fingerprint: str,
    ) -> Answer:
        question = self._question(shown, asks, files, fingerprint)
        if self._tell is not None and self._approvals.must_wait(question):
            await self._tell()
        return await self._approvals.ask(question, self._cancelled)

    def _question(
        self,
        shown: Sequence[str],
        asks: Sequence[tuple[Decision, Act]],
        files: Sequence[QuestionFile] = (),
        fingerprint: str = "",
    ) -> Question:
        return Question(
            self._tool,
            tuple(shown),
            tuple(act for _, act in asks),
            asks[0][0],
            self._record,
            self._cell,
            tuple(files),
            tuple(decision.rule for decision, _ in asks),
            fingerprint,
        )
