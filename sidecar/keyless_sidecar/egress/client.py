"""For whom the handlers work: one tool (or the kernel's cells), its policy, its credentials.

Made by whoever opens an egress proxy for a tool; `tokens` and `aws.handler` take one.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from keyless_sidecar.approvals import Scope
from keyless_sidecar.audit import AuditUnavailable
from keyless_sidecar.egress.messages import EgressError
from keyless_sidecar.placeholders import Binding, PlaceholderBook
from keyless_sidecar.policy.acts import Act, Decision, Policy
from keyless_sidecar.policy.acts_from import decide_all
from keyless_sidecar.printable import printable
from keyless_sidecar.vault import Entry, VaultError

__all__ = ["Client", "Record", "RequestRecord", "Unrecorded", "refused"]

#: Different refusals that are told; the audit has all.
_MOST_TOLD = 16
_T = TypeVar("_T")


class Unrecorded(EgressError):
    """The audit can't be written, so nothing goes out."""

    status = 503


@dataclasses.dataclass(frozen=True)
class RequestRecord:
    """What the audit keeps of a request; no secret is in it.

    Attributes:
        stage: ``request`` before anything goes out (or is refused), ``answer`` once the answer's
            head is there and before it is passed on.
        action: ``aws:s3:GetObject``, ``http:GET``; what is known of it where it was refused early.
        credential: the vault entry in use.
        decision: ``allow``, ``ask``, ``deny``, or ``refused`` where it didn't get to the policy.
        rule: that decided, or the error code.
        status: HTTP status of the answer; 0 at the stage ``request``.
    """

    stage: Literal["request", "answer"]
    tool: str
    action: str
    host: str
    method: str
    path: str
    credential: str = ""
    region: str = ""
    decision: str = "allow"
    rule: str = ""
    reason: str = ""
    status: int = 0


Record = Callable[[RequestRecord], Awaitable[None]]


@dataclasses.dataclass(frozen=True)
class Client:
    """What the handlers of one client share.

    Attributes:
        tool: its name, or ``kernel``.
        policy: decides its acts.
        book: of placeholders.
        fetch: gives a vault entry with its values; raises VaultError.
        write: writes to the audit, and returns once that is on disk.
        allow_operations: ``service:Operation`` that a person named for the tool.
        facts: further facts of each act (``cell_hash``, ``execution_count``).
        told: sentences on what was refused, for the result's notes, and how often each.
        held: gives the open session that the client holds, by its access key id.
        done: told of the acts of each AWS request that is sent.
        scope: asks a person where the policy wants one; None: nobody can be asked.
        kept: whether an entry's values lie on this machine, so that records are searched for them
            before they are fetched.
    """

    tool: str
    policy: Policy
    book: PlaceholderBook
    fetch: Callable[[str], Awaitable[Entry]]
    write: Record
    allow_operations: Collection[str] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    told: Counter[str] = dataclasses.field(default_factory=Counter)
    held: Callable[[str], Binding | None] = lambda _: None
    done: Callable[[Iterable[Act]], None] = lambda _: None
    scope: Scope | None = None
    kept: Callable[[str], bool] = lambda _: False

    def decide(self, acts: Iterable[Act], approved: Collection[str] = frozenset()) -> Decision:
        """The strictest decision on everything that a request does.

        Args:
            acts: of the request.
            approved: actions that a person has approved already: they aren't asked about again.
        """
        acts = tuple(acts)
        decision = decide_all(self.policy, acts)
        if decision.outcome != "ask" or not approved:
            return decision
        asked = {act.action for act in acts if self.policy.decide(act).outcome == "ask"}
        if not asked <= set(approved):
            return decision
        return Decision("allow", "session.approved", "It was approved with the session.")

    def find(self, access_key_id: str) -> Binding | None:
        """What a key stands for: a placeholder of the book, or an open session's own."""
        return self.book.find(access_key_id) or self.held(access_key_id)

    def tell(self, record: RequestRecord, message: str) -> None:
        """Keep a refusal for the result's notes: programs such as git print a status at most."""
        what = f"{record.method} {record.host}{record.path[:100]}"
        sentence = f"request refused: {printable(what)}: {message.removeprefix('Keyless: ')}"
        if sentence in self.told or len(self.told) < _MOST_TOLD:
            self.told[sentence] += 1

    def notes(self) -> list[str]:
        """A sentence for each refusal that was told."""
        return [
            text + (f" ({count} times)" if count > 1 else "") for text, count in self.told.items()
        ]

    async def settle(
        self, acts: Sequence[Act], shown: Sequence[str], fingerprint: str = ""
    ) -> Decision:
        """The same; where a person must approve it, theirs.

        Args:
            acts: all that the request does.
            shown: the request, for people.
            fingerprint: of all of it; empty where its body isn't known.

        Returns:
            ``ask`` where nobody approved it.

        Raises:
            Unrecorded: question or answer can't be recorded.
        """
        decision = self.decide(acts)
        if decision.outcome != "ask" or self.scope is None:
            return decision
        try:
            return await self.scope.request(acts, self.policy, shown, fingerprint)
        except AuditUnavailable:
            raise Unrecorded(
                "The audit log can't be written, so the request is not sent."
            ) from None

    async def record(self, record: RequestRecord) -> None:
        """Write to the audit.

        Raises:
            Unrecorded: that failed.
        """
        try:
            await self.write(record)
        except (OSError, ValueError, TypeError, RuntimeError):
            raise Unrecorded(
                "The audit log can't be written, so the request is not sent."
            ) from None

    async def recorded(
        self, records: Sequence[RequestRecord], credential: str, work: Awaitable[_T]
    ) -> _T:
        """Write to the audit, and get ready meanwhile what may go out when that is on disk.

        Where the credential isn't kept on this machine, one comes after the other.

        Args:
            records: of the request, in this order.
            credential: the vault entry that ``work`` fetches.
            work: fetches the credential and makes the request that goes out; sends nothing.

        Returns:
            What came of the work; all records are on disk.

        Raises:
            Unrecorded: writing failed.
            Exception: whatever ``work`` raises.
        """
        if not self.kept(credential):
            result = await work
            await self.record_all(records)
            return result
        writing = asyncio.ensure_future(self.record_all(records))
        try:
            await asyncio.sleep(0)  # the disk first: it takes longest
            result = await work
        except asyncio.CancelledError:
            writing.cancel()
            raise
        except Exception:
            await writing  # what is recorded next comes behind it
            raise
        await writing
        return result

    async def record_all(self, records: Iterable[RequestRecord]) -> None:
        """Write several to the audit, in this order.

        Raises:
            Unrecorded: that failed.
        """
        for record in records:
            await self.record(record)

    async def entry(self, name: str) -> Entry | None:
        """A vault entry as it is now; None (and its placeholders end) where it is gone."""
        try:
            return await self.fetch(name)
        except VaultError:
            self.book.forget(name)
            return None


def refused(decision: Decision) -> str:
    """What is said to the tool where a decision isn't ``allow``."""
    verb = "needs a person's approval" if decision.outcome == "ask" else "is not allowed"
    return f"Keyless: this {verb}: {decision.reason.rstrip('.')} (rule {decision.rule})."
