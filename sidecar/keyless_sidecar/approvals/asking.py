"""Asking a person: questions wait here until somebody who may says yes or no, or time is over.

Whoever is about to do what a policy's rule asks about calls :meth:`Approvals.ask` and waits.
Answers come from the control socket alone.  Everything is on record before it takes effect.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from keyless_sidecar.approvals.grants import Grants
from keyless_sidecar.approvals.pending import Answer, Pending, Question, QuestionFile, view
from keyless_sidecar.audit import AuditLog, AuditUnavailable
from keyless_sidecar.events import Events
from keyless_sidecar.policy.refusal import refusal_text
from keyless_sidecar.printable import printable
from keyless_sidecar.sanitize import Patterns, sanitize_text

__all__ = ["Answer", "Approvals", "NotPending", "Question", "QuestionFile", "Undecidable"]

#: Questions that may wait at once.
MOST_PENDING = 32
#: Seconds for a client whose connection broke to come back with the same request.
COMING_BACK = 45.0
#: Longest time for which something may be allowed, in minutes.
MOST_MINUTES = 24 * 60.0

_log = logging.getLogger(__name__)


class NotPending(Exception):
    """No question of that id waits for an answer (any more)."""


class Undecidable(Exception):
    """The answer can't be taken; the message is one sentence."""


