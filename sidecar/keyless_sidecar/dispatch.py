"""What the kernel side may say, and when: one table, deny by default.

Pure, in the manner of OpenSSH's monitor: :mod:`keyless_sidecar.channel` asks :class:`Gatekeeper`
about each message before it looks at anything else in it.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from types import MappingProxyType

from keyless.protocol.calls import Call, Describe
from keyless.protocol.messages import (
    PROTOCOL_VERSION,
    Cancel,
    CloseSession,
    Credit,
    Exec,
    Hello,
    Keys,
    OpenSession,
    Request,
    Resize,
    StatusQuery,
    Stdin,
)


class State(enum.Enum):
    """Where a connection stands."""

    NEW = "before hello"
    OPEN = "open"
    CLOSED = "closed"


class Identity(enum.Enum):
    """What a message's ``id`` must be."""

    NONE = "it has none"
    FRESH = "larger than all before"
    KNOWN = "of an earlier request"


class Violation(Exception):
    """The kernel side broke the protocol; the connection must be closed."""


@dataclasses.dataclass(frozen=True)
class Permit:
    """When a message may come.

    Args:
        handler: name of the channel's method that takes it.
        state: in which it is allowed.
        identity: what its id must be.
        once: whether a second one is a violation.
    """

    handler: str
    state: State
    identity: Identity
    once: bool = False


TABLE: Mapping[type, Permit] = MappingProxyType(
    {
        Hello: Permit("on_hello", State.NEW, Identity.NONE, once=True),
        Exec: Permit("on_exec", State.OPEN, Identity.FRESH),
        Call: Permit("on_call", State.OPEN, Identity.FRESH),
        Describe: Permit("on_describe", State.OPEN, Identity.FRESH),
        Stdin: Permit("on_stdin", State.OPEN, Identity.KNOWN),
        Keys: Permit("on_keys", State.OPEN, Identity.KNOWN),
        Resize: Permit("on_resize", State.OPEN, Identity.KNOWN),
        Cancel: Permit("on_cancel", State.OPEN, Identity.KNOWN),
        Credit: Permit("on_credit", State.OPEN, Identity.KNOWN),
        StatusQuery: Permit("on_status", State.OPEN, Identity.FRESH),
        OpenSession: Permit("on_open_session", State.OPEN, Identity.FRESH),
        CloseSession: Permit("on_close_session", State.OPEN, Identity.FRESH),
    }
)


class Gatekeeper:
    """The state of one connection."""

    def __init__(self) -> None:
        self.state = State.NEW
        self._last_id = 0
        self._seen: set[type] = set()

    def admit(self, message: Request) -> Permit:
        """The permit for ``message``; the connection's state moves on.

        Raises:
            Violation: it may not come now.
        """
        kind = type(message)
        permit = TABLE.get(kind)
        if permit is None:
            raise Violation("a message that nobody may send")
        name = kind.__name__
        if self.state is not permit.state:
            raise Violation(f"{name} {self.state.value}")
        if permit.once and kind in self._seen:
            raise Violation(f"a second {name}")
        self._seen.add(kind)
        self._identify(message, permit.identity)
        if isinstance(message, Hello):
            if message.version != PROTOCOL_VERSION:
                raise Violation(f"protocol version {message.version} (known: {PROTOCOL_VERSION})")
            self.state = State.OPEN
        return permit

    def close(self) -> None:
        """Nothing may come any more."""
        self.state = State.CLOSED

    def _identify(self, message: Request, identity: Identity) -> None:
        if isinstance(message, Hello):
            return
        if identity is Identity.FRESH:
            if message.id <= self._last_id:
                raise Violation(f"request id {message.id} after {self._last_id}")
            self._last_id = message.id
        elif message.id > self._last_id:
            raise Violation(f"{type(message).__name__} for a request that never came")
