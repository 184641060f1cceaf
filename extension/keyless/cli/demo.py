"""``jupyter keyless demo``: the teaching notebooks against a local AWS."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run the demo; returns its exit status."""
    try:
        # Late: it needs packages of the `demo` extra.
        from keyless.localaws.demo import main as demo
    except ImportError as error:
        print(
            f"jupyter keyless demo: {error.name or error} is missing: pip install 'keyless[demo]'",
            file=sys.stderr,
        )
        return 1
    return demo(argv)
