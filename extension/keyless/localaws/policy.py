"""IAM policy documents: may this action be done on this resource?

A pure decision on parsed documents.  Explicit deny wins, the default is no, and what isn't
understood never allows: an ``Allow`` with a ``Condition`` doesn't count, a ``Deny`` with one does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

Document = Mapping[str, Any]


def allowed(documents: Iterable[Document], action: str, resource: str) -> bool:
    """Whether documents allow an action (``s3:GetObject``) on a resource (an ARN)."""
    verdict = False
    for document in documents:
        for statement in _list(document.get("Statement", [])):
            if not _concerns(statement, action, resource):
                continue
            if statement.get("Effect") != "Allow":
                return False
            if "Condition" not in statement:
                verdict = True
    return verdict


def check_document(document: object) -> Document:
    """A policy document, or an error.

    Raises:
        ValueError: it is not of the form of a policy.
    """
    if not isinstance(document, Mapping) or "Statement" not in document:
        raise ValueError("a policy document is an object with a Statement")
    for statement in _list(document["Statement"]):
        if not isinstance(statement, Mapping) or statement.get("Effect") not in ("Allow", "Deny"):
            raise ValueError("each statement needs an Effect of Allow or Deny")
        if ("Action" in statement) == ("NotAction" in statement):
            raise ValueError("each statement needs either Action or NotAction")
        if ("Resource" in statement) == ("NotResource" in statement):
            raise ValueError("each statement needs either Resource or NotResource")
    return document


def revocation(text: str) -> datetime | None:
    """Since when a role's sessions count, where a policy says that and nothing else.

    Args:
        text: a policy document, such as ``AWSRevokeOlderSessions``.
    """
    try:
        document = check_document(json.loads(text))
        (statement,) = _list(document["Statement"])
        dates = statement["Condition"]["DateLessThan"]
        if (
            statement["Effect"] != "Deny"
            or _list(statement["Action"]) != ["*"]
            or _list(statement["Resource"]) != ["*"]
            or set(statement["Condition"]) != {"DateLessThan"}
            or set(dates) != {"aws:TokenIssueTime"}
        ):
            return None
        found = datetime.fromisoformat(dates["aws:TokenIssueTime"])
    except (KeyError, TypeError, ValueError):
        return None
    return found.astimezone(UTC)


def _concerns(statement: Mapping[str, Any], action: str, resource: str) -> bool:
    return _matches(statement, "Action", action.lower(), fold=True) and _matches(
        statement, "Resource", resource, fold=False
    )


def _matches(statement: Mapping[str, Any], key: str, value: str, *, fold: bool) -> bool:
    """``Action``/``NotAction`` or ``Resource``/``NotResource`` against a value."""
    negative = f"Not{key}" in statement
    patterns = _list(statement.get(f"Not{key}" if negative else key, []))
    hit = any(_pattern(str(p).lower() if fold else str(p)).fullmatch(value) for p in patterns)
    return hit != negative


@lru_cache(maxsize=512)
def _pattern(pattern: str) -> re.Pattern[str]:
    """IAM's wildcards: ``*`` is anything, ``?`` is one character."""
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(c, re.escape(c)) for c in pattern), re.DOTALL)


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]
