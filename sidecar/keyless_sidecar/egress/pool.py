"""Connections to real servers that wait to be used again.  Owned by the event loop's thread."""

from __future__ import annotations

import asyncio
import dataclasses

from keyless_sidecar.egress.messages import Scheme
from keyless_sidecar.egress.streams import Link


@dataclasses.dataclass(frozen=True)
class Place:
    """What two requests must have in common to go over the same connection.

    Args:
        scheme: TLS or not.
        host: whose certificate was checked.
        port: of it.
        checked: whether its address had to be public; a configured upstream's needs not.
    """

    scheme: Scheme
    host: str
    port: int
    checked: bool


class Pool:
    """Keeps idle connections for a while.

    Args:
        seconds: how long; shorter than what servers wait, so that they seldom close under us.
        most: of one place.
        total: of all places.
    """

    def __init__(self, seconds: float = 15.0, most: int = 8, total: int = 64) -> None:
        self._seconds = seconds
        self._most = most
        self._total = total
        self._idle: dict[Place, list[tuple[Link, asyncio.TimerHandle]]] = {}
        self._closed = False

    def __len__(self) -> int:
        return sum(map(len, self._idle.values()))

    def take(self, place: Place) -> Link | None:
        """The connection that was used last and is still good, no longer kept here."""
        links = self._idle.get(place, [])
        while links:
            link, timer = links.pop()
            timer.cancel()
            if link.usable:
                self._forget_empty(place)
                return link
            link.abort()
        self._forget_empty(place)
        return None

    def give(self, place: Place, link: Link) -> None:
        """Keep ``link``, whose last answer was read to its end; or end it."""
        links = self._idle.get(place, [])
        if self._closed or not link.usable or len(links) >= self._most or len(self) >= self._total:
            link.abort()
            return
        timer = asyncio.get_running_loop().call_later(self._seconds, self._expire, place, link)
        self._idle.setdefault(place, []).append((link, timer))

    def close(self) -> None:
        """End all of them, and keep none from now on."""
        self._closed = True
        for links in self._idle.values():
            for link, timer in links:
                timer.cancel()
                link.abort()
        self._idle.clear()

    def _expire(self, place: Place, expired: Link) -> None:
        links = self._idle.get(place, [])
        self._idle[place] = [(link, timer) for link, timer in links if link is not expired]
        self._forget_empty(place)
        expired.abort()

    def _forget_empty(self, place: Place) -> None:
        if not self._idle.get(place):
            self._idle.pop(place, None)
