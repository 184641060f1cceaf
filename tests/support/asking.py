"""A sidecar whose policy asks, a person who listens, and commands that wait for that person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
