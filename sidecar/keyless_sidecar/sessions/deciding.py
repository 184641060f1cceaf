"""Whether a cell may have a session, and for what: options, session policy, Cedar, a person's word.

No value of a credential is touched here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keyless.protocol.messages import FailureKind, OpenSession
from keyless_sidecar.policy import KERNEL
from keyless_sidecar.policy.acts import Act, Decision, Policy
from keyless_sidecar.policy.refusal import refusal_text
from keyless_sidecar.sessions.given_policy import canonical, grants_of_document
from keyless_sidecar.sessions.grants import (
    BadGrant,
    Grant,
    acts_of,
    document_of,
    grants_of_acts,
    grants_of_names,
)
from keyless_sidecar.tools import shown
from keyless_sidecar.vault import EntryInfo
from keyless_sidecar.vault.session_options import SessionOptions

__all__ = ["Ask", "NotGiven", "Wanted", "decide", "wanted"]

_ORDER = {"allow": 0, "ask": 1, "deny": 2}

#: Asks a person about what a session is for; gives the rule that stands for their yes.
#: Raises :class:`NotGiven` where they say no.
Ask = Callable[["Wanted", Sequence[Act], Decision, str, asyncio.Event], Awaitable[str]]


class NotGiven(Exception):
    """There is no session.

    Args:
        kind: as in the protocol's ``Failed``.
        message: one sentence for the cell.
        rule: what decided, for the audit.
    """

    def __init__(self, kind: FailureKind, message: str, rule: str) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.message = message
        self.rule = rule


@dataclass(frozen=True)
class Wanted:
    """A session as it would be.

    Attributes:
        request: as it came.
        options: of the entry.
        actions: what it may do at most, as IAM's actions.
        document: its session policy.
        acts: all that the policy must allow.
    """

    request: OpenSession
    options: SessionOptions
    actions: tuple[str, ...]
    document: str
    acts: tuple[Act, ...]


def wanted(
    request: OpenSession,
    infos: Sequence[EntryInfo],
    options: Mapping[str, SessionOptions],
    recent: Sequence[Act],
) -> Wanted:
    """What a request is for.

    Args:
        request: as it came.
        infos: what the vault holds.
        options: ``c.Vault.sessions``.
        recent: what was done with the credential lately.

    Raises:
        NotGiven: it is off, or can't be.
    """
    name = request.credential
    info = next((each for each in infos if each.name == name), None)
    if info is None:
        raise NotGiven(
            "PolicyDenied",
            f"There is no credential named {shown(name)}; `%keyless` lists them all.",
            "credentials.unknown",
        )
    allowed = options.get(name)
    if allowed is None or "kernel" not in allowed.to or info.kind != "aws":
        raise NotGiven(
            "PolicyDenied",
            f"Sessions are off for the credential {name}; a person turns them on by "
            "c.Vault.sessions (for an entry of kind aws).",
            "sessions.off",
        )
    if request.seconds > allowed.max_minutes * 60:
        raise NotGiven(
            "PolicyDenied",
            f"A session of {name} may last {allowed.max_minutes} minutes at most.",
            "sessions.max_minutes",
        )
    facts: dict[str, Any] = {
        "cell_hash": request.cell.cell_hash,
        "execution_count": request.cell.execution_count,
        "delivery": "session",
    }
    try:
        grants = _grants(request, recent, allowed.account)
        given = request.policy
        document = canonical(given) if given is not None else document_of(grants)
        acts = acts_of(grants, tool=KERNEL, credential=name, account=allowed.account, **facts)
    except BadGrant as error:
        raise NotGiven("InvalidRequest", str(error), "sessions.grants") from None
    itself = Act(
        "session",
        KERNEL,
        name,
        True,
        {
            **facts,
            "credential_kind": "aws",
            "account": allowed.account,
            "resource": allowed.role_arn,
        },
    )
    actions = tuple(sorted({grant.action for grant in grants}))
    return Wanted(request, allowed, actions, document, (itself, *acts))


async def decide(
    wish: Wanted, policy: Policy, ask: Ask | None, record: str, cancelled: asyncio.Event
) -> tuple[str, frozenset[str]]:
    """Ask the policy about the session and about each thing that it would open.

    Args:
        wish: the session.
        policy: in force.
        ask: asks a person; None where nobody can be asked.
        record: id of the request's first audit record.
        cancelled: set when the cell gives up.

    Returns:
        The rule that allows it, and the actions that a person approved.

    Raises:
        NotGiven: denied, with the reason and what would allow it.
    """
    decisions = [(policy.decide(act), act) for act in wish.acts]
    decision, act = max(decisions, key=lambda pair: _ORDER[pair[0].outcome])
    if decision.outcome == "allow":
        return decision.rule, frozenset()
    if decision.outcome == "ask" and ask is not None:
        asked = [each for answer, each in decisions if answer.outcome == "ask"]
        rule = await ask(wish, asked, decision, record, cancelled)
        return rule, frozenset(each.action for each in asked)
    what = "The session" if act.action == "session" else f"The session would open {act.action}"
    raise NotGiven("PolicyDenied", f"{what}: {refusal_text(decision, act)}", decision.rule)


def _grants(request: OpenSession, recent: Sequence[Act], account: str) -> frozenset[Grant]:
    if request.policy is not None and request.operations is not None:
        raise BadGrant("A session is for operations or by a policy, not both.")
    if request.policy is not None:
        return grants_of_document(request.policy)
    if request.operations is not None:
        return grants_of_names(request.operations)
    if not recent:
        raise BadGrant(
            "No command of this kernel has used the credential yet, so there is nothing to derive "
            "the session's policy from: name operations=[…]."
        )
    return grants_of_acts(recent, account)
