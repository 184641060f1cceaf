"""``jupyter keyless doctor``: what works on this machine, what doesn't, and how to get it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from keyless.cli.checks import Check, run_checks

__all__ = ["main"]

_MARKS = {"ok": "✓", "note": "•", "failed": "✗"}


def main(argv: list[str]) -> int:
    """Print the checks.

    Returns:
        0 where a kernel would start and a command would run, else 1.
    """
    parser = argparse.ArgumentParser(
        prog="jupyter keyless doctor",
        description="Check this machine, and say what is missing and how to get it.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(argv)
    checks = run_checks()
    refused = any(check.state == "failed" for check in checks)
    if options.json:
        print(json.dumps({"ok": not refused, "checks": [asdict(check) for check in checks]}))
    else:
        _print_table(checks)
    return 1 if refused else 0


def _print_table(checks: list[Check]) -> None:
    encoding = sys.stdout.encoding or "ascii"
    width = max(len(check.name) for check in checks)
    for check in checks:
        lines = [f"{_MARKS[check.state]} {check.name.ljust(width)}  {check.detail}"]
        if check.fix:
            lines.append(f"  {'':{width}}  → {check.fix}")
        for line in lines:
            # A terminal without these signs still gets the sentence.
            print(line.encode(encoding, "replace").decode(encoding))
