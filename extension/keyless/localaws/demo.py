"""``jupyter keyless demo``: the command line of the demo, and of the teaching notebooks.

What happens is in ``rehearsal``, ``lesson`` and ``lab``; they need the packages of the ``demo``
extra, so this file imports them late and says so when they are missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        argv: the arguments after ``jupyter keyless demo``; by default those of the process.

    Returns:
        0 where every check holds, 1 where one doesn't or the demo can't run, 2 for wrong arguments.
    """
    parser = argparse.ArgumentParser(
        prog="jupyter keyless demo",
        description="An agent's notebook deploys a Lambda to a local AWS with a key that it never"
        " sees. Needs no account and no network; your own configuration and vault stay untouched.",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("build/demo"), help="folder for page and notebook"
    )
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="SECONDS", help="limit for each cell"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--notebook", metavar="NAME", help="run another notebook: 00-tour, 03-steal-the-key, …"
    )
    which.add_argument(
        "--lab", action="store_true", help="open all notebooks in JupyterLab, with the local AWS"
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="with --lab: print the address only"
    )
    try:
        options = parser.parse_args(argv)
    except SystemExit as error:
        return int(error.code or 0)
    try:
        from keyless.localaws.lab import open_lab
        from keyless.localaws.lesson import teach
        from keyless.localaws.rehearsal import NOTEBOOK, DemoError, rehearse
    except ImportError as error:
        print(
            f"jupyter keyless demo: {error.name} is missing: pip install 'keyless[demo]'.",
            file=sys.stderr,
        )
        return 1
    output = options.output.absolute()
    try:
        if options.lab:
            open_lab(output, ["--no-browser"] if options.no_browser else [])
            return 0
        if options.notebook and options.notebook.removesuffix(".ipynb") != Path(NOTEBOOK).stem:
            return 0 if teach(options.notebook, output, options.timeout) else 1
        return 0 if rehearse(output, options.timeout) else 1
    except DemoError as error:
        print(f"jupyter keyless demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\njupyter keyless demo: interrupted.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
