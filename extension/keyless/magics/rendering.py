"""How results look: one or two lines of text, and compact HTML beside it.  Pure.

Whatever a tool, a file name or an argument may hold is escaped here; the HTML has no scripts, no
links and no colours that only fit one theme.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyless.magics.results import ExecResult

__all__ = ["box", "html", "last_line", "one_line", "plain", "table"]

#: Most characters of captured output that a representation repeats.
_EXCERPT = 20_000
_COMMAND = 160
_LISTED = 8
#: Terminal sequences first, so that their letters go with them; then any other control.
_CONTROLS = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(result: ExecResult) -> str:
    """One line about the command, and a second one if there are files or notes."""
    parts = [_status(result)]
    if not result.dry_run:
        parts.append(f"{result.duration:.2f} s")
    if result.redactions:
        parts.append(_redactions(result))
    if result.truncated:
        parts.append("output kept in part")
    if result.record_id:
        parts.append(f"record {result.record_id}")
    lines = [one_line(f"{result.tool}: {', '.join(parts)}", 400)]
    more = [_listed("wrote", (f"{file.path} ({file.size} bytes)" for file in result.files))]
    more.extend(result.notes)
    second = "; ".join(part for part in more if part)
    if second:
        lines.append(one_line("  " + second, 1000))
    return "\n".join(lines)


def html(result: ExecResult) -> str:
    """The same as a small box, with the command, and stderr to fold out."""
    facts = [f"<b>{_text(_status(result))}</b>"]
    if not result.dry_run:
        facts.append(f"{result.duration:.2f} s")
    if result.redactions:
        facts.append(_text(_redactions(result)))
    if result.truncated:
        facts.append("output kept in part")
    if result.record_id:
        facts.append(f"record <code>{_text(result.record_id)}</code>")
    command = shlex.join((result.tool, *result.argv))
    body = [
        f"<div><code>{_text(one_line(command, _COMMAND))}</code></div>",
        f"<div>{' · '.join(facts)}</div>",
    ]
    for file in result.files[:_LISTED]:
        body.append(
            f"<div>wrote <code>{_text(one_line(file.path, 200))}</code> ({file.size} bytes, "
            f"sha256 <code>{_text(file.sha256[:12])}…</code>)</div>"
        )
    if len(result.files) > _LISTED:
        body.append(f"<div>and {len(result.files) - _LISTED} more files</div>")
    body.extend(f"<div>{_text(one_line(note, 400))}</div>" for note in result.notes)
    if result.stdout and not result.streamed:
        body.append(_fold("stdout", result.stdout, open_=True))
    if result.stderr:
        body.append(_fold("stderr", result.stderr))
    return box("".join(body), good=result.ok)


def box(body: str, *, good: bool = True) -> str:
    """``body`` (HTML) beside a coloured line that shows in light and dark themes."""
    colour = "#2e9e5b" if good else "#d9534f"
    return (
        f'<div style="border-left:3px solid {colour};padding:2px 0 2px 10px;'
        f'margin:2px 0;line-height:1.5">{body}</div>'
    )


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A plain table; every cell is escaped."""
    head = "".join(f'<th style="text-align:left">{_text(cell)}</th>' for cell in header)
    body = "".join(
        "<tr>"
        + "".join(f'<td style="text-align:left">{_text(one_line(c, 400))}</td>' for c in row)
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def one_line(text: str, limit: int) -> str:
    """``text`` without controls or line breaks, cut at ``limit`` characters."""
    text = _CONTROLS.sub(lambda found: " " if found[0] in "\n\t" else "", text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def last_line(text: str, limit: int = 200) -> str:
    """The last line of ``text`` that isn't blank, as :func:`one_line`."""
    lines = [line for line in text[-4 * limit :].splitlines() if line.strip()]
    return one_line(lines[-1].strip(), limit) if lines else ""


def _status(result: ExecResult) -> str:
    if result.dry_run:
        return "allowed (dry run, nothing ran)" if result.ok else "dry run"
    if result.exit_code is None:
        return "ended early"
    return "done" if result.exit_code == 0 else f"exit code {result.exit_code}"


def _redactions(result: ExecResult) -> str:
    total = sum(result.redactions.values())
    names = ", ".join(f"{name} ×{count}" for name, count in sorted(result.redactions.items()))
    return f"{total} redacted ({one_line(names, 200)})"


def _listed(verb: str, items: Iterable[str]) -> str:
    names = list(items)
    if not names:
        return ""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{verb} {', '.join(names[:_LISTED])}{more}"


def _fold(name: str, text: str, *, open_: bool = False) -> str:
    shown = ("…\n" if len(text) > _EXCERPT else "") + _text(text[-_EXCERPT:])
    lines = text.count("\n") + (not text.endswith("\n"))
    return (
        f"<details{' open' if open_ else ''}><summary>{name} "
        f"({lines} line{'s' if lines != 1 else ''})</summary>"
        f'<pre style="white-space:pre-wrap;margin:0;background:none">{shown}</pre>'
        "</details>"
    )


def _text(text: str) -> str:
    shown = _CONTROLS.sub(lambda found: found[0] if found[0] in "\n\t" else "", text)
    return escape(shown, quote=True)
