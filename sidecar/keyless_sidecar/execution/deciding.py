"""What the policy says about a checked command, for :mod:`keyless_sidecar.execution.planning`.

A command that goes through the signing proxy is decided here so that a person or an AI hears early
why it can't run; what counts is the proxy's decision on each request.  So what can't be decided yet
(the region, say, which only the credential knows) is left to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from keyless.protocol.messages import Exec
from keyless_sidecar.execution.delivery import delivery_of
from keyless_sidecar.policy.acts import Act, Decision
from keyless_sidecar.policy.acts_from_command import acts_for_command
from keyless_sidecar.policy.aws_parameters import NotInModel
from keyless_sidecar.policy.engine import CedarPolicy
from keyless_sidecar.policy.refusal import refusal_text
from keyless_sidecar.tools import Checked, Refused, Tool
from keyless_sidecar.vault import EntryInfo


@dataclasses.dataclass(frozen=True)
class Decided:
    """What the policy says of a command that it doesn't refuse.

    Attributes:
        rule: that allows it, or the first that asks.
        asks: what a person must approve before, with the decision on each.
    """

    rule: str
    asks: tuple[tuple[Decision, Act], ...] = ()


def decide(
    policy: CedarPolicy,
    checked: Checked,
    tool: Tool,
    credentials: Sequence[EntryInfo],
    request: Exec,
) -> Decided:
    """Ask the policy about everything that a command does.

    Args:
        policy: in force.
        checked: the command as its rules understood it.
        tool: what runs it.
        credentials: selected ones.
        request: as it came.

    Returns:
        The rule that allows it, and what a person must approve.

    Raises:
        Refused: it may not run, whoever approves; the message says why, and what would allow it.
    """
    credential = credentials[0] if credentials else None
    delivery = delivery_of(tool, credentials) if credentials else tool.delivery
    proxied = credential is not None and delivery == "proxy"
    try:
        acts = acts_for_command(
            checked,
            tool,
            credential=credential.name if credential else "",
            credential_kind=credential.kind if credential else "",
            delivery=delivery,
            isolated=request.isolated,
            cell_hash=request.cell.cell_hash,
            execution_count=request.cell.execution_count or 0,
        )
    except NotInModel as error:
        raise Refused("PolicyDenied", str(error), "policy.model") from None
    return judge(policy, acts, later=proxied)


def judge(policy: CedarPolicy, acts: Sequence[Act], *, later: bool) -> Decided:
    """Ask the policy about acts, before anything runs.

    Args:
        policy: in force.
        acts: all of them must pass.
        later: whether each request is decided again, when more is known about it.

    Returns:
        The rule that allows it, and what a person must approve.

    Raises:
        Refused: it may not be done, whoever approves; the message says why, and what would
            allow it.
    """
    rule = ""
    asks: list[tuple[Decision, Act]] = []
    for act in acts:
        explanation = policy.explain(act)
        decision = explanation.decision
        if decision.outcome == "allow":
            rule = rule or decision.rule
        elif later and explanation.failed:
            rule = rule or "proxy.decides"
        elif decision.outcome == "ask":
            asks.append((decision, act))
        else:
            raise Refused("PolicyDenied", refusal_text(decision, act), decision.rule)
    return Decided(asks[0][0].rule if asks else rule, tuple(asks))


__all__ = ["Decided", "decide", "judge"]
