"""Completes services, operations, options and parameters of calls, by the sidecar's models.

Called by :mod:`keyless.magics.completion`; on any trouble it offers nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from keyless.magics.call_arguments import OPTIONS
from keyless.magics.client import shared_client
from keyless.protocol.calls import Description
from keyless.protocol.errors import ExecError

__all__ = ["Describe", "SidecarModels", "call_candidates", "is_call"]

#: Seconds to wait for a model that nobody has used yet, and to leave the sidecar alone after that.
_PATIENCE, _PAUSE = 1.0, 3.0

Describe = Callable[[str, str], Description | None]

_SERVICE = re.compile(r"secure_call\(\s*[\"']([\w-]*)$")
_OPERATION = re.compile(r"secure_call\(\s*[\"']([\w-]+)[\"']\s*,\s*[\"']([\w-]*)$")
_PARAMETER = re.compile(
    r"secure_call\(\s*[\"']([\w-]+)[\"']\s*,\s*[\"']([\w-]+)[\"']\s*,(?:.*,)?\s*(\w*)$", re.DOTALL
)
_KEY = re.compile(r"[{,]\s*(?P<quote>[\"']?)(?P<name>\w*)$")


class SidecarModels:
    """What the sidecar knows, each thing asked for once.  Owned by the matcher."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Description] = {}
        self._not_before = 0.0

    def __call__(self, service: str, operation: str) -> Description | None:
        key = (service, operation)
        if key not in self._known:
            if time.monotonic() < self._not_before:
                return None
            try:
                self._known[key] = shared_client().describe(service, operation, _PATIENCE)
            except ExecError:
                self._not_before = time.monotonic() + _PAUSE
                return None
        return self._known[key]


def is_call(lines: Sequence[str]) -> bool:
    """Whether the cursor is in a call."""
    return lines[0].split()[:1] == ["%%secure_call"] or "secure_call" in "\n".join(lines[-40:])


def call_candidates(lines: Sequence[str], find: Describe) -> tuple[str, list[str]]:
    """What may stand at the cursor.

    Args:
        lines: the cell up to the cursor.
        find: gives names and parameters.

    Returns:
        The fragment before the cursor, and the words that may replace it.
    """
    first = lines[0].split()
    if first[:1] == ["%%secure_call"] and len(lines) > 1:
        words = [word for word in first[1:] if not word.startswith("-")]
        return _key("\n".join(lines[1:]), words[:2], find)
    current = lines[-1]
    if current.split()[:1] in (["%%secure_call"], ["%secure_call"]):
        return _magic(current, find)
    return _function("\n".join(lines), find)


def _magic(line: str, find: Describe) -> tuple[str, list[str]]:
    head, brace, rest = line.partition("{")
    words = head.split()[1:]
    if brace:
        return _key(brace + rest, [word for word in words if not word.startswith("-")][:2], find)
    fragment = "" if not line or line[-1].isspace() else line.split()[-1]
    before = words[: len(words) - bool(fragment)]
    if before and (option := OPTIONS.get(before[-1])) and option.value:
        names = [word for word in before if not word.startswith("-")]
        found = find(names[0], "") if before[-1] == "--wait" and names else None
        return _fitting(fragment, found.waiters if found else [])
    if fragment.startswith("-"):
        return _fitting(fragment, [name for name in OPTIONS if name not in before])
    names = _names(before)
    if len(names) >= 2:
        return fragment, []
    found = find(names[0] if names else "", "")
    return _fitting(fragment, found.names if found else [])


def _names(words: Sequence[str]) -> list[str]:
    """The words that are no options and no values of options."""
    found, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            option = OPTIONS.get(word)
            skip = bool(option and option.value)
        else:
            found.append(word)
    return found


def _function(text: str, find: Describe) -> tuple[str, list[str]]:
    if match := _SERVICE.search(text):
        found = find("", "")
        return _fitting(match[1], found.names if found else [])
    if match := _OPERATION.search(text):
        found = find(match[1], "")
        return _fitting(match[2], found.names if found else [])
    if match := _PARAMETER.search(text):
        service, operation, fragment = match.groups()
        known = _parameters((service, operation), find)
        return _fitting(fragment, [f"{name}=" for name in known])
    return "", []


def _key(text: str, names: Sequence[str], find: Describe) -> tuple[str, list[str]]:
    """A parameter's name as a key of the outermost dictionary."""
    match = _KEY.search(text)
    if match is None or len(names) < 2 or text.count("{") - text.count("}") != 1:
        return "", []
    known = [name for name in _parameters(names, find) if f'"{name}"' not in text]
    if match["quote"]:
        return _fitting(match["name"], known)
    fragment, found = _fitting(match["name"], known)
    return fragment, [f'"{name}": ' for name in found]


def _parameters(names: Sequence[str], find: Describe) -> list[str]:
    found = find(names[0], names[1])
    return [parameter.name for parameter in found.parameters] if found else []


def _fitting(fragment: str, words: Sequence[str]) -> tuple[str, list[str]]:
    return fragment, [word for word in words if word.startswith(fragment) and word != fragment]
