"""The sessions that cells hold right now.  Owned by the event loop's thread."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from keyless_sidecar.placeholders import AwsKeys

__all__ = ["Session", "SessionBook"]


@dataclass(frozen=True)
class Session:
    """Temporary keys that a cell holds.

    Attributes:
        id: names it on the channel and in the audit.
        credential: the vault entry that it was made with.
        keys: with their end.
        name: what CloudTrail shows.
        approved: actions that the policy asked about, and a person approved, with it.
        record: id of the request's first audit record.
        request: number of the request on the channel.
    """

    credential: str
    keys: AwsKeys = field(repr=False)
    name: str
    approved: frozenset[str]
    record: str
    request: int
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    def ended(self, now: datetime) -> bool:
        """Whether AWS takes them no more."""
        return self.keys.expires is not None and now >= self.keys.expires


class SessionBook:
    """All open sessions; one that has expired is open no more.

    Args:
        clock: gives the time, with a time zone.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._by_id: dict[str, Session] = {}

    def add(self, session: Session) -> None:
        """It is handed out."""
        self._by_id[session.id] = session

    def forget(self, session_id: str) -> Session | None:
        """It has ended; returns it where it was open."""
        self._drop_ended()
        return self._by_id.pop(session_id, None)

    def get(self, session_id: str) -> Session | None:
        """The open session of that id."""
        self._drop_ended()
        return self._by_id.get(session_id)

    def by_key(self, access_key_id: str) -> Session | None:
        """The open session that a request was signed with."""
        return next((s for s in self.all() if s.keys.access_key_id == access_key_id), None)

    def by_request(self, request: int) -> Session | None:
        """The open session that a request on the channel was answered with."""
        return next((s for s in self.all() if s.request == request), None)

    def all(self) -> list[Session]:
        """Those that are open."""
        self._drop_ended()
        return list(self._by_id.values())

    def _drop_ended(self) -> None:
        now = self._clock()
        for session in [each for each in self._by_id.values() if each.ended(now)]:
            del self._by_id[session.id]
