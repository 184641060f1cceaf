"""Asks the sidecar, on behalf of the magics and the function API.

The kernel inherits one connected socket; its number is in ``KEYLESS_CHANNEL_FD``.  Holding it is
the authority to ask, and all that the sidecar lets anyone do is ask.
"""

from __future__ import annotations

import functools
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, TypeVar

from keyless.magics.channel import Answer, Channel, Pending
from keyless.magics.checks import Command, checked
from keyless.protocol.calls import Describe, Description
from keyless.protocol.errors import ExecError, SidecarUnavailable
from keyless.protocol.messages import (
    Cancel,
    CellInfo,
    Credit,
    Exec,
    Failed,
    Finished,
    Output,
    Request,
    Started,
    Status,
    StatusQuery,
)

__all__ = ["Emit", "Keyboard", "Outcome", "SidecarClient", "shared_client"]

#: Where a piece of output goes: the stream's name and the text.
Emit: TypeAlias = Callable[[Literal["stdout", "stderr"], str], None]

_T = TypeVar("_T")

CHANNEL_VARIABLE = "KEYLESS_CHANNEL_FD"

#: Seconds that an interrupted command gets to end before we stop waiting for it.
CANCEL_PATIENCE = 3.0

_NOT_HERE = (
    "this code doesn't run in a Keyless kernel; start the kernel 'Python 3 (Keyless)' "
    "and run it there"
)


@dataclass(frozen=True)
class Outcome:
    """How a request ended, and its record in the audit."""

    reply: Finished | Failed
    record_id: str


class Keyboard(Protocol):
    """Who types on a command's terminal: :class:`keyless.magics.interactive.Dialogue`."""

    def next(self, pending: Pending, say: Callable[[Callable[[int], Request]], None], /) -> Answer:
        """The next answer; meanwhile ``say`` sends what is typed."""


