"""Completes tools, options and first arguments of the magics.

Called by IPython's completer between cells, on the kernel's main thread: so it asks the sidecar at
most once in a while, waits only a moment, and on any trouble offers nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)

from keyless.magics.arguments import OPTIONS, tool_word
from keyless.magics.call_completion import SidecarModels, call_candidates, is_call
from keyless.magics.client import shared_client
from keyless.magics.status_magic import SUBCOMMANDS
from keyless.protocol.calls import SDK
from keyless.protocol.errors import ExecError
from keyless.protocol.messages import Status

__all__ = ["candidates", "make_matcher"]

#: Seconds: how long to wait for the sidecar, how long its answer serves, how long to leave it alone
#: after it gave none.
_PATIENCE = 0.3
_FRESH = 30.0
_PAUSE = 5.0

Lookup = Callable[[], Status | None]


class _Sidecar:
    """The last status, asked for rarely.  Owned by the matcher."""

    def __init__(self) -> None:
        self._not_before = 0.0

    def __call__(self) -> Status | None:
        if time.monotonic() < self._not_before:
            return None
        try:
            return shared_client().status(timeout=_PATIENCE, max_age=_FRESH)
        except ExecError:
            self._not_before = time.monotonic() + _PAUSE
            return None


def make_matcher(lookup: Lookup | None = None) -> Any:
    """A matcher for ``shell.Completer.custom_matchers``.

    Args:
        lookup: where the status comes from; the sidecar if not given.
    """
    find = lookup or _Sidecar()
    models = SidecarModels()

    @context_matcher(identifier="keyless.magics", priority=100)  # type: ignore[untyped-decorator]
    def keyless_matcher(context: CompletionContext) -> SimpleMatcherResult:
        before = context.full_text.split("\n")[: context.cursor_line]
        lines = [*before, context.text_until_cursor]
        fragment, words = call_candidates(lines, models) if is_call(lines) else ("", [])
        if not words:
            fragment, words = candidates(lines, find)
        return SimpleMatcherResult(
            completions=[SimpleCompletion(word, type="magic") for word in words],
            matched_fragment=fragment,
            suppress=bool(words),
        )

    return keyless_matcher


def candidates(lines: list[str], find: Lookup) -> tuple[str, list[str]]:
    """What may stand at the cursor.

    Args:
        lines: the cell up to the cursor.
        find: gives the sidecar's status, or ``None``.

    Returns:
        The fragment before the cursor, and the words that may replace it.
    """
    current = lines[-1]
    fragment = "" if not current or current[-1].isspace() else current.split()[-1]
    before = current[: len(current) - len(fragment)].split()
    head = lines[0].split()
    if head[:1] == ["%%secure_exec"]:
        if len(lines) == 1:
            found = _magic_line(before[1:], fragment, find) if before else []
        else:
            found = _arguments(tool_word(" ".join(head[1:])), before, find)
    elif before[:1] == ["%secure_exec"]:
        tool = tool_word(" ".join(before[1:]))
        rest = before[before.index(tool) + 1 :] if tool else []
        found = _arguments(tool, rest, find) if tool else _magic_line(before[1:], fragment, find)
    elif before == ["%keyless"]:
        found = list(SUBCOMMANDS)
    elif before[:2] == ["%keyless", "why"]:
        found = _tools(find) if len(before) == 2 else _arguments(before[2], before[3:], find)
    else:
        found = []
    return fragment, [word for word in found if word.startswith(fragment) and word != fragment]


def _magic_line(words: list[str], fragment: str, find: Lookup) -> Iterable[str]:
    if words and (option := OPTIONS.get(words[-1])) and option.value:
        return []  # its value
    if fragment.startswith("-"):
        return [name for name in OPTIONS if name not in words]
    return [] if tool_word(" ".join(words)) else _tools(find)


def _arguments(tool: str, words: list[str], find: Lookup) -> list[str]:
    """The first argument's words; the tool's own options are the tool's affair."""
    if words[:1] == [tool]:
        words = words[1:]
    status = find() if tool and not words else None
    if status is None:
        return []
    return [word for known in status.tools if known.name == tool for word in known.subcommands]


def _tools(find: Lookup) -> list[str]:
    status = find()
    return [tool.name for tool in status.tools if tool.name != SDK] if status is not None else []
