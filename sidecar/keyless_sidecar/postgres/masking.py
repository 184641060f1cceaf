"""Texts of the server that reach a client before its session is its own, without the credential."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keyless_sidecar.sanitize import Patterns, sanitize_text

__all__ = ["Mask", "entry_mask"]

Mask = Callable[[str], str]


def entry_mask(values: Sequence[tuple[str, bytes]], further: Mask) -> Mask:
    """A function that takes an entry's values, in all their encodings, out of a text.

    Args:
        values: label and value of each secret field.
        further: another mask, applied after that.
    """
    patterns: list[Patterns] = []

    def mask(text: str) -> str:
        if not patterns:  # built when the first text needs it
            patterns.append(Patterns.build(values))
        return further(_whole(values, sanitize_text(patterns[0], text)[0]))

    return mask


def _whole(values: Sequence[tuple[str, bytes]], text: str) -> str:
    """Values too weak for the patterns, where the text is exactly that value."""
    for label, value in values:
        if text.encode(errors="surrogateescape") == value:
            return f"[redacted:{label}]"
    return text
