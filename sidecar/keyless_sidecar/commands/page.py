"""``jupyter keyless page``: watch and approve in a browser.  Run by
:mod:`keyless_sidecar.__main__`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from keyless_sidecar.page.server import PageUnavailable, run

__all__ = ["main"]


def main(argv: list[str], prog: str = "jupyter keyless page") -> int:
    """Serve the page until Ctrl-C.

    Returns:
        0 at the normal end, 1 where it can't be served, 2 for wrong arguments.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Serve a page, on this machine only, where you watch your kernels, and approve "
        "or deny what they ask. Prints its address; Ctrl-C ends it.",
        allow_abbrev=False,
    )
    parser.add_argument("--runtime-dir", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument(
        "--port", type=_port, default=0, help="a port of your choice, from 1024 (default: any)"
    )
    options = parser.parse_args(argv)
    os.umask(0o077)
    try:
        asyncio.run(run(options.runtime_dir, options.port))
    except PageUnavailable as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _port(text: str) -> int:
    port = int(text)
    if not 1024 <= port <= 65535:
        raise ValueError
    return port
