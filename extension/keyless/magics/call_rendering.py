"""How a call's result looks: a line of facts, then the answer, to fold or as JSON.  Pure.

Whatever an answer may hold is escaped here.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keyless.magics.rendering import box, clean, one_line, redacted, text
from keyless.magics.trees import tree

if TYPE_CHECKING:
    from keyless.magics.call_results import CallResult

__all__ = ["html", "plain", "pretty"]

#: Most characters of an answer that a representation shows.
_EXCERPT = 20_000


def plain(result: CallResult) -> str:
    """The facts in one line, files and notes in another, and the answer."""
    lines = [one_line(f"{result.service}.{result.operation}: {', '.join(_facts(result))}", 400)]
    lines += [one_line(f"  {line}", 1000) for line in _more(result)]
    shown = _shown(result)
    return "\n".join([*lines, shown] if shown else lines)


def html(result: CallResult) -> str:
    """The same as a small box, with the answer as a tree or a table."""
    first, *others = _facts(result)
    shown = " · ".join([f"<b>{text(one_line(first, 400))}</b>", *map(text, others)])
    name = one_line(f"{result.service}.{result.operation}", 160)
    body = [f"<div><code>{text(name)}</code> {shown}</div>"]
    body += [f"<div>{text(one_line(line, 1000))}</div>" for line in _more(result)]
    answer = _answer(result)
    if answer is not None:
        body.append(tree(answer, _other))
    return box("".join(body), good=result.ok)


def pretty(value: Any, most: int = _EXCERPT) -> str:
    """A value as indented JSON, with what JSON doesn't know as a text; cut at ``most``."""
    shown = clean(json.dumps(value, indent=2, ensure_ascii=False, default=_other))
    return shown if len(shown) <= most else shown[:most] + "\n…"


def _other(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            decoded = value.decode()
        except UnicodeDecodeError:
            return f"<{len(value)} bytes>"
        return decoded if "\0" not in decoded else f"<{len(value)} bytes>"
    return str(value)


def _facts(result: CallResult) -> list[str]:
    if result.dry_run:
        facts = ["allowed (dry run, nothing was called)"]
    elif result.error is not None:
        facts = [f"{result.error.code}: {result.error.message}"]
    else:
        facts = ["done"]
    if not result.dry_run:
        facts.append(f"{result.duration:.2f} s")
    if result.redactions:
        facts.append(redacted(result.redactions))
    if result.record_id:
        facts.append(f"record {result.record_id}")
    return facts


def _more(result: CallResult) -> list[str]:
    return [f"saved {file.path} ({file.size} bytes)" for file in result.files] + list(result.notes)


def _answer(result: CallResult) -> Any:
    """What was selected, or all; ``None`` where there is nothing to show."""
    if result.queried:
        return result.selected
    return {name: value for name, value in result.items() if name != "ResponseMetadata"} or None


def _shown(result: CallResult) -> str:
    answer = _answer(result)
    return pretty(answer) if answer is not None or result.queried else ""
