"""``jupyter keyless run``: execute a notebook headless in a Keyless kernel.

For continuous integration and agents' hosts: a progress bar at a terminal, one line a cell in a
log, exit status 1 where a cell fails.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

__all__ = ["main"]

_PROG = "jupyter keyless run"


def main(argv: list[str]) -> int:
    """Run a notebook.

    Returns:
        0 every cell ran, 1 a cell or the kernel failed, 2 wrong arguments.
    """
    options = _parser().parse_args(argv)
    if not options.notebook.is_file():
        print(f"{_PROG}: there is no notebook {options.notebook}", file=sys.stderr)
        return 2
    try:
        # Late: they need packages of the `run` extra.
        from keyless.cli.notebook_run import execute
    except ImportError as error:
        print(
            f"{_PROG}: {error.name or error} is missing: pip install 'keyless[run]'",
            file=sys.stderr,
        )
        return 1
    target = options.output or options.notebook
    return execute(
        options.notebook,
        target,
        workspace=options.workspace,
        timeout=options.timeout,
        keep_going=options.keep_going,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROG,
        description="Execute a notebook in a Keyless kernel, whatever kernel it names.",
        allow_abbrev=False,
    )
    parser.add_argument("notebook", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--output", type=Path, help="executed notebook (default: in place)")
    parser.add_argument(
        "--workspace", type=Path, help="folder that the cells work in (default: the configured one)"
    )
    parser.add_argument(
        "--timeout", type=float, default=600, metavar="SECONDS", help="of one cell (default 600)"
    )
    parser.add_argument(
        "--keep-going", action="store_true", help="run the cells after one that failed, too"
    )
    return parser
