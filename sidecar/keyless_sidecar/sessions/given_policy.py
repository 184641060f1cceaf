"""The session policy that a cell gives: read, so that Cedar can be asked about it.  Pure.

STS keeps a session within both this policy and the role's.  What it would allow beyond the Cedar
policy is found here: an ``Allow`` names each action, so that it can be asked about.  A ``Deny`` and
a condition only take away.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from keyless_sidecar.sessions.grants import BadGrant, Grant

__all__ = ["canonical", "grants_of_document"]

_KEYS = frozenset({"Sid", "Effect", "Action", "Resource", "Condition"})
_DENY_KEYS = _KEYS | {"NotAction", "NotResource"}


def grants_of_document(text: str) -> frozenset[Grant]:
    """What a policy allows.

    Args:
        text: an IAM policy as JSON.

    Raises:
        BadGrant: it is none, or allows what isn't named one by one.
    """
    document = _read(text)
    if not isinstance(document, dict) or not set(document) <= {"Version", "Id", "Statement"}:
        raise BadGrant("The session policy is an object with Version and Statement.")
    found: set[Grant] = set()
    for statement in _several(document.get("Statement"), "Statement"):
        if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
            raise BadGrant("Each statement of the session policy has the Effect Allow or Deny.")
        if statement["Effect"] == "Deny":
            if not set(statement) <= _DENY_KEYS:
                raise BadGrant("A statement of the session policy has a part that isn't known.")
            for name in ("Action", "Resource"):
                if (name in statement) is (f"Not{name}" in statement):
                    raise BadGrant(f"A Deny in the session policy has either {name} or Not{name}.")
            continue
        if not set(statement) <= _KEYS:
            raise BadGrant(
                "An Allow in the session policy has Action and Resource, without NotAction, "
                "NotResource or Principal."
            )
        resources = _texts(statement, "Resource")
        for action in _texts(statement, "Action"):
            if set(action) & set("*?$") or action.count(":") != 1:
                raise BadGrant(
                    f"The session policy allows {action[:80]!r}: name each action, so that the "
                    "policy in force can be asked about it."
                )
            found |= {Grant(resource, action) for resource in resources}
    if not found:
        raise BadGrant("The session policy allows nothing.")
    return frozenset(found)


def canonical(text: str) -> str:
    """The policy as it was understood, written anew: that is what STS gets.

    Raises:
        BadGrant: it is no JSON.
    """
    return json.dumps(_read(text), separators=(",", ":"))


def _read(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise BadGrant("The session policy is no valid JSON.") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no name stands twice: readers differ in which one they take."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice")
    return made


def _texts(statement: dict[str, Any], name: str) -> Sequence[str]:
    texts = _several(statement.get(name), name)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise BadGrant(f"{name} in the session policy is a text or a list of texts.")
    return texts


def _several(value: Any, name: str) -> Sequence[Any]:
    if value is None:
        raise BadGrant(f"The session policy has no {name}.")
    return value if isinstance(value, list) else [value]
