"""The page's own files, read once at the start; they hold nothing of anybody."""

from __future__ import annotations

from pathlib import Path

from keyless_sidecar.control.requests import Answer

__all__ = ["load"]

_FOLDER = Path(__file__).with_name("assets")
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}


def load() -> dict[str, Answer]:
    """The answers by their paths; ``/`` is the page."""
    found = {
        f"/{path.name}": Answer(200, path.read_bytes(), _KINDS[path.suffix])
        for path in sorted(_FOLDER.iterdir())
        if path.suffix in _KINDS
    }
    found["/"] = found.pop("/page.html")
    return found
