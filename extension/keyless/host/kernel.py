"""A kernel as the host API drives it, and the one on this machine.

:class:`LocalKernel` is a plain jupyter_client manager; the provisioner makes the sandbox and the
sidecar, and its supervisor ends all of them when this process ends, however it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from jupyter_client.manager import AsyncKernelManager

from keyless.host.errors import SandboxDied, SandboxError
from keyless.host.finishing import finish
from keyless.host.inbox import Inbox, Request

__all__ = ["Kernel", "LocalKernel"]

#: Seconds between two looks whether the kernel lives.
_LOOK = 0.5


class Kernel(Protocol):
    """What :class:`~keyless.host.SecureSandbox` needs of a kernel."""

    @property
    def kernel_id(self) -> str:
        """Its id."""

    async def start(self) -> None:
        """Start it and wait until it answers; on failure nothing is left."""

    def send(self, code: str, expressions: Mapping[str, str], *, store_history: bool) -> Request:
        """Send a cell, with expressions to evaluate after it; :meth:`forget` gives it back."""

    def forget(self, request: Request) -> None:
        """Nobody waits for it any more."""

    async def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the cell that runs."""

    async def restart(self) -> None:
        """End it and start it anew; the workspace stays."""

    async def stop(self) -> None:
        """End it, and all that belongs to it.  Idempotent."""


class LocalKernel:
    """A kernel that this process starts.

    Args:
        kernel_name: kernelspec.
        workspace: folder on this machine; empty for a fresh one that goes with the kernel.
        credentials: as :class:`~keyless_kernel.confine.settings.MemoryCredential`.
        config: sections and settings on top of the person's configuration.
        passphrase: opens a locked vault.
        start_timeout: seconds until the kernel must answer.
    """

    def __init__(
        self,
        *,
        kernel_name: str,
        workspace: str,
        credentials: Iterable[Mapping[str, Any]],
        config: Mapping[str, Mapping[str, Any]],
        passphrase: str | None,
        start_timeout: float,
    ) -> None:
        self._manager = AsyncKernelManager(kernel_name=kernel_name)
        self._options: dict[str, Any] = {
            "keyless_workspace": workspace or None,
            "keyless_credentials": [dict(each) for each in credentials],
            "keyless_config": {name: dict(section) for name, section in config.items()},
            "keyless_passphrase": passphrase,
        }
        self._timeout = start_timeout
        self._client: Any = None
        self._inbox = Inbox()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def kernel_id(self) -> str:
        """Its id, which names its folders too."""
        return self._manager.kernel_id

    @property
    def level(self) -> str:
        """The isolation level in force."""
        return str(getattr(self._manager.provisioner, "level", ""))

    @property
    def workspace(self) -> Path:
        """Host path of the workspace."""
        return Path(str(getattr(self._manager.provisioner, "cwd", "")))

    @property
    def control_folder(self) -> str:
        """Folder of the sidecar's control socket; empty where there is none."""
        return str(getattr(self._manager.provisioner, "control_folder", ""))

    async def start(self) -> None:
        """As :meth:`Kernel.start`.

        Raises:
            SandboxError: it doesn't start; the message says what is missing.
        """
        try:
            try:
                await self._manager.start_kernel(**self._options)
            finally:
                self._options = {}  # credentials are the sidecar's now
            self._client = self._manager.client()
            self._client.start_channels(stdin=False, hb=False)
            await self._client.wait_for_ready(timeout=self._timeout)
        except BaseException as error:
            await finish(self.stop())
            if isinstance(error, RuntimeError):
                raise SandboxError(f"the kernel doesn't start: {error}") from error
            raise
        self._listen()

    def _listen(self) -> None:
        self._inbox = Inbox()
        readers = (self._client.iopub_channel, self._client.shell_channel)
        self._tasks = [asyncio.create_task(self._read(channel)) for channel in readers]
        self._tasks.append(asyncio.create_task(self._watch()))

    async def _read(self, channel: Any) -> None:
        while True:
            try:
                self._inbox.deliver(await channel.get_msg())
            except (ValueError, TypeError, KeyError):
                continue  # not a message, or not signed with this kernel's key

    async def _watch(self) -> None:
        while await self._manager.is_alive():
            await asyncio.sleep(_LOOK)
        self._inbox.fail("the kernel has ended; restart() starts it anew")

    async def _deafen(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def send(self, code: str, expressions: Mapping[str, str], *, store_history: bool) -> Request:
        """As :meth:`Kernel.send`.

        Raises:
            SandboxDied: the kernel has ended.
        """
        if self._client is None:
            raise SandboxDied("the sandbox isn't running")
        if self._inbox.ended is not None:
            raise SandboxDied(str(self._inbox.ended))
        sent = self._client.execute(
            code,
            store_history=store_history,
            user_expressions=dict(expressions),
            allow_stdin=False,
            stop_on_error=False,
        )
        return self._inbox.open(sent)

    def forget(self, request: Request) -> None:
        """As :meth:`Kernel.forget`."""
        self._inbox.close(request)

    async def interrupt(self) -> None:
        """As :meth:`Kernel.interrupt`."""
        if self._inbox.ended is None:
            await self._manager.interrupt_kernel()

    async def restart(self) -> None:
        """As :meth:`Kernel.restart`."""
        await self._deafen()
        self._inbox.fail("the kernel was restarted")
        try:
            await self._manager.restart_kernel(now=True)
            await self._client.wait_for_ready(timeout=self._timeout)
        except RuntimeError as error:
            raise SandboxError(f"the kernel doesn't start again: {error}") from error
        self._listen()

    async def stop(self) -> None:
        """As :meth:`Kernel.stop`."""
        await self._deafen()
        self._inbox.fail("the sandbox has ended")
        client, self._client = self._client, None
        if client is not None:
            client.stop_channels()
        if self._manager.has_kernel:
            await self._manager.shutdown_kernel(now=True)
        else:
            await self._manager.cleanup_resources()
