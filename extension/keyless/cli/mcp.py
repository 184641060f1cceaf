"""``jupyter keyless mcp``: a kernel without secrets as tools for a model, on stdin and stdout."""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial
from pathlib import Path

from keyless.host import SandboxError, SecureSandbox

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Serve until the client goes; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        # Late: it needs the package of the `mcp` extra.
        from keyless.mcp.server import serve
    except ImportError as error:
        print(
            f"jupyter keyless mcp: {error.name or error} is missing: pip install 'keyless[mcp]'",
            file=sys.stderr,
        )
        return 1
    try:
        token = arguments.token_file.read_text("utf-8").strip() if arguments.token_file else ""
        make = partial(
            SecureSandbox, arguments.workspace, server_url=arguments.server_url, token=token
        )
        make()  # mistakes in the arguments show now
    except (OSError, SandboxError) as error:
        print(f"jupyter keyless mcp: {error}", file=sys.stderr)
        return 1
    asyncio.run(serve(make, cell_timeout=arguments.cell_timeout))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jupyter keyless mcp",
        description="Serves run_cell, secure_exec, secure_call, write_file and read_file to an MCP "
        "client on stdin and stdout.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--workspace",
        metavar="FOLDER",
        help="folder that the kernel works in; default: a fresh one, gone at the end",
    )
    parser.add_argument(
        "--server-url", default="", metavar="URL", help="a Jupyter server that runs the kernel"
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="file that holds that server's token"
    )
    parser.add_argument(
        "--cell-timeout",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="limit of a cell whose call names none (%(default)g)",
    )
    return parser
