"""A sidecar whose policy asks, a person who listens, and commands that wait for that person."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from tests.support.sidecar import Result, Sidecar

from keyless.control_client import ControlClient

#: Everything is allowed, but a person is asked about what the leaking tool does in these modes.
ASKING = """
@id("others") permit (principal, action, resource)
unless { context has argv_text && context.argv_text like "rc *" };
@id("careful") @outcome("ask") @reason("It changes something.")
permit (principal, action, resource) when {
  context has argv_text && (context.argv_text like "rc *" || context.argv_text like "read *" ||
  context.argv_text like "stdin*" || context.argv_text like "argv *") };
"""


class Person:
    """Somebody who listens at the control socket, and answers."""

    def __init__(self, control: ControlClient) -> None:
        self.control = control
        self._questions: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.heard: list[str] = []

    async def listen(self) -> None:
        """Until the sidecar ends, or it is cancelled."""
        async for event in self.control.events():
            self.heard.append(event.kind)
            if event.kind == "pending":
                self._questions.put_nowait(dict(event.data))

    async def question(self) -> dict[str, Any]:
        """The next question."""
        return await asyncio.wait_for(self._questions.get(), 20)


@asynccontextmanager
async def attending(sidecar: Sidecar) -> AsyncIterator[Person]:
    """Somebody listens, for as long as this lasts."""
    person = Person(ControlClient(sidecar.control))
    listening = asyncio.ensure_future(person.listen())
    try:
        while not (await person.control.status())["approvers"]:
            await asyncio.sleep(0.02)
        yield person
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        while (await person.control.status())["approvers"]:
            await asyncio.sleep(0.02)


def begin(sidecar: Sidecar, *argv: str, **options: Any) -> asyncio.Future[Result]:
    """A cell's command, running in a thread."""
    return asyncio.ensure_future(asyncio.to_thread(sidecar.run, *argv, **options))


@contextmanager
def denying(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Somebody listens who says no to everything; gives what was asked."""
    asked: list[dict[str, Any]] = []
    control = ControlClient(folder)

    async def deny() -> None:
        async for event in control.events():
            if event.kind == "pending":
                asked.append(dict(event.data))
                await control.deny(event.data["id"])

    async def attached() -> None:
        while not (await control.status())["approvers"]:
            await asyncio.sleep(0.02)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    task = asyncio.run_coroutine_threadsafe(deny(), loop)
    try:
        asyncio.run_coroutine_threadsafe(attached(), loop).result(20)
        yield asked
    finally:
        task.cancel()
        # One turn, so that the connection is closed before its loop ends.
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