class Approvals:
    """The questions of one kernel.  Owned by the event loop's thread.

    Args:
        audit: where questions and answers are recorded.
        events: who listens, and hears of questions and answers.
        patterns: what is taken out of everything that is shown.
        timeout: seconds that a question waits.
        terminal: whether questions wait although nobody listens, for whoever looks in by
            ``jupyter keyless pending``.
    """

    def __init__(
        self,
        audit: AuditLog,
        events: Events,
        patterns: Callable[[], Awaitable[Patterns]],
        *,
        timeout: float = 300.0,
        terminal: bool = False,
    ) -> None:
        self._audit = audit
        self._events = events
        self._patterns = patterns
        self._timeout = timeout
        self._terminal = terminal
        self._grants = Grants()
        self._pending: dict[str, Pending] = {}
        #: Questions whose asker's connection broke; it may come back.
        self._left: list[Pending] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def attended(self) -> bool:
        """Whether anybody may answer."""
        return self._terminal or self._events.approvers > 0

    def refusal(self, question: Question) -> str:
        """Why nobody would be asked; empty where somebody would be, or has allowed it already."""
        return "" if self._grants.found(question) else self._no_use(question)

    def must_wait(self, question: Question) -> bool:
        """Whether somebody will be asked, so that it takes a while."""
        return not self._grants.found(question) and not self._no_use(question)

    def pending(self) -> list[dict[str, Any]]:
        """What waits for an answer, oldest first, as people are shown it."""
        return [pending.shown() for pending in self._pending.values()]

    async def ask(self, question: Question, cancelled: asyncio.Event | None = None) -> Answer:
        """Wait for a person's answer.

        Args:
            question: what is asked; a person sees it, so it must be all that will be done.
            cancelled: set when nobody wants it any more.

        Returns:
            The answer.  Nobody to ask is a denial, at once; so is the time limit, with the kind
            ``ApprovalTimeout``.

        Raises:
            AuditUnavailable: question or answer can't be recorded.
        """
        rule = question.decision.rule
        if approval := self._grants.found(question):
            await self._record("approval.reused", question, approval=approval)
            return Answer(
                True, rule, f"Allowed for a while by approval {approval}.", approval=approval
            )
        pending = self._come_back(question)
        if pending is None:
            refusal = self._no_use(question)
            if refusal:
                await self._record("approval.refused", question, reason=refusal)
                return Answer(False, rule, refusal)
            pending = await self._open(question)
        return await self._wait(pending, cancelled)

    async def answer(
        self,
        identity: str,
        *,
        approved: bool,
        minutes: float | None = None,
        reason: str = "",
        by: Mapping[str, Any],
    ) -> None:
        """A person's answer; it is on record when this returns, and has taken effect.

        Args:
            identity: the question's id.
            approved: yes or no.
            minutes: for how long the same acts are allowed too; ``None`` for this once.
            reason: for the cell, where it is a no.
            by: who answered, over which channel; for the audit.

        Raises:
            NotPending: nothing of that id waits.
            Undecidable: it is being answered already, or can't be allowed for a while.
            AuditUnavailable: it can't be recorded, so it doesn't count.
        """
        said = (await self._cleaner())(reason.strip()).rstrip(".")
        # From here to the mark that it is being answered nothing waits: of two answers one counts.
        pending = self._pending.get(identity)
        if pending is None:
            raise NotPending(f"No question {identity} waits for an answer.")
        if pending.deciding:
            raise Undecidable("The question is being answered already.")
        if minutes is not None and not Grants.possible(pending.question):
            raise Undecidable("Too little is known of this to allow it for a while; allow it once.")
        rule = pending.question.decision.rule
        if approved:
            answer = Answer(True, rule, f"A person approved it ({identity}).", approval=identity)
        else:
            why = f": {said}" if said else ""
            answer = Answer(False, rule, f"A person denied it{why} (rule {rule}).")
        await self._conclude(
            pending, answer, "approval.answer", {"minutes": minutes, "reason": reason, "by": by}
        )
        if minutes is not None:
            self._grants.add(pending.question, minutes, identity)

    async def withdraw(self, record: str) -> None:
        """Take back what is still asked for a command that has ended.

        Args:
            record: id of its first audit record.
        """
        for pending in list(self._pending.values()):
            if pending.question.record == record and not pending.deciding:
                await self._give_up(pending)

    async def close(self) -> None:
        """Nothing is asked any more; whoever waits is cancelled."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pending in (*self._pending.values(), *self._left):
            pending.answered.cancel()
        self._pending.clear()

    # ------------------------------------------------------------------ inside

    def _no_use(self, question: Question) -> str:
        """Why nobody is asked; empty where somebody is."""
        if not self.attended:
            return refusal_text(question.decision, question.acts[0])
        if len(self._pending) >= MOST_PENDING:
            return f"{MOST_PENDING} questions wait for a person already; ask again later."
        return ""

    async def _open(self, question: Question) -> Pending:
        identity = secrets.token_hex(4)
        clean = await self._cleaner()
        shown = view(identity, question, clean, grantable=Grants.possible(question))
        await self._record("approval.question", question, approval=identity, shown=shown)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        pending = Pending(identity, question, shown, time.monotonic() + self._timeout, answered)
        self._pending[identity] = pending
        self._events.publish("pending", pending.shown())
        return pending

    async def _wait(self, pending: Pending, cancelled: asyncio.Event | None) -> Answer:
        pending.waiting += 1
        stop = asyncio.ensure_future((cancelled or asyncio.Event()).wait())
        try:
            while not pending.answered.done():
                # Until a decision under way is on record there is nothing else to wait for.
                left = None if pending.deciding else pending.deadline - time.monotonic()
                if left is not None and (left <= 0 or stop.done()):
                    return await self._end(pending, timed_out=not stop.done())
                ends: set[asyncio.Future[Any]] = {pending.answered}
                await asyncio.wait(
                    ends if pending.deciding else {*ends, stop},
                    timeout=0.05 if left is None else left,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            return pending.answered.result()
        except asyncio.CancelledError:
            self._leave(pending)
            raise
        finally:
            pending.waiting -= 1
            stop.cancel()

    async def _end(self, pending: Pending, *, timed_out: bool) -> Answer:
        rule = pending.question.decision.rule
        if timed_out:
            text = f"Nobody answered within {self._timeout:g} s, so it was not done (rule {rule})."
            answer = Answer(False, rule, text, "ApprovalTimeout")
        else:
            text = "Cancelled while it waited for approval."
            answer = Answer(False, rule, text, "CommandCancelled")
        await self._conclude(pending, answer, "approval.ended", {"reason": text})
        return answer

    async def _conclude(
        self, pending: Pending, answer: Answer, kind: str, fields: Mapping[str, Any]
    ) -> None:
        """Record an answer, then let it take effect."""
        pending.deciding = True
        try:
            await self._record(
                kind, pending.question, approval=pending.id, approved=answer.approved, **fields
            )
        except BaseException:
            pending.deciding = False
            raise
        self._pending.pop(pending.id, None)
        if not pending.answered.done():
            pending.answered.set_result(answer)
        self._events.publish(
            "decided",
            {
                "id": pending.id,
                "approved": answer.approved,
                "reason": answer.reason,
                "record_id": pending.question.record,
            },
        )

    # A client whose patience ends before the person's closes its connection, and tries again.

    def _leave(self, pending: Pending) -> None:
        if pending.waiting == 1 and pending.question.fingerprint:
            self._left.append(pending)
            self._later(self._expect(pending))
        elif pending.waiting == 1 and not pending.answered.done():
            self._later(self._give_up(pending))

    def _come_back(self, question: Question) -> Pending | None:
        for pending in self._left:
            if question.fingerprint and pending.question == question:
                self._left.remove(pending)
                return pending
        return None

    async def _expect(self, pending: Pending) -> None:
        await asyncio.sleep(COMING_BACK)
        if pending in self._left:
            self._left.remove(pending)
            await self._give_up(pending)

    async def _give_up(self, pending: Pending) -> None:
        if pending in self._left:
            self._left.remove(pending)
        if pending.answered.done() or pending.deciding:
            return
        try:
            await self._end(pending, timed_out=False)
        except AuditUnavailable as error:
            _log.error("audit: %s", error)
            pending.answered.cancel()
            self._pending.pop(pending.id, None)

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _record(self, kind: str, question: Question, **fields: Any) -> None:
        clean = await self._cleaner()
        plain = {
            name: clean(value) if isinstance(value, str) else value
            for name, value in fields.items()
        }
        plain |= {"request": question.record, "rule": question.decision.rule}
        if "shown" not in plain:
            plain |= {"tool": clean(question.tool)}
        await asyncio.to_thread(self._audit.append, kind, plain)

    async def _cleaner(self) -> Callable[[str], str]:
        patterns = await self._patterns()
        return lambda text: printable(sanitize_text(patterns, text)[0])
