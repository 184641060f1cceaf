"""Which declared tools a kernel would find: for ``jupyter keyless doctor``.

Run by :mod:`keyless_sidecar.__main__` with the ``Tools`` section of the configuration as JSON on
standard input.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from keyless_sidecar.commands.parsing import Parser
from keyless_sidecar.tools import ToolConfigError, load_tools, missing_tool

__all__ = ["main"]


def main(argv: list[str], prog: str = "keyless_sidecar tools") -> int:
    """Print the tools as a JSON object.

    Returns:
        0, or 1 where a declaration is wrong (then ``error`` in the object says how).
    """
    parser = Parser(prog=prog)
    parser.add_argument("--data-dir", type=Path, help=argparse.SUPPRESS)
    parser.parse_args(argv)
    try:
        tools = load_tools(json.load(sys.stdin))
    except (ToolConfigError, ValueError) as error:
        print(json.dumps({"tools": {}, "error": str(error)}))
        return 1
    missing = "" if "aws" in tools else missing_tool("aws", tools)
    found = {name: tool.program or tool.path for name, tool in tools.items()}
    print(json.dumps({"tools": found, "error": "", "missing": missing}))
    return 0
