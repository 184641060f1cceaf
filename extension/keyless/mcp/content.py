"""Results as a model reads them: text, capped, and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mcp.types import CallToolResult, ContentBlock, ImageContent, TextContent

from keyless.host import CellResult
from keyless.magics.results import ExecResult

__all__ = ["of_cell", "of_command", "of_value", "plain"]

#: Characters of one text.
MAX_TEXT = 100_000
#: Base64 characters of one picture.
MAX_IMAGE = 8 * 1024 * 1024


def of_cell(result: CellResult) -> CallToolResult:
    """A cell's outputs; an exception makes it an error."""
    text = result.text
    if result.error is not None:
        text += result.error.traceback + "\n"
    if result.truncated:
        text += "[there was more output than is kept]\n"
    images = [
        ImageContent(type="image", data=data, mime_type=kind)
        for kind, data in result.images
        if len(data) <= MAX_IMAGE
    ]
    return _result(text or "(no output)", images, failed=not result.ok)


def of_command(result: ExecResult) -> CallToolResult:
    """A secured command's output, with what became of it; a non-zero exit code is an error."""
    text = result.stdout
    if result.stderr:
        text += f"\n[stderr]\n{result.stderr}"
    return _result(f"{_cut(text)}\n[{result!r}]", failed=not result.ok)


def of_value(value: Any) -> CallToolResult:
    """An answer of an API, as JSON."""
    return _result(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def plain(text: str) -> CallToolResult:
    """Just text."""
    return _result(text)


def _result(
    text: str, images: Sequence[ImageContent] = (), *, failed: bool = False
) -> CallToolResult:
    content: list[ContentBlock] = [TextContent(type="text", text=_cut(text)), *images]
    return CallToolResult(content=content, is_error=failed)


def _cut(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2 - 50
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n[{left_out} characters are left out]\n{text[-half:]}"
