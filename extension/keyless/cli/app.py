"""The program ``jupyter keyless`` (``jupyter-keyless``)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version

__all__ = ["main"]

_COMMANDS = {
    "doctor": "check this machine, and say what is missing and how to get it",
    "vault": "add, list, remove, test: the credentials that notebooks act with",
    "policy": "check, explain, init: what notebooks may do with them",
    "pending": "what waits for your approval",
    "approve": "say yes to it, once or for some minutes",
    "deny": "say no to it",
    "page": "a page in your browser where you watch your kernels, approve and deny",
    "audit": "show, verify: what notebooks did with them",
    "scrub": "find secrets in notebooks, and take them out",
    "run": "execute a notebook headless; fails where a cell does",
    "mcp": "a kernel without secrets as tools for a model, on stdin and stdout",
    "demo": "an AI's notebook deploys a Lambda to a local AWS with a key that it never sees",
}


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        argv: arguments after the program's name; default: those of the process.

    Returns:
        The exit status: 0 done, 1 not done, 2 wrong arguments.
    """
    arguments = sys.argv[1:] if argv is None else argv
    if arguments and arguments[0] in _COMMANDS:
        run: Callable[[list[str]], int] = import_module(f"keyless.cli.{arguments[0]}").main
        try:
            return run(arguments[1:])
        except KeyboardInterrupt:
            return 130
    return _usage(arguments)


def _usage(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="jupyter keyless",
        description="Jupyter for AI agents whose cells act with your credentials and never hold "
        "a key.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version("keyless"))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in _COMMANDS.items():
        commands.add_parser(name, help=text)
    parser.parse_args(arguments)
    return 2
