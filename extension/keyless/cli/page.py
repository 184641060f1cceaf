"""``jupyter keyless page``: this process becomes the privileged one, which serves the page."""

from __future__ import annotations

from keyless.cli import privileged

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Serve the approval page until Ctrl-C; returns the exit status."""
    return privileged.become("page", argv)
