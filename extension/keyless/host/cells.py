"""One kernel's cells, one after the other: streams, time limits, cancellation.

Used by :class:`~keyless.host.SecureSandbox`.  A cell that is left early (its task was cancelled,
its time is over, nobody reads on) is interrupted, and waited for before the next one begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Mapping

from keyless.host.errors import CellTimeout, SandboxDied, SandboxError
from keyless.host.inbox import Request
from keyless.host.kernel import Kernel
from keyless.host.outputs import Message

__all__ = ["Cells"]

_LOG = logging.getLogger(__name__)
#: Seconds that a cell which was interrupted may take to end.
_GRACE = 10.0


class Cells:
    """Runs cells on a kernel.  Any number of tasks may ask; they take turns."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._turn = asyncio.Lock()
        self._stuck = False
        self._ending: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def run(
        self,
        code: str,
        expressions: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
        store_history: bool = True,
    ) -> AsyncIterator[Cell]:
        """Run a cell; leaving the block ends it.

        Args:
            code: the cell.
            expressions: evaluated after it.
            timeout: seconds for all of it.
            store_history: whether it counts.

        Raises:
            SandboxError: the kernel still runs an earlier cell which ignores interrupts.
        """
        await self._turn.acquire()
        request: Request | None = None
        try:
            if self._stuck:
                raise SandboxError("a cancelled cell doesn't end; restart() ends it")
            request = self._kernel.send(code, expressions or {}, store_history=store_history)
            yield Cell(request, timeout)
        finally:
            if request is None or request.done:
                self._release(request)
            else:
                # By a task of its own: the one that was cancelled may be so again at each await.
                self._ending = asyncio.create_task(self._end(request))
                self._ending.add_done_callback(functools.partial(self._ended, request))

    async def restart(self) -> None:
        """Start the kernel anew, also where a cell doesn't end."""
        await self.close()
        await self._kernel.restart()
        self._stuck = False

    async def close(self) -> None:
        """Wait for no cell any more."""
        if self._ending is not None:
            self._ending.cancel()
            await asyncio.gather(self._ending, return_exceptions=True)
            self._ending = None

    def _release(self, request: Request | None) -> None:
        if request is not None:
            self._kernel.forget(request)
        self._turn.release()

    async def _end(self, request: Request) -> None:
        """Interrupt a cell that was left, and wait for its end before the next one's turn."""
        self._stuck = True
        try:
            async with asyncio.timeout(_GRACE):
                await self._kernel.interrupt()
                while await request.next() is not None:
                    pass
            self._stuck = False
        except SandboxDied:
            self._stuck = False  # the next cell is told so
        except (SandboxError, TimeoutError):
            return

    def _ended(self, request: Request, task: asyncio.Task[None]) -> None:
        self._release(request)
        if not task.cancelled() and (problem := task.exception()) is not None:
            _LOG.error("a cell that was left could not be ended: %s", problem)


class Cell:
    """A cell that runs.

    Attributes:
        request: its messages.
        reply: the last one of them, when it has ended.
    """

    def __init__(self, request: Request, timeout: float | None) -> None:
        self.request = request
        self.reply: Message | None = None
        self._timeout = timeout
        loop = asyncio.get_running_loop()
        self._deadline = None if timeout is None else loop.time() + timeout

    async def next(self) -> Message | None:
        """The next message; ``None`` at the end.

        Raises:
            CellTimeout: its time is over.
            SandboxDied: the kernel has ended.
        """
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self.request.next()
        except TimeoutError:
            raise CellTimeout(f"the cell was interrupted after {self._timeout:g} seconds") from None
        if message is not None and message.get("msg_type") == "execute_reply":
            self.reply = message
        return message
