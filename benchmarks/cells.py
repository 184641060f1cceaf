"""A running kernel whose cells are timed, and its processes."""

from __future__ import annotations

import json
import subprocess
import textwrap
from types import TracebackType
from typing import Any, Self

from jupyter_client.manager import start_new_kernel
from tests.support.leftovers import descendants


class CellFailed(RuntimeError):
    """A cell raised; the message is its error's name and text."""


class Cells:
    """A kernel; a context manager.

    Args:
        kernel_name: ``keyless`` or ``python3``.
        options: for ``start_kernel``.
    """

    def __init__(self, kernel_name: str, **options: Any) -> None:
        if kernel_name == "python3":
            options["stderr"] = subprocess.DEVNULL  # ipykernel warns of its own default transport
        self.manager, self._client = start_new_kernel(kernel_name=kernel_name, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, code: str, timeout: float = 600) -> str:
        """Run a cell to its end; what it printed.

        Raises:
            CellFailed: it raised.
        """
        printed: list[str] = []

        def hook(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        reply = self._client.execute_interactive(code, timeout=timeout, output_hook=hook)
        if reply["content"]["status"] != "ok":
            raise CellFailed(f"{reply['content']['ename']}: {reply['content']['evalue']}")
        return "".join(printed)

    def define(self, code: str) -> None:
        """Run an indented block."""
        self.run(textwrap.dedent(code))

    def value(self, expression: str) -> float:
        """What an expression gives in the kernel: seconds that it measured itself."""
        printed = self.run(f"print('=', __import__('json').dumps({expression}))")
        line = next(line for line in printed.splitlines() if line.startswith("= "))
        return float(json.loads(line[2:]))

    @property
    def supervisor(self) -> int:
        """Process id of what holds a Keyless kernel's processes."""
        return int(self.manager.provisioner._supervisor.pid)

    @property
    def kernel(self) -> int:
        """Process id of the kernel, or of the sandbox around it."""
        return int(self.manager.provisioner.pid)

    @property
    def sidecar(self) -> int:
        """Process id of a Keyless kernel's sidecar: the nearest to the supervisor."""
        found = descendants(self.supervisor)
        return next(pid for pid, line in found.items() if "keyless_sidecar serve" in line)

    def close(self) -> None:
        """End it."""
        self._client.stop_channels()
        self.manager.shutdown_kernel(now=True)
