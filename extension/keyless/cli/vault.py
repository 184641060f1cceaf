"""``jupyter keyless vault``: the arguments go on to the privileged half, which owns the parser."""

from __future__ import annotations

from keyless.cli import privileged

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run one vault command; returns its exit status."""
    return privileged.run("vault", argv)
