"""Rules that can never matter: said by ``jupyter keyless policy check``, harmless to a start."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from cedarpy import pst

from keyless_sidecar.policy.actions import groups_of, is_group
from keyless_sidecar.policy.source import Problem, Rule

__all__ = ["find_idle"]


def find_idle(rules: Sequence[Rule]) -> list[Problem]:
    """Warnings for rules that another one outdoes, that repeat another, or that never fit."""
    problems = []
    if not any(rule.outcome != "deny" for rule in rules):
        problems.append(Problem(0, "No rule permits anything, so everything is denied.", True))
    for index, rule in enumerate(rules):
        message = _never(rule) or _repeated(rule, rules[:index]) or _outdone(rule, rules)
        if message:
            problems.append(Problem(rule.line, message, warning=True))
    return problems


def _never(rule: Rule) -> str:
    for clause in rule.node.clauses:
        never = pst.BoolLit(not isinstance(clause, pst.When))
        if clause.expr == never:
            return f"The rule {rule.name!r} never fits: its condition says so."
    return ""


def _repeated(rule: Rule, earlier: Sequence[Rule]) -> str:
    for other in earlier:
        bare = replace(rule.node, annotations=other.node.annotations)
        if other.outcome == rule.outcome and other.node == bare:
            return f"The rule {rule.name!r} says the same as {other.name!r} at line {other.line}."
    return ""


def _outdone(rule: Rule, rules: Sequence[Rule]) -> str:
    """By a rule without conditions that fits whenever this one does, and whose word counts more."""
    stronger = {"allow": ("ask", "deny"), "ask": ("deny",), "deny": ()}[rule.outcome]
    for other in rules:
        if other.outcome in stronger and not other.node.clauses and _covers(other, rule):
            verb = "denies" if other.outcome == "deny" else "asks"
            return (
                f"The rule {rule.name!r} never decides: {other.name!r} at line {other.line} "
                f"always {verb} first."
            )
    return ""


def _covers(other: Rule, rule: Rule) -> bool:
    any_scope = pst.ScopeAny()
    for mine, its in (
        (rule.node.principal, other.node.principal),
        (rule.node.resource, other.node.resource),
    ):
        if its not in (any_scope, mine):
            return False
    if other.node.action == any_scope:
        return True
    wide = _names(other.node.action)
    narrow = _names(rule.node.action)
    exact = isinstance(other.node.action, pst.ActionEq)
    return bool(narrow) and all(_within(name, wide, exact) for name in narrow)


def _within(name: str, wide: Collection[str], exact: bool) -> bool:
    if name in wide:
        return True
    above = ("aws",) if is_group(name) and ":" in name else groups_of(name)
    return not exact and any(group in wide for group in above)


def _names(action: object) -> tuple[str, ...]:
    if isinstance(action, pst.ActionEq):
        return (action.entity.id,)
    if isinstance(action, pst.ActionIn):
        return tuple(entity.id for entity in action.entities)
    return ()
