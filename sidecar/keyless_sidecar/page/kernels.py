"""The running kernels of this user, and their news as one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec

from keyless.control_client import ControlClient, ControlError, ControlUnavailable, kernels

__all__ = ["Kernels"]

#: Seconds between two looks at which kernels there are: a kernel's first cell may ask at once.
LOOK = 0.25
#: Seconds of silence after which a comment is sent, so that both ends notice a broken connection.
BEAT = 10.0
#: News that may wait for one page; one that falls behind further is let go, and comes back.
MOST_WAITING = 1024
#: Seconds for a kernel's state.
PATIENCE = 5.0


class Kernels:
    """Finds them by their control sockets, as ``jupyter keyless pending`` does.

    Args:
        runtime_dir: Jupyter's runtime folder.
    """

    def __init__(self, runtime_dir: Path) -> None:
        self._runtime_dir = runtime_dir

    def client(self, kernel: str) -> ControlClient | None:
        """The control API of a kernel; None where none of that id runs."""
        folder = kernels(self._runtime_dir).get(kernel)
        return None if folder is None else ControlClient(folder, via="page")

    async def states(self) -> list[dict[str, Any]]:
        """The state of each; those that end just now are left out."""
        found = kernels(self._runtime_dir)
        states = await asyncio.gather(
            *(_state(name, ControlClient(folder, via="page")) for name, folder in found.items())
        )
        return [state for state in states if state is not None]

    async def news(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events: those of each kernel with its id, and kernels that come and go.

        While this is read, questions of all kernels wait for an answer.
        """
        queue: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)
        looking = asyncio.ensure_future(self._look(queue))
        try:
            # Ends where the page falls behind; what waits in the queue is of no use then.
            while not looking.done():
                try:
                    yield await asyncio.wait_for(queue.get(), BEAT)
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _look(self, queue: asyncio.Queue[bytes]) -> None:
        listening: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                found = kernels(self._runtime_dir)
                for name, folder in found.items():
                    if name not in listening:
                        client = ControlClient(folder, via="page")
                        listening[name] = asyncio.ensure_future(_listen(name, client, queue))
                for name in [name for name, task in listening.items() if task.done()]:
                    listening.pop(name).result()
                    queue.put_nowait(_event("gone", name, {}))
                await asyncio.sleep(LOOK)
        except asyncio.QueueFull:
            return
        finally:
            for task in listening.values():
                task.cancel()
            await asyncio.gather(*listening.values(), return_exceptions=True)


async def _listen(name: str, client: ControlClient, queue: asyncio.Queue[bytes]) -> None:
    """Pass on what happens in one kernel, until it ends."""
    try:
        queue.put_nowait(_event("kernel", name, {}))
        async for event in client.events():
            queue.put_nowait(_event(event.kind, name, dict(event.data)))
    except (ControlError, ControlUnavailable):
        return


async def _state(name: str, client: ControlClient) -> dict[str, Any] | None:
    try:
        return {**await asyncio.wait_for(client.status(), PATIENCE), "kernel": name}
    except (ControlError, ControlUnavailable, TimeoutError):
        return None


def _event(kind: str, kernel: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (
        kind.encode(),
        msgspec.json.encode({**data, "kernel": kernel}),
    )
