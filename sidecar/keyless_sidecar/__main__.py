"""``python -I -m keyless_sidecar serve|vault|page|audit|…``: the privileged program.

``serve`` is started, or forked, by the supervisor, one for each kernel; the others by
``jupyter keyless``.
"""

from __future__ import annotations

import importlib
import sys

from keyless_sidecar.hardening import HardeningError, harden

__all__ = ["main", "preload"]


def preload() -> None:
    """Load the code of ``serve``, for a process that forks sidecars; nothing of it runs."""
    importlib.import_module("keyless_sidecar.serving")


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    # Late imports: each command loads only what it needs.
    if command == "serve":
        from keyless_sidecar.server import main as serve

        return serve(rest)
    if command in ("vault", "page", "scrub"):  # they hold values, or a token
        try:
            harden()
        except HardeningError as error:
            print(f"keyless: {error}", file=sys.stderr)
            return 1
    if command == "vault":
        from keyless_sidecar.commands.vault import main as vault

        return vault(rest)
    if command == "page":
        from keyless_sidecar.commands.page import main as page

        return page(rest)
    if command == "scrub":
        from keyless_sidecar.commands.scrub import main as scrub

        return scrub(rest)
    if command == "audit":
        from keyless_sidecar.commands.audit import main as audit

        return audit(rest)
    if command == "policy":
        from keyless_sidecar.commands.policy import main as policy

        return policy(rest)
    if command == "tools":
        from keyless_sidecar.commands.tools import main as tools

        return tools(rest)
    print(
        "usage: python -I -m keyless_sidecar serve|vault|page|audit|policy|tools|scrub …",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
