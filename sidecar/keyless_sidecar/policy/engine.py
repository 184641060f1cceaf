"""Deciding acts by Cedar rules: deny over ask over allow, and deny where nothing fits.

`CedarPolicy` is made when the sidecar starts and asked for each act; its rules never change.  Nor
does an answer: the same rules say the same about the same facts, so the last answers are kept.
A rule that needs a fact which isn't known can't be evaluated.  Cedar then goes on as if the rule
weren't there, which would open what a forbid closes.  Here the act is denied, unless the rule could
only have allowed it.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cedarpy import Decision as CedarDecision
from cedarpy import Entities, is_authorized

from keyless_sidecar.policy.actions import groups_of, is_action
from keyless_sidecar.policy.acts import Act, Decision
from keyless_sidecar.policy.checks import compile_rules, facts_in, parameters_in
from keyless_sidecar.policy.facts import facts_of
from keyless_sidecar.policy.source import Rule, read_rules

__all__ = ["DEFAULT_SOURCE", "CedarPolicy", "Explanation", "Principal"]

#: Source name of the rules that come with Keyless; their ids read ``default.reads``.
DEFAULT_SOURCE = "default"

#: Answers that are kept, and characters of the facts that each may be about.
_MOST_KEPT, _LONGEST_KEPT = 256, 2048

#: Facts that are other ones in each cell: handed on only where a rule uses them.
_OF_THE_CELL = frozenset({"cell_hash", "execution_count"})

_FAILED = re.compile(r"policy `policy(?P<number>\d+)`: (?P<why>.*)", re.DOTALL)
_MISSING = re.compile(r"attribute `(?P<name>[^`]*)`")


@dataclass(frozen=True)
class Principal:
    """The kernel that acts.

    Attributes:
        name: the kernelspec's or the operator's name for it.
        notebook: path of the notebook, ``""`` where it isn't known.
        level: the confinement that is in force, such as ``namespaces``.
    """

    name: str
    notebook: str = ""
    level: str = ""


@dataclass(frozen=True)
class Explanation:
    """A decision with all that led to it.

    Attributes:
        decision: the answer.
        rule: the rule that decided, None where none did.
        fitting: all rules that fit, in the order of the file.
        failed: rules that couldn't be evaluated, with why.
    """

    decision: Decision
    rule: Rule | None = None
    fitting: tuple[Rule, ...] = ()
    failed: tuple[tuple[Rule, str], ...] = ()


class CedarPolicy:
    """A policy made of Cedar text.  Safe to use from several threads.

    Args:
        text: the rules.
        principal: the kernel that all acts are of.
        source_name: the file's name, which starts the ids of its rules.

    Raises:
        PolicyInvalid: the text can't be used.
    """

    def __init__(self, text: str, principal: Principal, source_name: str = "policy.cedar") -> None:
        self.source_name = source_name
        self.rules: Sequence[Rule] = tuple(read_rules(text, source_name))
        self._compiled = compile_rules(text, self.rules, source_name)
        self._parameters = frozenset(name for rule in self.rules for name in parameters_in(rule))
        used = facts_in(self.rules)
        self._unused = frozenset() if used is None else _OF_THE_CELL - used
        self._principal = {"type": "Kernel", "id": principal.name}
        known = {"name": principal.name, "notebook": principal.notebook, "level": principal.level}
        attrs = {name: value for name, value in known.items() if value}
        self._entities = Entities.from_json_str(
            json.dumps([{"uid": self._principal, "attrs": attrs, "parents": []}])
        )
        # Few actions and credentials come again and again.
        self._among = functools.lru_cache(maxsize=128)(self._entities_of)
        # A client asks for the same again and again.
        self._kept = functools.lru_cache(maxsize=_MOST_KEPT)(self._asked)

    def decide(self, act: Act) -> Decision:
        """Decide one act; never raises."""
        return self.explain(act).decision

    def explain(self, act: Act) -> Explanation:
        """Decide one act and tell which rules had a part in it; never raises."""
        try:
            return self._explain(act)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the act doesn't happen
            # The error's text may quote the act.
            return _refused(
                "policy.error",
                f"The policy could not be evaluated ({type(error).__name__}), so this is denied.",
            )

    def rule_id(self, rule: Rule) -> str:
        """A rule's id in decisions and in the audit."""
        separator = "." if self.source_name == DEFAULT_SOURCE else ":"
        return f"{self.source_name}{separator}{rule.name}"

    # ------------------------------------------------------------------ inside

    def _explain(self, act: Act) -> Explanation:
        if not is_action(act.action):
            return _refused("policy.action", "This is no single action that a rule could be about.")
        kind = act.attributes.get("credential_kind", "" if not act.credential else None)
        facts = facts_of(act, self._parameters)
        used = {name: value for name, value in facts.items() if name not in self._unused}
        context = json.dumps(used, sort_keys=True)
        ask = self._kept if len(context) <= _LONGEST_KEPT else self._asked
        return ask(act.action, act.credential, kind if isinstance(kind, str) else None, context)

    def _asked(self, action: str, credential: str, kind: str | None, context: str) -> Explanation:
        """What Cedar says about exactly these texts; an error of it isn't kept."""
        answer = is_authorized(
            {
                "principal": self._principal,
                "action": {"type": "Action", "id": action},
                "resource": {"type": "Credential", "id": credential},
                "context": context,
            },
            self._compiled,
            self._among(action, credential, kind),
        )
        if answer.decision is CedarDecision.NoDecision:
            return _refused("policy.error", "The policy could not be evaluated; this is denied.")
        fitting = tuple(self._by_id(key) for key in sorted(answer.diagnostics.reasons, key=_number))
        failed = tuple(self._failure(message) for message in answer.diagnostics.errors)
        return self._weigh(answer.allowed, fitting, failed)

    def _entities_of(self, action: str, credential: str, kind: str | None) -> Entities:
        """The kernel, an action with the groups that it is in, and a credential."""
        attrs = {"name": credential} if kind is None else {"name": credential, "kind": kind}
        parents = [{"type": "Action", "id": group} for group in groups_of(action)]
        added = [
            {"uid": {"type": "Action", "id": action}, "attrs": {}, "parents": parents},
            {"uid": {"type": "Credential", "id": credential}, "attrs": attrs, "parents": []},
        ]
        return self._entities.with_added_json_str(json.dumps(added))

    def _weigh(
        self, allowed: bool, fitting: tuple[Rule, ...], failed: tuple[tuple[Rule, str], ...]
    ) -> Explanation:
        if fitting and not allowed:
            return self._by(fitting[0], "deny", "forbids it", fitting, failed)
        for rule, why in failed:
            if rule.outcome != "allow":
                reason = f"The rule {self.rule_id(rule)} could not be evaluated: {why}."
                decision = Decision("deny", self.rule_id(rule), reason)
                return Explanation(decision, rule, fitting, failed)
        for rule in fitting if allowed else ():
            if rule.outcome == "ask":
                return self._by(rule, "ask", "asks a person to approve it", fitting, failed)
        for rule in fitting if allowed else ():
            if rule.outcome == "allow":
                return self._by(rule, "allow", "allows it", fitting, failed)
        separator = "." if self.source_name == DEFAULT_SOURCE else ":"
        reason = "No rule of the policy allows it."
        if failed:
            reason += f" The rule {self.rule_id(failed[0][0])} may, but {failed[0][1]}."
        decision = Decision("deny", f"{self.source_name}{separator}none", reason)
        return Explanation(decision, None, fitting, failed)

    def _by(
        self,
        rule: Rule,
        outcome: Any,
        verb: str,
        fitting: tuple[Rule, ...],
        failed: tuple[tuple[Rule, str], ...],
    ) -> Explanation:
        reason = rule.reason or f"The rule {self.rule_id(rule)} {verb}."
        return Explanation(Decision(outcome, self.rule_id(rule), reason), rule, fitting, failed)

    def _by_id(self, key: str) -> Rule:
        return self.rules[_number(key)]

    def _failure(self, message: str) -> tuple[Rule, str]:
        match = _FAILED.search(message)
        if match is None:
            raise ValueError("an error of Cedar names no rule")
        rule = self.rules[int(match["number"])]
        missing = _MISSING.search(match["why"])
        if missing is None:
            return rule, "its condition has no value for this act"
        return rule, f"{missing['name']!r} is not known about this act"


def _number(key: str) -> int:
    return int(key.removeprefix("policy"))


def _refused(rule: str, reason: str) -> Explanation:
    return Explanation(Decision("deny", rule, reason))
