"""The synchronous face of :class:`~keyless.host.SecureSandbox`: an event loop in a thread."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from keyless.host.answers import Completed
from keyless.host.authority import Question
from keyless.host.files import ListedFile
from keyless.host.outputs import CellResult, Output
from keyless.host.sandbox import SecureSandbox
from keyless.magics.results import ExecResult

__all__ = ["SecureSandboxSync"]

T = TypeVar("T")


class SecureSandboxSync:
    """As :class:`~keyless.host.SecureSandbox`, for programs without an event loop.

    A context manager that takes the same arguments, with the same methods; each blocks until it is
    done.  May be used from several threads.  Ctrl-C in a call cancels it.
    """

    def __init__(self, workspace: str | os.PathLike[str] | None = None, **options: Any) -> None:
        self._workspace = workspace
        self._options = options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._sandbox: SecureSandbox | None = None

    # ------------------------------------------------------------------ life

    def __enter__(self) -> Self:
        """Start it, with a thread of its own."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="keyless-sandbox", daemon=True
        )
        self._thread.start()
        try:
            self._do(self._start())
        except BaseException:
            self._end_thread()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it with all that belongs to it.  Idempotent."""
        if self._loop is None:
            return
        try:
            if self._sandbox is not None:
                self._do(self._sandbox.close())
        finally:
            self._end_thread()

    async def _start(self) -> None:
        # Made on the loop's thread, since parts of it belong to the loop that runs.
        sandbox = SecureSandbox(self._workspace, **self._options)
        await sandbox.__aenter__()
        self._sandbox = sandbox

    def _end_thread(self) -> None:
        loop, self._loop = self._loop, None
        thread, self._thread = self._thread, None
        self._sandbox = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(_finish(loop), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("the sandbox isn't running: use it as `with` block")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C while waiting: the work ends too, and in order.
            if not future.done():
                future.cancel()
            raise

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        async def following() -> tuple[T, ...]:
            try:
                return (await anext(source),)
            except StopAsyncIteration:
                return ()

        async def end() -> None:
            closing = getattr(source, "aclose", None)
            if closing is not None:
                await closing()

        try:
            while found := self._do(following()):
                yield found[0]
        finally:
            if self._loop is not None:
                self._do(end())

    @property
    def _running(self) -> SecureSandbox:
        if self._sandbox is None:
            raise RuntimeError("the sandbox isn't running: use it as `with` block")
        return self._sandbox

    # ------------------------------------------------------------------ the same methods

    @property
    def kernel_id(self) -> str:
        """As :attr:`SecureSandbox.kernel_id`."""
        return self._running.kernel_id

    @property
    def workspace(self) -> Path:
        """As :attr:`SecureSandbox.workspace`."""
        return self._running.workspace

    def restart(self) -> None:
        """As :meth:`SecureSandbox.restart`."""
        self._do(self._running.restart())

    def run_cell(self, code: str, *, timeout: float | None = None) -> CellResult:
        """As :meth:`SecureSandbox.run_cell`."""
        return self._do(self._running.run_cell(code, timeout=timeout))

    def stream_cell(self, code: str, *, timeout: float | None = None) -> Iterator[Output]:
        """As :meth:`SecureSandbox.stream_cell`; leaving the loop ends the cell."""
        return self._iterate(self._running.stream_cell(code, timeout=timeout))

    def exec(self, command: str | Sequence[str], **options: Any) -> Completed:
        """As :meth:`SecureSandbox.exec`."""
        return self._do(self._running.exec(command, **options))

    def write_file(self, path: str, content: str | bytes | Path) -> None:
        """As :meth:`SecureSandbox.write_file`."""
        self._do(self._running.write_file(path, content))

    def read_file(self, path: str, **options: Any) -> bytes:
        """As :meth:`SecureSandbox.read_file`."""
        return self._do(self._running.read_file(path, **options))

    def fetch_file(self, path: str, target: Path, **options: Any) -> int:
        """As :meth:`SecureSandbox.fetch_file`."""
        return self._do(self._running.fetch_file(path, target, **options))

    def list_files(self, path: str = "") -> list[ListedFile]:
        """As :meth:`SecureSandbox.list_files`."""
        return self._do(self._running.list_files(path))

    def set_env_vars(self, variables: Mapping[str, str]) -> None:
        """As :meth:`SecureSandbox.set_env_vars`."""
        self._do(self._running.set_env_vars(variables))

    def exec_secure(self, command: str | Sequence[str], **options: Any) -> ExecResult:
        """As :meth:`SecureSandbox.exec_secure`."""
        return self._do(self._running.exec_secure(command, **options))

    def stream_secure(
        self, command: str | Sequence[str], **options: Any
    ) -> Iterator[Output | ExecResult]:
        """As :meth:`SecureSandbox.stream_secure`."""
        return self._iterate(self._running.stream_secure(command, **options))

    def call(self, service: str, operation: str, /, **parameters: Any) -> Any:
        """As :meth:`SecureSandbox.call`."""
        return self._do(self._running.call(service, operation, **parameters))

    def register_platform_credentials(
        self, name: str, fields: Mapping[str, str], **options: Any
    ) -> None:
        """As :meth:`SecureSandbox.register_platform_credentials`."""
        self._do(self._running.register_platform_credentials(name, fields, **options))

    def pending(self) -> list[Question]:
        """As :meth:`SecureSandbox.pending`."""
        return self._do(self._running.pending())

    def approve(self, question: str, *, minutes: float | None = None) -> None:
        """As :meth:`SecureSandbox.approve`."""
        self._do(self._running.approve(question, minutes=minutes))

    def deny(self, question: str, *, reason: str = "") -> None:
        """As :meth:`SecureSandbox.deny`."""
        self._do(self._running.deny(question, reason=reason))

    def audit(self, *, limit: int = 1000) -> list[dict[str, Any]]:
        """As :meth:`SecureSandbox.audit`."""
        return self._do(self._running.audit(limit=limit))


async def _finish(loop: asyncio.AbstractEventLoop) -> None:
    """Let what was cancelled end in order, before the loop does."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
