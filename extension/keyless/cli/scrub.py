"""``jupyter keyless scrub``: the arguments go on to the privileged half, which knows the values."""

from __future__ import annotations

from keyless.cli import privileged

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Search notebooks for secrets; returns the exit status."""
    return privileged.run("scrub", argv)
