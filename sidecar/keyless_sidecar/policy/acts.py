"""What somebody wants to do, and what the policy answers: the values that every caller shares.

The runner (a tool's command), the egress proxy (a parsed request) and the PostgreSQL broker
each make an `Act` of what will be done and ask a `Policy`. An act names the operation, never
the way it was written, so that the same act gets the same answer whichever way it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol

Outcome = Literal["allow", "ask", "deny"]

KERNEL = "kernel"
"""The tool's name when a cell speaks through the proxy itself."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Act:
    """One thing to be done, in canonical words.

    Attributes:
        action: ``exec``, ``aws:lambda:UpdateFunctionCode`` (the service is the name of
            botocore's model folder), ``http:GET``, ``postgres:connect`` or ``session``.
        tool: The tool's name, or ``kernel`` when a cell speaks through the proxy itself.
        credential: The vault entry in use, ``""`` for none.
        mutating: Whether it changes something; None when nobody knows, which counts as yes.
        attributes: Facts about it, each left out when unknown: ``region``, ``account``,
            ``resource`` (an ARN), ``host``, ``path``, ``method``, ``argv`` (list of strings),
            ``parameters`` (flat mapping of strings), ``exposure`` (see
            `keyless_sidecar.tools.aws_exposure.exposure_of`), ``isolated`` (bool),
            ``delivery``, ``credential_kind``, ``cell_hash``, ``execution_count`` (int).
            No secret belongs here: a decision's reason and the audit may quote them.
    """

    action: str
    tool: str
    credential: str = ""
    mutating: bool | None = None
    attributes: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True)
class Decision:
    """The answer to an act.

    Attributes:
        outcome: ``allow``, ``ask`` (a person must approve it) or ``deny``.
        rule: The id of the rule that decided: ``default.reads``, ``policy.cedar:deploy``,
            ``default.none`` when no rule fits, ``policy.error`` when deciding failed.
        reason: One sentence, for people and for AIs.
    """

    outcome: Outcome
    rule: str
    reason: str


class Policy(Protocol):
    """Decides acts."""

    def decide(self, act: Act) -> Decision:
        """Decide one act: pure, fast, thread safe; an internal error is a denial."""
        ...
