"""Text that came from elsewhere, made safe to show on a terminal."""

from __future__ import annotations

import unicodedata

__all__ = ["printable"]

# Controls, formats (bidirectional ones too), surrogates, private use, unassigned, separators of
# lines and paragraphs: what a terminal obeys or doesn't show.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(text: str) -> str:
    """``text`` with every character that isn't plainly visible written as an escape."""
    return "".join(
        char if unicodedata.category(char) not in _HIDDEN else _escape(char) for char in text
    )


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
