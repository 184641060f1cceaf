"""Calls over the channel of a real sidecar, as a kernel makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from tests.support.sidecar import Sidecar

from keyless.protocol.calls import (
    Call,
    CallFinished,
    Describe,
    Description,
    Piece,
    Progress,
    file_reference,
)
from keyless.protocol.messages import Cancel, Credit, Failed, Started, Welcome


@dataclass
class CallOutcome:
    """What came back for one call."""

    started: Started | None = None
    data: bytes = b""
    progress: list[Progress] = field(default_factory=list)
    end: CallFinished | Failed | None = None

    @property
    def finished(self) -> CallFinished:
        assert isinstance(self.end, CallFinished), self.end
        return self.end

    @property
    def failed(self) -> Failed:
        assert isinstance(self.end, Failed), self.end
        return self.end

    @property
    def answer(self) -> Any:
        assert len(self.data) == self.finished.size
        return msgspec.msgpack.decode(self.data)


def from_file(path: str) -> Any:
    """A parameter that is read from a workspace file as bytes."""
    return file_reference(path, text=False)


def call(
    sidecar: Sidecar, service: str, operation: str, /, *, options: Any = None, **parameters: Any
) -> CallOutcome:
    """Make one call, to its end.

    Args:
        options: further fields of the message.
    """
    number = start(sidecar, service, operation, options=options, **parameters)
    return collect(sidecar, number)


def start(
    sidecar: Sidecar, service: str, operation: str, /, *, options: Any = None, **parameters: Any
) -> int:
    """Send a call; its id."""
    number = sidecar.next_id()
    sidecar.send(
        Call(
            id=number,
            service=service,
            operation=operation,
            parameters=parameters,
            **(options or {}),
        )
    )
    return number


def collect(sidecar: Sidecar, number: int, *, cancel_at: int | None = None) -> CallOutcome:
    """Read to the end of a call; cancel it once it tells of so much progress."""
    outcome = CallOutcome()
    while outcome.end is None:
        reply = sidecar.receive()
        if isinstance(reply, Welcome) or reply.id != number:
            continue
        if isinstance(reply, Started):
            outcome.started = reply
        elif isinstance(reply, Piece):
            outcome.data += reply.data
            sidecar.send(Credit(id=number, size=len(reply.data)))
        elif isinstance(reply, Progress):
            outcome.progress.append(reply)
            if cancel_at is not None and reply.done >= cancel_at:
                sidecar.send(Cancel(id=number))
                cancel_at = None
        elif isinstance(reply, CallFinished | Failed):
            outcome.end = reply
    return outcome


def describe(sidecar: Sidecar, service: str = "", operation: str = "") -> Description:
    """Names and documentation."""
    number = sidecar.next_id()
    sidecar.send(Describe(id=number, service=service, operation=operation))
    while True:
        reply = sidecar.receive()
        if isinstance(reply, Description) and reply.id == number:
            return reply
