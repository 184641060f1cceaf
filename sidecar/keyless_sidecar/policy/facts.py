"""An act's facts as Cedar gets them: plain texts of bounded size, and nothing that isn't known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keyless_sidecar.policy.acts import Act

__all__ = ["facts_of"]

#: Longest text of one fact; a longer one counts as unknown.
_LONGEST = 8192
_LONGEST_LINE = 65_536
_MOST_LONG = 2**63 - 1

_TEXTS = (
    "region",
    "account",
    "resource",
    "host",
    "path",
    "cell_hash",
    "delivery",
)


def facts_of(act: Act, parameters: frozenset[str]) -> Mapping[str, Any]:
    """The context of a request.

    Args:
        act: what is to be done.
        parameters: the names of parameters that the policy uses; no others are handed on.

    Raises:
        TypeError: a fact is of the wrong type, which is the caller's fault.
    """
    given = act.attributes
    facts: dict[str, Any] = {
        "tool": act.tool,
        "mutating": act.mutating is not False,
        "allow_listed": given.get("allow_listed", False) is True,
    }
    for name in _TEXTS:
        _add(facts, name, given.get(name))
    kind, _, rest = act.action.partition(":")
    # The action says it already, so the two can't differ.
    _add(facts, "method", rest if kind == "http" else given.get("method"))
    exposure = given.get("exposure")
    if exposure is None and kind != "aws":
        exposure = ""  # only AWS's answers are known to give things away
    _add(facts, "exposure", exposure)
    if "isolated" in given:
        facts["isolated"] = _typed(given["isolated"], bool)
    if "execution_count" in given:
        count = _typed(given["execution_count"], int)
        if abs(count) <= _MOST_LONG:
            facts["execution_count"] = count
    _add_argv(facts, given.get("argv"))
    if kind != "aws" or "parameters" in given:
        facts["parameters"] = _parameters(given, parameters)
    return facts


def _parameters(given: Mapping[str, Any], used: frozenset[str]) -> dict[str, str]:
    """Those that the policy uses: ``""`` where one isn't given, left out where it isn't known."""
    values = given.get("parameters", {})
    unknown = given.get("unknown_parameters", ())
    if "*" in unknown:
        used = frozenset(name for name in used if name in values)
    found: dict[str, Any] = {}
    for name in used:
        if name not in unknown:
            _add(found, name, values.get(name, ""))
    return found


def _add_argv(facts: dict[str, Any], argv: Any) -> None:
    if argv is None:
        return
    if isinstance(argv, str):
        raise TypeError("argv must be a list")
    words = [_typed(word, str) for word in argv]
    if sum(map(len, words)) + len(words) <= _LONGEST_LINE and all(map(_is_text, words)):
        facts["argv"] = words
        facts["argv_text"] = " ".join(words)


def _add(facts: dict[str, Any], name: str, value: Any) -> None:
    if value is not None and len(_typed(value, str)) <= _LONGEST and _is_text(value):
        facts[name] = value


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a fact must be of type {kind.__name__}")
    return value


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
