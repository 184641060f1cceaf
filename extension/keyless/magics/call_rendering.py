"""How a call's result looks: a line of facts, then the answer as indented JSON.  Pure.

Whatever an answer may hold is escaped here.
"""

from __future__ import annotations

import json
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from keyless.magics.rendering import _CONTROLS, box, one_line

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
    """The same as a small box."""
    facts = " · ".join(escape(one_line(fact, 400)) for fact in _facts(result))
    body = [
        f"<div><code>{escape(one_line(f'{result.service}.{result.operation}', 160))}</code> "
        f"<b>{facts}</b></div>"
    ]
    body += [f"<div>{escape(one_line(line, 1000))}</div>" for line in _more(result)]
    shown = _shown(result)
    if shown:
        body.append(
            "<details open><summary>answer</summary>"
            '<pre style="white-space:pre-wrap;margin:0;background:none">'
            f"{escape(shown)}</pre></details>"
        )
    return box("".join(body), good=result.ok)


def pretty(value: Any, most: int = _EXCERPT) -> str:
    """A value as indented JSON, with what JSON doesn't know as a text; cut at ``most``."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_other)
    text = _CONTROLS.sub(lambda found: found[0] if found[0] in "\n\t" else "", text)
    return text if len(text) <= most else text[:most] + "\n…"


def _other(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return f"<{len(value)} bytes>"
        return text if "\0" not in text else f"<{len(value)} bytes>"
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
        total = sum(result.redactions.values())
        names = ", ".join(f"{name} ×{n}" for name, n in sorted(result.redactions.items()))
        facts.append(f"{total} redacted ({one_line(names, 200)})")
    if result.record_id:
        facts.append(f"record {result.record_id}")
    return facts


def _more(result: CallResult) -> list[str]:
    return [f"saved {file.path} ({file.size} bytes)" for file in result.files] + list(result.notes)


def _shown(result: CallResult) -> str:
    if result.queried:
        return pretty(result.selected)
    answer = {name: value for name, value in result.items() if name != "ResponseMetadata"}
    return pretty(answer) if answer else ""
