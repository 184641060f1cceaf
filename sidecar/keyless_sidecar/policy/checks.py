"""A policy's rules against the schema: names, facts and types that don't exist stop the start.

Called when a policy is made; pure, and without AWS's models (see ``names`` for those).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from cedarpy import PolicySet, Schema, policies_to_pst, pst, validate_policies

from keyless_sidecar.policy.actions import HTTP_METHODS, SAME, is_action, is_group
from keyless_sidecar.policy.schema import FACTS, schema_text
from keyless_sidecar.policy.source import PolicyInvalid, Problem, Rule, walk

__all__ = ["actions_in", "compile_rules", "facts_in", "parameters_in"]

_CONTEXT = pst.Var("context")
_TYPES = ("Action", "Credential", "Kernel")
_ABOUT = re.compile(r"^for policy `policy\d+`, ")
_FOR_ACTION = re.compile(r" in context for Action::\"[^\"]*\"")
_NO_FACT = re.compile(r"attribute `(?P<name>[^`]*)`( in context| on entity type `\w+`)? not found")
_CONSEQUENCE = "unable to find an applicable action"


def compile_rules(text: str, rules: Sequence[Rule], source: str) -> PolicySet:
    """Check the rules and give Cedar's own form of them, where rule N has the id ``policyN``.

    Args:
        text: the whole policy.
        rules: what was read from it.
        source: its name in messages.

    Raises:
        PolicyInvalid: a rule doesn't fit the schema.
    """
    problems = [problem for rule in rules for problem in _names(rule)]
    if not problems:
        schema = Schema.from_str(
            schema_text(
                {name for rule in rules for name in actions_in(rule)},
                {name for rule in rules for name in parameters_in(rule)},
            )
        )
        for rule in rules:
            problems += _validate(rule, schema)
    if problems:
        raise PolicyInvalid(source, problems)
    try:
        compiled = PolicySet.from_str(text)
        nodes = policies_to_pst(text)
    except ValueError as error:
        raise PolicyInvalid(source, [Problem(0, f"This is no Cedar: {error}.")]) from None
    found = nodes.static_policies
    same = not nodes.templates and len(found) == len(rules) == len(compiled)
    for number, rule in enumerate(rules):
        key = f"policy{number}"
        same = same and key in found and _alike(found[key], rule.node)
    if not same:
        raise PolicyInvalid(
            source, [Problem(0, "The rules read one by one are not those of the whole file.")]
        )
    return compiled


def actions_in(rule: Rule) -> set[str]:
    """The actions and groups that a rule names."""
    return {
        node.id for node in walk(rule.node) if isinstance(node, pst.EntityUid) and _is_action(node)
    }


def parameters_in(rule: Rule) -> set[str]:
    """The names under ``context.parameters`` that a rule uses."""
    found: set[str] = set()
    for node in walk(rule.node):
        if isinstance(node, pst.GetAttr) and _is_parameters(node.base):
            found.add(node.attr)
        elif isinstance(node, pst.HasAttr):
            if _is_parameters(node.base):
                found.add(node.attrs[0])
            elif node.base == _CONTEXT and node.attrs[0] == "parameters":
                found.update(node.attrs[1:2])
    return found


def facts_in(rules: Iterable[Rule]) -> set[str] | None:
    """The names under ``context`` that rules use; None where one uses ``context`` as a whole."""
    found: set[str] = set()
    whole = 0
    for rule in rules:
        for node in walk(rule.node):
            if node == _CONTEXT:
                whole += 1
            elif isinstance(node, pst.GetAttr) and node.base == _CONTEXT:
                found.add(node.attr)
                whole -= 1
            elif isinstance(node, pst.HasAttr) and node.base == _CONTEXT:
                found.add(node.attrs[0])
                whole -= 1
    return None if whole else found


def _is_action(uid: pst.EntityUid) -> bool:
    return uid.type.basename == "Action" and not uid.type.namespace


def _is_parameters(node: object) -> bool:
    return node == pst.GetAttr(_CONTEXT, "parameters")


def _alike(one: pst.Template, other: pst.Template) -> bool:
    return (one.effect, one.principal, one.action, one.resource, one.clauses) == (
        (other.effect, other.principal, other.action, other.resource, other.clauses)
    ) and dict(one.annotations) == dict(other.annotations)


def _names(rule: Rule) -> list[Problem]:
    problems = []
    for node in walk(rule.node):
        if isinstance(node, pst.EntityType) and (str(node) not in _TYPES):
            near = _near(str(node), _TYPES)
            problems.append(f"There is no kind of thing called {str(node)!r}{near or '.'}")
    for name in sorted(actions_in(rule)):
        if name in SAME:
            problems.append(
                f"{name} is part of {SAME[name]} and decided under that name; write that instead."
            )
        elif not is_action(name) and not is_group(name):
            known = ("exec", "session", "postgres:connect", *(f"http:{m}" for m in HTTP_METHODS))
            near = _near(name, known) or (
                "; actions are exec, http:METHOD, aws:SERVICE:Operation, postgres:connect, "
                "session, and groups such as aws or aws:s3."
            )
            problems.append(f"There is no action {name!r}{near}")
    # A list of names can be longer than anybody reads.
    return [Problem(rule.line, message) for message in dict.fromkeys(problems)]


def _validate(rule: Rule, schema: Schema) -> list[Problem]:
    result = validate_policies(rule.text, schema)
    if result.validation_passed and not result.errors:
        return []
    said = [_FOR_ACTION.sub("", _ABOUT.sub("", error.error)) for error in result.errors]
    telling = [message for message in said if _CONSEQUENCE not in message]
    messages = dict.fromkeys(map(_plain, telling or said or ["it fits no action"]))
    return [Problem(rule.line, message) for message in messages]


def _plain(message: str) -> str:
    match = _NO_FACT.search(message)
    if match is not None:
        name = match["name"].rpartition(".")[2]
        known = (*FACTS, "parameters", "name", "notebook", "level", "kind")
        return f"There is no fact {name!r}{_near(name, known) or '.'}"
    if _CONSEQUENCE in message:
        return (
            "It fits no action: a group is written `action in Action::…`, and principals are "
            "Kernel, resources Credential."
        )
    return f"It doesn't fit the facts: {message.rstrip('.')}."


def _near(name: str, known: Iterable[str]) -> str:
    known = list(known)
    found = [word for word in known if word.lower() == name.lower()]
    found = found or difflib.get_close_matches(name[:80], known, 1, 0.6)
    return f"; did you mean {found[0]!r}?" if found else ""
