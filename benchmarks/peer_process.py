"""A peer in a process of its own that measures itself: a line asks, a line answers in seconds."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.peers import PeerMissing


class PeerProcess:
    """A context manager.  It prints ``ready``, then for each line seconds, or why it failed.

    Args:
        argv: of the process.
        environment: for it; this process's when left out.
        folder: that it works in.

    Raises:
        PeerMissing: it doesn't come up.
    """

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str] | None, folder: Path
    ) -> None:
        self._log = (folder / "peer.log").open("w+")
        self._process = subprocess.Popen(
            argv,
            cwd=folder,
            env=None if environment is None else dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        said = self._line()
        if said != "ready":
            self.close()
            raise PeerMissing(f"it doesn't come up: {said or self._last()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, line: str = "") -> float:
        """Seconds that it measured.

        Raises:
            PeerMissing: it failed.
        """
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        said = self._line()
        try:
            return float(said)
        except ValueError:
            raise PeerMissing(said or self._last() or "it ended") from None

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def _last(self) -> str:
        self._log.flush()
        lines = Path(self._log.name).read_text().strip().splitlines()
        return lines[-1] if lines else ""
