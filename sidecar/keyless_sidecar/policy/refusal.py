"""What a refused act is told: why, by which rule, and what a person could write to allow it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from keyless_sidecar.policy.acts import Act, Decision

__all__ = ["permit_for", "refusal_text", "remedy"]

_NO_RULE = re.compile(r"default\.none|[^:]*:none")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+=,-]{0,199}")
#: Parameters that say what an act is about, so that a permit can be narrowed to it.
#: Where no file is in force, pasting into a new one would replace all the built-in rules.
_FIRST = " (`jupyter keyless policy init` writes {} with the rules in force)"
_MOST = 3
_TELLING = re.compile(
    r"(Name|Id|Identifier|Bucket|Arn|ARN|Url|Queue|Table|Cluster|Key)$", re.IGNORECASE
)
#: And those that differ from one call to the next.
_PASSING = re.compile(r"Session|Token|Request|Version|Upload", re.IGNORECASE)


def refusal_text(decision: Decision, act: Act, path: str = "policy.cedar") -> str:
    """The text for an act that a policy didn't allow.

    Args:
        decision: the answer, ``ask`` or ``deny``.
        act: what was asked.
        path: the policy file as people should be told of it.
    """
    text = f"{decision.reason} (rule {decision.rule})"
    if decision.outcome == "ask":
        text += " Nobody can approve it from here yet, so it is denied."
    how = remedy(decision, act, path)
    return f"{text} {how}" if how else text


def remedy(decision: Decision, act: Act, path: str = "policy.cedar") -> str:
    """What a person could write to allow an act; ``""`` where nothing would.

    The statements are ready to paste, and as narrow as the act's facts can make them.
    """
    if decision.rule in ("policy.error", "policy.action"):
        return ""
    permit = permit_for(act)
    if _NO_RULE.fullmatch(decision.rule):
        first = _FIRST.format(path) if decision.rule.startswith("default.") else ""
        return f"A person who wants to allow it adds to {path}{first}:\n{permit}"
    wins = "An ask" if decision.outcome == "ask" else "A forbid"
    first = _FIRST.format(path) if decision.rule.startswith("default.") else ""
    return (
        f"{wins} wins over a permit. A person who wants to allow it writes, before the "
        f"semicolon of that rule in {path}{first}:\n{_unless(act)}\nand below it:\n{permit}"
    )


def permit_for(act: Act) -> str:
    """A statement that allows acts like this one, and as little else as its facts can say."""
    scope = f"principal, action == Action::{_quoted(act.action)}, "
    scope += f"resource == Credential::{_quoted(act.credential)}" if act.credential else "resource"
    conditions = _about(act)
    when = f"\nwhen {{ {' && '.join(conditions)} }}" if conditions else ""
    return f"permit ({scope}){when};"


def _about(act: Act) -> list[str]:
    given = act.attributes
    if act.action == "exec":
        return [f"context.tool == {_quoted(act.tool)}"]
    host, path = given.get("host"), given.get("path")
    if act.action.startswith(("http:", "postgres:")) and isinstance(host, str):
        found = [f"context.host == {_quoted(host)}"] if _PLAIN.fullmatch(host) else []
        if isinstance(path, str) and _PLAIN.fullmatch(path.lstrip("/")):
            found.append(f"context.path == {_quoted(path)}")
        return found
    resource = given.get("resource")
    by_arn = isinstance(resource, str) and _PLAIN.fullmatch(resource)
    whole = [f"context.resource == {_quoted(str(resource))}"] if by_arn else []
    # Where the ARN isn't always known, a rule about it would hinder others of the same action.
    if act.action.startswith("aws:s3:") and whole:
        return whole
    parameters = given.get("parameters")
    if not isinstance(parameters, Mapping):
        return whole
    telling = [
        f"context.parameters.{name} == {_quoted(value)}"
        for name, value in sorted(parameters.items(), key=str)
        if _usable(name, value) and _TELLING.search(name) and not _PASSING.search(name)
    ]
    return telling[:_MOST] or whole


def _usable(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, str):
        return False
    return name.isidentifier() and name.isascii() and _PLAIN.fullmatch(value) is not None


def _unless(act: Act) -> str:
    conditions = [f"action == Action::{_quoted(act.action)}", *_about(act)]
    return f"unless {{ {' && '.join(conditions)} }}"


def _quoted(text: str) -> str:
    # What is quoted here is printable ASCII, or was made so by the escapes, which Cedar writes
    # with braces.
    escaped = json.dumps(text)
    return re.sub(r"\\u([0-9a-f]{4})", r"\\u{\1}", escaped)