class SidecarClient:
    """The one connection to the sidecar.

    Any number of threads may run commands at once; each sees only its own answers.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._status: Status | None = None
        self._status_time = 0.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> SidecarClient:
        """The client over the inherited descriptor.

        Raises:
            SidecarUnavailable: there is none, so this is no Keyless kernel.
        """
        try:
            number = int(environment[CHANNEL_VARIABLE])
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                raise OSError("not a socket")
            connection = socket.socket(fileno=number)
        except (KeyError, ValueError, OverflowError, OSError):
            raise SidecarUnavailable(_NOT_HERE) from None
        # A cell's own child processes have no use for it.
        connection.set_inheritable(False)
        connection.setblocking(True)
        return cls(Channel(connection))

    def run(self, command: Command, emit: Emit, keyboard: Keyboard | None = None) -> Outcome:
        """Run one command; blocks until it has ended.

        A ``KeyboardInterrupt`` cancels the command, waits up to :data:`CANCEL_PATIENCE` seconds
        for its end, and goes on to the caller; a second one doesn't wait.

        Args:
            command: what to run.
            emit: called with each piece of output, in the caller's thread.
            keyboard: who types, where the command has a terminal.

        Raises:
            InvalidRequest: the command can't be right; nothing was sent.
            SidecarUnavailable: the sidecar is gone.
        """
        pending = Pending(checked(command).messages)
        record_id = ""

        def say(message: Callable[[int], Request]) -> None:
            self._channel.follow_up(pending, message)

        def take(answer: Answer) -> Outcome | None:
            nonlocal record_id
            if isinstance(answer, Started):
                record_id = answer.record_id
            elif isinstance(answer, Output):
                emit(answer.stream, answer.data)
                self.grant(pending, len(answer.data.encode()))
            ended = answer if isinstance(answer, Finished | Failed) else None
            return Outcome(ended, ended.record_id or record_id) if ended else None

        if keyboard is None:
            return self.converse(pending, take)
        return self.converse(pending, take, lambda: keyboard.next(pending, say))

    def converse(
        self,
        pending: Pending,
        take: Callable[[Answer], _T | None],
        hear: Callable[[], Answer] | None = None,
    ) -> _T:
        """Send a request, and take its answers until one ends it.

        A ``KeyboardInterrupt`` cancels it as :meth:`run` says.

        Args:
            pending: the request.
            take: called with each answer, in the caller's thread; what it returns ends it.
            hear: waits for the next answer; ``None`` does no more than that.

        Raises:
            SidecarUnavailable: the sidecar is gone.
        """
        try:
            self._channel.submit(pending)
            while True:
                ended = take(pending.next() if hear is None else hear())
                if ended is not None:
                    return ended
        except KeyboardInterrupt:
            self._channel.follow_up(pending, lambda number: Cancel(id=number))
            self._await_end(pending, take)
            raise
        except BaseException:
            # The caller's output failed, or it was stopped: nobody waits for this request now.
            self._channel.follow_up(pending, lambda number: Cancel(id=number))
            raise
        finally:
            self._channel.forget(pending)

    def grant(self, pending: Pending, size: int) -> None:
        """Let ``size`` more bytes of a request's output come."""
        if size:
            self._channel.follow_up(pending, lambda number: Credit(id=number, size=size))

    def status(self, timeout: float = 10.0, max_age: float = 0.0) -> Status:
        """What the sidecar says about itself.

        Args:
            timeout: seconds to wait for the answer.
            max_age: seconds for which an earlier answer is good enough.

        Raises:
            SidecarUnavailable: it is gone, or did not answer in time.
        """
        known = self._status
        if known is not None and time.monotonic() - self._status_time < max_age:
            return known

        def query(number: int) -> Iterator[Request]:
            yield StatusQuery(id=number)

        answer = self._ask(query, timeout)
        if isinstance(answer, Failed):
            raise SidecarUnavailable(answer.message, record_id=answer.record_id)
        if not isinstance(answer, Status):
            raise SidecarUnavailable("the sidecar's answer makes no sense; restart the kernel")
        self._status, self._status_time = answer, time.monotonic()
        return answer

    def describe(
        self, service: str = "", operation: str = "", timeout: float = 10.0
    ) -> Description:
        """Names and documentation of what can be called.

        Args:
            service: empty: all services.
            operation: empty: all of the service.
            timeout: seconds to wait for the answer.

        Raises:
            SidecarUnavailable: it is gone, or did not answer in time.
        """

        def question(number: int) -> Iterator[Request]:
            yield Describe(id=number, service=service[:128], operation=operation[:128])

        answer = self._ask(question, timeout)
        if not isinstance(answer, Description):
            raise SidecarUnavailable("the sidecar's answer makes no sense; restart the kernel")
        return answer

    def ask(self, message: Callable[[int], Request], timeout: float | None = None) -> Answer:
        """Send a request that gets one answer, and wait for it.

        A ``KeyboardInterrupt`` cancels the request and goes on to the caller.

        Args:
            message: makes the request of its id.
            timeout: seconds to wait; ``None`` waits for as long as it takes.

        Raises:
            SidecarUnavailable: the sidecar is gone.
            TimeoutError: it did not answer in time; the request is cancelled.
        """

        def messages(number: int) -> Iterator[Request]:
            yield message(number)

        pending = Pending(messages)
        try:
            self._channel.submit(pending)
            return pending.next(timeout)
        except BaseException:
            # Nobody will take the answer.
            self._channel.follow_up(pending, lambda number: Cancel(id=number))
            raise
        finally:
            self._channel.forget(pending)

    def record_refusal(self, tool: str, reason: str, cell: CellInfo, timeout: float = 5.0) -> str:
        """Have a command recorded that is refused on this side already; see :meth:`record`."""

        def refusal(number: int) -> Iterator[Request]:
            yield Exec(id=number, tool=tool, argv=[], dry_run=True, refused=reason, cell=cell)

        return self.record(refusal, timeout)

    def record(self, refusal: Callable[[int], Iterator[Request]], timeout: float = 5.0) -> str:
        """Have a request recorded that is refused on this side already, and never runs.

        Args:
            refusal: the request, with the reason in its ``refused``.
            timeout: seconds to wait for the record.

        Returns:
            The audit record; empty if the sidecar is gone or too slow.
        """
        pending = Pending(refusal)
        deadline = time.monotonic() + timeout
        try:
            self._channel.submit(pending)
            while True:
                answer = pending.next(max(0.0, deadline - time.monotonic()))
                if isinstance(answer, Finished | Failed):
                    return answer.record_id
        except (TimeoutError, ExecError):
            return ""
        finally:
            self._channel.forget(pending)

    def close(self) -> None:
        """Close the connection.  The sidecar takes that for the kernel's end."""
        self._channel.close()

    def _ask(self, question: Callable[[int], Iterator[Request]], timeout: float) -> Answer:
        """The one answer to a question."""
        pending = Pending(question)
        try:
            self._channel.submit(pending)
            return pending.next(timeout)
        except TimeoutError:
            raise SidecarUnavailable(
                f"the sidecar did not answer within {timeout:g} s; interrupt what runs, or restart "
                "the kernel"
            ) from None
        finally:
            self._channel.forget(pending)

    def _await_end(self, pending: Pending, take: Callable[[Answer], object]) -> None:
        deadline = time.monotonic() + CANCEL_PATIENCE
        try:
            while take(pending.next(max(0.0, deadline - time.monotonic()))) is None:
                continue
        except (TimeoutError, ExecError):
            return  # the interrupt itself is what the user needs to see


def shared_client() -> SidecarClient:
    """This process's client; the descriptor is one, so there is one.

    Raises:
        SidecarUnavailable: this is no Keyless kernel.
    """
    # A timeout, since a child forked at the wrong moment inherits the lock as taken.
    if not _opening.acquire(timeout=10):
        raise SidecarUnavailable("the client is being opened by a thread that is gone; use another")
    try:
        return _open()
    finally:
        _opening.release()


_opening = threading.Lock()


@functools.cache
def _open() -> SidecarClient:
    return SidecarClient.from_environment()
