"""Answers as HTML to look into: objects and lists fold, lists of flat objects are tables.  Pure.

Nothing in it is a script, a link or an address.  Every key and every text comes through
:func:`~keyless.magics.rendering.text`, since whoever wrote the answer may be hostile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from keyless.magics.rendering import one_line, text
from keyless.magics.tabular import is_flat

__all__ = ["MAX_HTML", "tree"]

#: About the most characters of HTML for one answer: a notebook holds many.
MAX_HTML = 60_000
_TEXT, _KEY = 1000, 120
#: Deeper ones are shown as one line of JSON.
_DEPTH = 24
#: Lists and objects with more members than this begin folded, but for the outermost.
_OPEN = 12
_ROWS, _COLUMNS = 200, 16
_MANY = 200

_INDENT = "margin-left:1.2em"
_CELL = "text-align:left;vertical-align:top;white-space:pre-wrap"


def tree(value: Any, plain: Callable[[Any], str] = str) -> str:
    """An answer as HTML.

    Args:
        value: as read from JSON, or an answer of boto3.
        plain: text for what JSON doesn't know (bytes, times).
    """
    return _Tree(plain).node(None, value, 0)


class _Tree:
    """One answer.  Knows how much room there still is."""

    def __init__(self, plain: Callable[[Any], str]) -> None:
        self._plain = plain
        self._room = MAX_HTML

    def node(self, key: str | None, value: Any, depth: int) -> str:
        """A member, with all that is in it."""
        if isinstance(value, Mapping | list | tuple) and value:
            return self._branch(key, value, depth)
        return self._take(f"<div>{self._label(key, ': ')}{self._leaf(value)}</div>")

    def _branch(self, key: str | None, value: Any, depth: int) -> str:
        shape = _shape(value)
        if depth >= _DEPTH:
            return self._take(f"<div>{self._label(key, ': ')}{shape}, nested too deep</div>")
        unfolded = depth == 0 or (depth < 3 and len(value) <= _OPEN)
        head = self._take(
            f"<details{' open' if unfolded else ''}><summary>{self._label(key, ' ')}"
            f"<small>{shape}</small></summary>"
        )
        if is_flat(value):
            body = self._table(value)
        else:
            pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
            body = self._members(pairs, len(value), depth)
        return f'{head}<div style="{_INDENT}">{body}</div></details>'

    def _members(self, pairs: Any, count: int, depth: int) -> str:
        parts: list[str] = []
        for key, value in pairs:
            if self._room <= 0 or len(parts) >= _MANY:
                parts.append(f"<div>… {count - len(parts)} more</div>")
                break
            parts.append(self.node(str(key), value, depth + 1))
        return "".join(parts)

    def _table(self, rows: list[Mapping[str, Any]]) -> str:
        names = list(dict.fromkeys(str(name) for row in rows for name in row))
        shown = names[:_COLUMNS]
        head = "".join(f'<th style="{_CELL}">{text(one_line(name, _KEY))}</th>' for name in shown)
        parts = [self._take(f"<table><thead><tr>{head}</tr></thead><tbody>")]
        done = 0
        for row in rows[:_ROWS]:
            if self._room <= 0:
                break
            known = {str(name): value for name, value in row.items()}
            cells = "".join(f'<td style="{_CELL}">{self._cell(known, name)}</td>' for name in shown)
            parts.append(self._take(f"<tr>{cells}</tr>"))
            done += 1
        parts.append("</tbody></table>")
        left = [f"{len(rows) - done} more rows"] if len(rows) > done else []
        left += [f"{len(names) - len(shown)} more columns"] if len(names) > len(shown) else []
        return "".join(parts) + (f"<div>… {' and '.join(left)}</div>" if left else "")

    def _cell(self, row: Mapping[str, Any], name: str) -> str:
        value = row.get(name, "")
        return text(_cut(value)) if isinstance(value, str) else self._leaf(value)

    def _leaf(self, value: Any) -> str:
        if isinstance(value, str):
            return f'<span style="white-space:pre-wrap">{text(json_text(_cut(value)))}</span>'
        if value is None or isinstance(value, bool | int | float | list | tuple | Mapping):
            # Only the empty ones of lists and objects come here.
            return f"<code>{text(_cut(json.dumps(value)))}</code>"
        return text(_cut(self._plain(value)))

    def _label(self, key: str | None, after: str) -> str:
        if key is None:
            return ""
        return f"<b>{text(one_line(key, _KEY)) or '&quot;&quot;'}</b>{after}"

    def _take(self, html: str) -> str:
        self._room -= len(html)
        return html


def json_text(value: str) -> str:
    """A text in its quotes."""
    return json.dumps(value, ensure_ascii=False)


def _cut(value: str) -> str:
    return value if len(value) <= _TEXT else value[: _TEXT - 1] + "…"


def _shape(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{len(value)} member{'s' if len(value) != 1 else ''}"
    return f"{len(value)} item{'s' if len(value) != 1 else ''}"
