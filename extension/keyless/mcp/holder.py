"""The one sandbox of an MCP server: started when first needed, anew when its kernel has died."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from keyless.host import SecureSandbox

__all__ = ["Holder"]


class Holder:
    """Keeps a sandbox.  One event loop's affair; :meth:`close` comes last.

    Args:
        make: gives a new sandbox, not started.
    """

    def __init__(self, make: Callable[[], SecureSandbox]) -> None:
        self._make = make
        self._starting: asyncio.Task[SecureSandbox] | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def get(self) -> SecureSandbox:
        """The sandbox, running.

        Raises:
            SandboxError: it doesn't start.
        """
        if self._renewing is not None:
            await asyncio.shield(self._renewing)
        if self._starting is None or _failed(self._starting):
            self._starting = asyncio.create_task(self._make().__aenter__())
        # A tool call may be cancelled at any await; the start goes on for the next one.
        return await asyncio.shield(self._starting)

    async def renew(self) -> None:
        """Start the kernel anew, since it has died.

        Raises:
            SandboxError: it doesn't start; the next :meth:`get` makes another sandbox.
        """
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())
        await asyncio.shield(self._renewing)

    async def _renew(self) -> None:
        if self._starting is None:
            return
        sandbox = await self._starting
        try:
            await sandbox.restart()
        except BaseException:
            self._starting = None
            await sandbox.close()
            raise
        finally:
            self._renewing = None

    async def close(self) -> None:
        """End the sandbox, also one that still starts."""
        for task in (self._renewing, self._starting):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        starting, self._starting = self._starting, None
        if starting is not None and not _failed(starting):
            await starting.result().close()


def _failed(task: asyncio.Task[SecureSandbox]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
