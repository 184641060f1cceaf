"""The person's side of a sandbox: credentials, commands, questions and records, over the control
socket of its sidecar.

Nothing here goes through the kernel, so nothing that a cell does changes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from keyless.control_client import ControlClient, ControlError, ControlUnavailable
from keyless.host.answers import secured
from keyless.host.errors import SandboxDied, SandboxError
from keyless.magics.results import ExecResult
from keyless.protocol.errors import ExecError, InvalidRequest, error_for
from keyless.protocol.words import split_words

__all__ = ["Act", "Authority", "OnApproval", "Question"]

_LOG = logging.getLogger(__name__)
#: Seconds until the sidecar must know that somebody answers questions.
_PATIENCE = 10.0
#: Seconds until the next try to listen.
_AGAIN = 0.1


@dataclass(frozen=True)
class Act:
    """One thing that would be done, as the sidecar understood it.

    Attributes:
        action: such as ``aws:lambda:UpdateFunctionCode``.
        credential: the vault entry that it would be done with.
        mutating: whether it changes something.
        facts: region, host, resource, … as far as they are known.
        parameters: of the operation.
    """

    action: str
    credential: str = ""
    mutating: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """What a rule of the policy leaves to a person.

    Attributes:
        id: for :meth:`~keyless.host.SecureSandbox.approve`.
        tool: that would run.
        shown: its arguments, or the words of an operation, as they will be used.
        acts: what that does.
        rule: that asks.
        reason: what the rule says of itself.
        record_id: the audit record.
        grantable: whether it can be allowed for some minutes, or just once.
        seconds_left: until it counts as refused.
    """

    id: str
    tool: str
    shown: tuple[str, ...]
    acts: tuple[Act, ...]
    rule: str
    reason: str
    record_id: str
    grantable: bool = False
    seconds_left: float = 0.0


OnApproval = Callable[[Question], Awaitable[bool] | bool]


class Authority:
    """One sandbox's sidecar, as the person's program meets it.

    Args:
        folder: gives the folder of the control socket.
        on_approval: asked each time that the policy asks; without one, such questions wait for
            :meth:`approve` only while somebody else listens.
    """

    def __init__(self, folder: Callable[[], str], on_approval: OnApproval | None) -> None:
        self._folder = folder
        self._on_approval = on_approval
        self._registered: dict[str, dict[str, Any]] = {}
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to answer questions, and register again what a restarted sidecar forgot.

        Raises:
            SandboxError: the control socket can't be used.
        """
        await self.close()
        for name, credential in self._registered.items():
            async with self._control() as control:
                await control.store(name, **credential)
        if self._on_approval is None:
            return
        self._listening = asyncio.create_task(self._listen(self._on_approval))
        try:
            async with self._control() as control, asyncio.timeout(_PATIENCE):
                while not (await control.status())["approvers"]:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise SandboxError("the sidecar tells no questions to this program") from None

    async def close(self) -> None:
        """Answer no more."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None

    # ------------------------------------------------------------------ what it is for

    async def register(self, name: str, **credential: Any) -> None:
        """Put a credential into the sidecar's memory; it comes back after a restart."""
        async with self._control() as control:
            await control.store(name, **credential)
        self._registered[name] = credential

    async def forget(self, name: str) -> None:
        """Take it out again."""
        self._registered.pop(name, None)
        async with self._control() as control:
            await control.remove(name)

    async def run(
        self, command: str | Sequence[str], *, stdin: str | bytes | None, **options: Any
    ) -> ExecResult:
        """Run a declared tool; cancelling ends it."""
        if isinstance(stdin, bytes):
            try:
                stdin = stdin.decode()
            except UnicodeDecodeError:
                raise InvalidRequest(
                    "the standard input isn't text; put it into a workspace file and name it"
                ) from None
        async with self._control() as control:
            if isinstance(command, str):
                answer = await control.platform_exec(command, stdin=stdin, **options)
                words = tuple(split_words(command))
            else:
                words = tuple(command)
                if not words:
                    raise InvalidRequest("the command is empty: its first word is the tool")
                answer = await control.vault_exec(words[0], words[1:], stdin=stdin, **options)
        return secured({"tool": words[0], "argv": words[1:], **answer})

    async def pending(self) -> list[Question]:
        """Questions that wait, oldest first."""
        async with self._control() as control:
            return [_question(each) for each in await control.pending()]

    async def approve(self, question: str, minutes: float | None) -> None:
        """Say yes."""
        async with self._control() as control:
            await control.approve(question, minutes)

    async def deny(self, question: str, reason: str) -> None:
        """Say no."""
        async with self._control() as control:
            await control.deny(question, reason)

    async def audit(self, limit: int) -> list[dict[str, Any]]:
        """The last records of this kernel, oldest first."""
        async with self._control() as control:
            return await control.audit(limit)

    # ------------------------------------------------------------------ inside

    @contextlib.asynccontextmanager
    async def _control(self) -> AsyncIterator[ControlClient]:
        folder = self._folder()
        if not folder:
            raise SandboxDied("the sandbox isn't running")
        try:
            yield ControlClient(folder)
        except ControlUnavailable as error:
            raise SandboxDied(f"the sidecar can't be reached: {error}") from error
        except ControlError as error:
            raise error_for(error.kind, error.message, record_id=error.record_id) from error

    async def _listen(self, on_approval: OnApproval) -> None:
        """Ask the program what the policy asks, each question in a task of its own."""
        deciding: set[asyncio.Task[None]] = set()
        asked: set[str] = set()
        try:
            while True:  # a stream ends also where this program falls behind
                async with (
                    self._control() as control,
                    contextlib.aclosing(cast(Any, control.events())) as events,
                ):
                    async for event in events:
                        if event.kind == "pending" and event.data.get("id") not in asked:
                            question = _question(event.data)
                            asked.add(question.id)
                            task = asyncio.create_task(self._decide(on_approval, question))
                            deciding.add(task)
                            task.add_done_callback(deciding.discard)
                await asyncio.sleep(_AGAIN)
        except (SandboxError, ExecError) as error:
            _LOG.info("questions of the policy are answered no more: %s", error)
        finally:
            for task in deciding:
                task.cancel()
            await asyncio.gather(*deciding, return_exceptions=True)

    async def _decide(self, on_approval: OnApproval, question: Question) -> None:
        reason = "The program that runs this sandbox says no."
        try:
            # One that isn't asynchronous may block, as it does where it asks at a terminal.
            direct = any(
                map(inspect.iscoroutinefunction, (on_approval, type(on_approval).__call__))
            )
            if direct:
                answer: Any = on_approval(question)
            else:
                answer = await asyncio.to_thread(on_approval, question)
            approved = await answer if inspect.isawaitable(answer) else answer
        except Exception:  # noqa: BLE001 - whatever the program raises, the answer is no
            _LOG.exception("the approval callback failed, so the answer is no")
            approved, reason = False, "The program that runs this sandbox could not decide."
        try:
            if approved is True:
                await self.approve(question.id, None)
            else:
                await self.deny(question.id, reason)
        except (SandboxError, ExecError) as error:
            # Answered meanwhile by somebody else, its time is over, or the sidecar is gone.
            _LOG.info("question %s: %s", question.id, error)


def _question(data: Mapping[str, Any]) -> Question:
    try:
        return msgspec.convert(data, Question)
    except msgspec.ValidationError as error:
        raise SandboxError(f"the sidecar's question can't be read: {error}") from error
