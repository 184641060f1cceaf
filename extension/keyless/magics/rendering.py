"""What all that we show is made of: safe text, boxes, tables.  Pure.

Whatever a tool, a file name or an argument may hold is escaped here; the HTML has no scripts, no
links and no colours that only fit one theme.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape

__all__ = ["box", "clean", "last_line", "one_line", "redacted", "table", "text"]

#: Terminal sequences first, so that their letters go with them; then any other control.
_CONTROLS = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def box(body: str, *, good: bool = True) -> str:
    """``body`` (HTML) beside a coloured line that shows in light and dark themes."""
    colour = "#2e9e5b" if good else "#d9534f"
    return (
        f'<div style="border-left:3px solid {colour};padding:2px 0 2px 10px;'
        f'margin:2px 0;line-height:1.5">{body}</div>'
    )


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A plain table; every cell is escaped."""
    head = "".join(f'<th style="text-align:left">{text(cell)}</th>' for cell in header)
    body = "".join(
        "<tr>"
        + "".join(f'<td style="text-align:left">{text(one_line(c, 400))}</td>' for c in row)
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def one_line(value: str, limit: int) -> str:
    """``value`` without controls or line breaks, cut at ``limit`` characters."""
    value = _CONTROLS.sub(lambda found: " " if found[0] in "\n\t" else "", value)
    return value if len(value) <= limit else value[: limit - 1] + "…"


def redacted(redactions: Mapping[str, int]) -> str:
    """How many values were replaced, by name."""
    total = sum(redactions.values())
    names = ", ".join(f"{name} ×{count}" for name, count in sorted(redactions.items()))
    return f"{total} redacted ({one_line(names, 200)})"


def last_line(value: str, limit: int = 200) -> str:
    """The last line of ``value`` that isn't blank, as :func:`one_line`."""
    lines = [line for line in value[-4 * limit :].splitlines() if line.strip()]
    return one_line(lines[-1].strip(), limit) if lines else ""


def clean(value: str) -> str:
    """``value`` without controls but line breaks and tabs."""
    return _CONTROLS.sub(lambda found: found[0] if found[0] in "\n\t" else "", value)


def text(value: str) -> str:
    """``value`` as HTML: escaped, and :func:`clean`."""
    return escape(clean(value), quote=True)
