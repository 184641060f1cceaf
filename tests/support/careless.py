"""Warm tools as one might build them without care: attacks on them are able to succeed.

``careless.py SCRIPT`` imports what the script's folder holds and runs commands that come as JSON
lines: either in itself, one after another, or in forks that only get streams of their own.
"""

from __future__ import annotations

import io
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Careless:
    """A context manager: a warm tool without walls.

    Args:
        script: of the tool; modules beside it are imported once.
        forks: whether each command runs in a fork.
    """

    def __init__(self, script: Path, *, forks: bool = False) -> None:
        self._script = script
        self._forks = forks

    def __enter__(self) -> Self:
        self.folder = tempfile.TemporaryDirectory(prefix="kl-")
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, self._script, "fork" if self._forks else "same"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self.folder.name,
            env={"HOME": self.folder.name, "TMPDIR": self.folder.name},
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        self._process.wait(10)
        self.folder.cleanup()

    def run(
        self, *argv: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> list[Any]:
        """One command to its end: what its steps said."""
        return self._ask(argv, stdin, env, wait=True)

    def start(self, *argv: str) -> list[Any]:
        """Start one, which goes on: what it said first."""
        return self._ask(argv, b"", None, wait=False)

    def _ask(
        self, argv: tuple[str, ...], stdin: bytes, env: Mapping[str, str] | None, *, wait: bool
    ) -> list[Any]:
        assert self._process.stdin
        assert self._process.stdout
        job = {"argv": argv, "stdin": stdin.decode(), "env": {**(env or {})}, "wait": wait}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return [json.loads(line) for line in json.loads(self._process.stdout.readline())]


def _execute(script: str, job: dict[str, Any], out: str) -> None:
    os.environ.update(job["env"])
    sys.argv = [script, *job["argv"]]
    with open(out, "w", encoding="utf-8") as sys.stdout:
        sys.stdin = io.TextIOWrapper(io.BytesIO(job["stdin"].encode()))
        runpy.run_path(script, run_name="__main__")


def _serve(script: str, how: str) -> None:
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script)
    answers = sys.stdout
    for number, line in enumerate(sys.stdin if how == "fork" else open(0, encoding="utf-8")):  # noqa: SIM115
        job = json.loads(line)
        out = f"out-{number}"
        child = os.fork() if how == "fork" else 0
        if child == 0:
            _execute(script, job, out)
            if how == "fork":
                os._exit(0)
        elif job["wait"]:
            os.waitpid(child, 0)
        else:
            while not (os.path.exists(out) and Path(out).read_text(encoding="utf-8").strip()):  # noqa: PTH110
                time.sleep(0.01)
        answers.write(json.dumps(Path(out).read_text(encoding="utf-8").splitlines()) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2])
