"""The program that a notebook shows and no cell can run: it drives a kernel from outside.

Used by ``lesson`` and the tests.  Its parts are the cells with ``keyless.host`` in their metadata:
code cells, which the kernel runs too, and text cells that hold one block of code.
"""

from __future__ import annotations

import subprocess
import sys

from nbformat import NotebookNode

__all__ = ["HostedError", "program", "run"]

_FENCE = "```"


class HostedError(RuntimeError):
    """The program failed; the message is the end of what it said."""


def program(notebook: NotebookNode) -> str:
    """The program's source; empty where the notebook shows none.

    Args:
        notebook: as it is shipped, not one that was in the hands of a kernel.
    """
    parts = []
    for cell in notebook.cells:
        if cell.metadata.get("keyless", {}).get("host"):
            lines = cell.source.splitlines()
            parts.append("\n".join(line for line in lines if not line.startswith(_FENCE)))
    return "\n\n\n".join(parts)


def run(source: str, timeout: float) -> str:
    """Run it with this process's Jupyter folders; returns what it printed.

    Args:
        source: from :func:`program`.
        timeout: seconds.

    Raises:
        HostedError: it failed, or took too long.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", source],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise HostedError(f"it took more than {timeout:g} s") from None
    if done.returncode:
        raise HostedError((done.stderr or done.stdout).strip()[-500:])
    return done.stdout
