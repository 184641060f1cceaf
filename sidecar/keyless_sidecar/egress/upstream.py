"""Requests to real servers: resolved once, addresses checked, names verified, streamed both ways.

:class:`Forwarder` is the ``forward`` that handlers get.  It checks every destination itself, so
that no handler can reach what its tool may not.
"""

from __future__ import annotations

import asyncio
import fnmatch
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import urlsplit

from keyless_sidecar.egress import writing
from keyless_sidecar.egress.connecting import connect
from keyless_sidecar.egress.exchange import Exchange, Limits, NeverArrived
from keyless_sidecar.egress.messages import (
    DestinationRefused,
    Request,
    Response,
    Scheme,
    UpstreamFailed,
)
from keyless_sidecar.egress.pool import Place, Pool
from keyless_sidecar.egress.streams import Link
from keyless_sidecar.egress.trust import client_context
from keyless_sidecar.execution.destinations import (
    Allowed,
    BadDestination,
    Destination,
    parse_url,
)

__all__ = ["Forwarder", "Limits", "Pool", "Resolver", "resolve"]

Resolver = Callable[[Destination], Awaitable[Sequence[str]]]


async def resolve(destination: Destination) -> list[str]:
    """The addresses of a destination, from the system's resolver (in a thread).

    Raises:
        OSError: no such name.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        destination.host, destination.port, type=socket.SOCK_STREAM
    )
    return [str(entry[4][0]) for entry in found]


class Forwarder:
    """Sends requests to their real servers.  Owned by the event loop's thread.

    Args:
        allowed: what may be reached.
        upstreams: host pattern → ``http(s)://host:port`` that stands in for such hosts; the
            ``Host`` header stays, since signatures cover it.
        resolver: turns a destination into addresses.
        trust: checks the servers' certificates; the default is made when it is first needed.
        pool: idle connections; one of its own when left out.
        limits: how long servers may take.

    Raises:
        BadDestination: an upstream's URL doesn't parse.
    """

    def __init__(
        self,
        allowed: Allowed,
        upstreams: Mapping[str, str] | None = None,
        *,
        resolver: Resolver = resolve,
        trust: ssl.SSLContext | None = None,
        pool: Pool | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._allowed = allowed
        self._upstreams = [(pattern, _standing(url)) for pattern, url in (upstreams or {}).items()]
        self._resolve = resolver
        self._trust = trust
        self._own_pool = pool is None
        self._pool = Pool() if pool is None else pool
        self._limits = limits or Limits()

    async def __call__(self, request: Request) -> Response:
        """See :data:`keyless_sidecar.egress.messages.Forward`."""
        return await self.open(request)

    async def open(self, request: Request) -> Response:
        """The same; the response's body is to be read to its end or closed.

        Raises:
            DestinationRefused: the destination or its address.
            UpstreamFailed: not reached, not trusted, or no proper answer.
            EgressError: whatever the request's own body raises.
        """
        destination = request.destination
        self.require(destination)
        head = writing.write_request(request)
        place = self._place(request.scheme, destination)
        idle = self._pool.take(place)
        if idle is not None:
            try:
                return await self._exchange(idle, place, head, request, reused=True)
            except NeverArrived:
                pass  # the server closed the idle connection as we wrote: once more, on a new one
        link = await self._connected(place, destination)
        try:
            return await self._exchange(link, place, head, request, reused=False)
        except NeverArrived as error:
            raise UpstreamFailed(
                f"{destination} closed the connection without an answer."
            ) from error

    async def tunnel(self, destination: Destination) -> Link:
        """A plain connection for bytes that are not looked at.

        Raises:
            DestinationRefused: the destination or its address.
            UpstreamFailed: not reached.
        """
        self.require(destination)
        return await self._reach(Place("http", *_pair(destination), checked=True), destination)

    def require(self, destination: Destination) -> None:
        """Raises DestinationRefused where ``destination`` may not be reached."""
        refusal = self._allowed.refusal(destination)
        if refusal:
            raise DestinationRefused(f"Keyless: {refusal}.")

    def close(self) -> None:
        """End the idle connections, unless the pool is shared."""
        if self._own_pool:
            self._pool.close()

    def _place(self, scheme: Scheme, destination: Destination) -> Place:
        for pattern, place in self._upstreams:
            if fnmatch.fnmatchcase(destination.host, pattern):
                return place
        return Place(scheme, *_pair(destination), destination not in self._allowed.upstreams)

    async def _exchange(
        self, link: Link, place: Place, head: bytes, request: Request, *, reused: bool
    ) -> Response:
        exchange = Exchange(
            link, request, self._limits, reused, lambda: self._pool.give(place, link)
        )
        return await exchange.begin(head)

    async def _connected(self, place: Place, destination: Destination) -> Link:
        try:
            return await self._reach(place, destination)
        except ssl.SSLCertVerificationError as error:
            raise UpstreamFailed(
                f"{destination} isn't who it should be: {error.verify_message}."
            ) from error
        except ssl.SSLError as error:
            raise UpstreamFailed(f"No secure connection to {destination} is possible.") from error

    async def _reach(self, place: Place, destination: Destination) -> Link:
        target = Destination(place.host, place.port)
        try:
            async with asyncio.timeout(self._limits.connect):
                addresses = await self._resolve(target)
        except (OSError, TimeoutError, UnicodeError):
            raise UpstreamFailed(f"{destination} can't be resolved.") from None
        if place.checked:
            try:
                refusal = self._allowed.address_refusal(destination, addresses)
            except ValueError:
                refusal = f"{destination} resolves to something that is no address"
            if refusal:
                raise DestinationRefused(f"Keyless: {refusal}.")
        context = self._context() if place.scheme == "https" else None
        for address in dict.fromkeys(addresses):
            try:
                async with asyncio.timeout(self._limits.connect):
                    return await connect(address, place.port, context, place.host)
            except ssl.SSLError:
                raise
            except (OSError, TimeoutError):
                continue
        raise UpstreamFailed(f"{destination} doesn't answer.")

    def _context(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = client_context()
        return self._trust


def _pair(destination: Destination) -> tuple[str, int]:
    return destination.host, destination.port


def _standing(url: str) -> Place:
    destination = parse_url(url)
    parts = urlsplit(url)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise BadDestination("an upstream is http(s)://host[:port] without a path")
    scheme: Scheme = "https" if parts.scheme == "https" else "http"
    return Place(scheme, *_pair(destination), checked=False)
