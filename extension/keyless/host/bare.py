"""What a sandbox does without any credential: its life, cells, plain commands, files, variables.

:class:`~keyless.host.SecureSandbox` adds what acts with credentials.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from keyless.host.answers import Completed, completed, expression, value_of
from keyless.host.cells import Cells
from keyless.host.errors import SandboxError
from keyless.host.files import CellFiles, Files, ListedFile, LocalFiles, save
from keyless.host.finishing import finish
from keyless.host.kernel import Kernel, LocalKernel
from keyless.host.outputs import CellResult, Output, mapping, output_from
from keyless.magics.checks import argument_list
from keyless.protocol.errors import InvalidRequest
from keyless.protocol.words import split_words

__all__ = ["BareSandbox", "asked_of_kernel", "question"]

#: Bytes that :meth:`BareSandbox.read_file` gives at most, unless the caller says else.
_MAX_FILE = 64 * 1024 * 1024


class BareSandbox:
    """A kernel in its sandbox.

    Args:
        kernel: not started.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._cells = Cells(kernel)
        self._files: Files | None = None
        self._variables: dict[str, str] = {}
        self._stack = contextlib.AsyncExitStack()

    # ------------------------------------------------------------------ life

    async def __aenter__(self) -> Self:
        """Start it.

        Raises:
            SandboxError: it doesn't start; nothing is left.
        """
        await self._kernel.start()
        try:
            if isinstance(self._kernel, LocalKernel):
                files = LocalFiles(self._kernel.workspace, self._kernel.level)
                self._stack.callback(files.close)
                self._files = files
            else:
                self._files = CellFiles(self._ask)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End it with all that belongs to it; cancelling doesn't stop that.  Idempotent."""
        await finish(self._close())

    async def _close(self) -> None:
        self._files = None
        try:
            await self._cells.close()
            await self._stack.aclose()
        finally:
            await self._kernel.stop()

    async def restart(self) -> None:
        """A new kernel in the same workspace: variables are gone, files and settings stay."""
        await self._cells.restart()
        if self._variables:
            await self._ask("environment", variables=self._variables)

    @property
    def kernel_id(self) -> str:
        """The kernel's id."""
        return self._kernel.kernel_id

    @property
    def workspace(self) -> Path:
        """The workspace's folder on this machine.

        Raises:
            SandboxError: it is on another one.
        """
        return self._local("the workspace's folder").workspace

    # ------------------------------------------------------------------ without secrets

    async def run_cell(self, code: str, *, timeout: float | None = None) -> CellResult:
        """Run a cell and wait for its end.

        Args:
            code: Python, with magics.
            timeout: seconds.

        Returns:
            What it gave; an exception in the cell is in it, and isn't raised.

        Raises:
            CellTimeout: it was interrupted.
            SandboxDied: the kernel has ended.
        """
        outputs: list[Output] = []
        async with self._cells.run(code, timeout=timeout) as cell:
            while (message := await cell.next()) is not None:
                if (output := output_from(message)) is not None:
                    outputs.append(output)
        count = mapping(cell.reply["content"]).get("execution_count") if cell.reply else 0
        number = count if isinstance(count, int) else 0
        return CellResult.of(outputs, number, truncated=cell.request.truncated)

    async def stream_cell(
        self, code: str, *, timeout: float | None = None
    ) -> AsyncIterator[Output]:
        """As :meth:`run_cell`, with outputs as they come.  Leaving the loop ends the cell
        when the iterator is closed (``contextlib.aclosing``)."""
        async with self._cells.run(code, timeout=timeout) as cell:
            while (message := await cell.next()) is not None:
                if (output := output_from(message)) is not None:
                    yield output

    async def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        cwd: str = "",
        stdin: str | bytes | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a command in the sandbox, which holds no secrets.

        Args:
            command: a line for ``sh``, or a list that is taken as it is.
            timeout: seconds until it is ended.
            cwd: folder, relative to the workspace; empty means where the kernel is.
            stdin: its input; ``None`` means an empty one.
            env: variables on top of the kernel's.

        Raises:
            CommandTimeout: it was ended; ``result`` holds what it gave.
            SandboxError: there is no such program or folder.
        """
        value = await self._ask(
            "run",
            command=command if isinstance(command, str) else list(argument_list(command)),
            cwd=cwd,
            timeout=timeout,
            stdin=_encoded(stdin),
            environment=dict(env or {}),
        )
        return completed(value)

    async def write_file(self, path: str, content: str | bytes | Path) -> None:
        """Put a whole file into the workspace, or nothing.

        Args:
            path: relative to the workspace; folders on the way are made.
            content: text, bytes, or a file on this machine.

        Raises:
            SandboxFileError: the path leads outside or through a link, or isn't a plain file.
        """
        data = content.encode() if isinstance(content, str) else content
        await self._workspace_files().write(path, data)

    async def read_file(self, path: str, *, max_size: int = _MAX_FILE) -> bytes:
        """A whole file of the workspace.

        Args:
            path: relative to the workspace.
            max_size: bytes that it may have.

        Raises:
            SandboxFileError: it is missing, too large, no plain file, or reached through a link.
        """
        return await self._workspace_files().read(path, max_size)

    async def fetch_file(
        self, path: str, target: Path, *, progress: Callable[[int, int], object] | None = None
    ) -> int:
        """Copy a file of any size out of the workspace, in pieces.

        Args:
            path: relative to the workspace.
            target: file on this machine; it is replaced in one step, or stays as it is.
            progress: called with the bytes so far and the bytes in all.

        Returns:
            The number of bytes.

        Raises:
            SandboxFileError: it is missing, no plain file, or reached through a link.
            OSError: the target can't be written.
        """
        return await save(self._workspace_files().pieces(path), target, progress)

    async def list_files(self, path: str = "") -> list[ListedFile]:
        """A folder of the workspace, by name.

        Raises:
            SandboxFileError: there is no such folder.
        """
        return await self._workspace_files().listing(path)

    async def set_env_vars(self, variables: Mapping[str, str]) -> None:
        """Set variables of the kernel, for cells and plain commands; no place for secrets."""
        self._variables.update(variables)
        await self._ask("environment", variables=dict(variables))

    # ------------------------------------------------------------------ inside

    async def _ask(self, operation: str, /, **parameters: Any) -> Any:
        """The value of an operation that the kernel does."""
        code, expressions = question(operation, parameters)
        async with self._cells.run(code, expressions, store_history=False) as cell:
            while await cell.next() is not None:
                pass
        return value_of(cell.reply, "answer")

    def _workspace_files(self) -> Files:
        if self._files is None:
            raise SandboxError("the sandbox isn't running: use it as `async with` block")
        return self._files

    def _local(self, what: str) -> LocalKernel:
        if not isinstance(self._kernel, LocalKernel):
            raise SandboxError(f"{what} is on the machine of the server")
        return self._kernel


def question(operation: str, parameters: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """A cell that does nothing, for the audit's hash, and the expression that is evaluated."""
    return f"# keyless.host: {operation}", {"answer": expression(operation, parameters)}


def asked_of_kernel(
    command: str | Sequence[str],
    credentials: list[str] | None,
    timeout: float | None,
    isolated: bool,
    cwd: str,
    stdin: str | bytes | None,
) -> dict[str, Any]:
    """The parameters of a command that the kernel asks for."""
    words = split_words(command) if isinstance(command, str) else argument_list(command)
    if not words:
        raise InvalidRequest("the command is empty: its first word is the tool")
    return {
        "tool": words[0],
        "argv": list(words[1:]),
        "credentials": credentials,
        "timeout": timeout,
        "isolated": isolated,
        "cwd": cwd,
        "stdin": _encoded(stdin),
    }


def _encoded(data: str | bytes | None) -> str | None:
    if data is None:
        return None
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()
