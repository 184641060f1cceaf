"""One kernel's cells, one after the other: streams, time limits, cancellation.

Used by :class:`~keyless.host.SecureSandbox`.  A cell that is left early (its task was cancelled,
its time is over, nobody reads on) is interrupted, and the kernel waited for, before the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from keyless.host.errors import CellTimeout, SandboxDied, SandboxError
from keyless.host.inbox import Request
from keyless.host.kernel import Kernel
from keyless.host.outputs import Message

__all__ = ["Cells"]

#: Seconds that a cell which was interrupted may take to end.
_GRACE = 10.0


class Cells:
    """Runs cells on a kernel.  Any number of tasks may ask; they take turns."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._turn = asyncio.Lock()
        self._stuck = False

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
        async with self._turn:
            if self._stuck:
                raise SandboxError("a cancelled cell doesn't end; restart() ends it")
            running = self._kernel.execute(code, expressions or {}, store_history=store_history)
            async with running as request:
                cell = Cell(request, timeout)
                try:
                    yield cell
                finally:
                    if not request.done:
                        await self._end(request)

    async def restart(self) -> None:
        """Start the kernel anew, also where a cell doesn't end."""
        await self._kernel.restart()
        self._stuck = False

    async def _end(self, request: Request) -> None:
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
