"""The egress proxy of one sandbox: an HTTP proxy on a listener that was made inside of it.

:mod:`keyless_sidecar.execution.command` opens one for each command.  ``CONNECT`` to a destination
that a handler claims ends at this proxy: it is the TLS server, and each request goes to the handler
(:mod:`keyless_sidecar.egress.messages`).  Other allowed destinations are tunnelled without a look,
where the tool's delivery lets them.  What is refused is answered with the reason, and counted for
the notes and the audit.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from keyless_sidecar.egress import addressing, http1
from keyless_sidecar.egress.authority import Authority
from keyless_sidecar.egress.conversation import Conversation, Gone, Patience, next_head, say
from keyless_sidecar.egress.messages import (
    BadMessage,
    DestinationRefused,
    EgressError,
    Forward,
    Handler,
    Request,
    Response,
)
from keyless_sidecar.egress.streams import CHUNK, Link
from keyless_sidecar.egress.upstream import Forwarder, Limits, Pool, Resolver, resolve
from keyless_sidecar.execution.destinations import Allowed, Destination

#: Different refused destinations that are kept by name; more are counted as one.
MAX_NAMED = 32
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class EgressProxy:
    """Serves one listener.  Owned by the event loop's thread.

    Args:
        listener: a listening TCP socket; the proxy closes it.
        allowed: what may be reached.
        handlers: who decides on requests; the first that claims a destination gets it.
        authority: makes the certificates that the tools trust.
        upstreams: host pattern → URL of the server that stands in for it.
        connections: how many may be open at once.
        token: what each connection must begin with; empty where nobody else can reach the listener.
        resolver: turns a destination into addresses.
        allow_tunnels: whether allowed destinations that no handler claims may be reached.
        trust: checks the real servers' certificates; the system's when left out.
        pool: idle connections to real servers, to share them between commands.
        limits: how long real servers may take.
        patience: what a tool may cost.
        told: gives the handlers' sentences on refused requests, for the notes.

    Raises:
        BadDestination: an upstream's URL doesn't parse.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        allowed: Allowed,
        handlers: Sequence[Handler] = (),
        authority: Authority,
        upstreams: Mapping[str, str] | None = None,
        connections: int = 64,
        token: bytes = b"",
        resolver: Resolver = resolve,
        allow_tunnels: bool = False,
        trust: ssl.SSLContext | None = None,
        pool: Pool | None = None,
        limits: Limits | None = None,
        patience: Patience | None = None,
        told: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._listener = listener
        self._handlers = tuple(handlers)
        self._authority = authority
        self._forwarder = Forwarder(
            allowed, upstreams, resolver=resolver, trust=trust, pool=pool, limits=limits
        )
        self._limit = connections
        self._token = token
        self._allow_tunnels = allow_tunnels
        self._patience = patience or Patience()
        self._told = told
        self._why: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        #: Refused destinations and how often.
        self.refused: Counter[str] = Counter()

    async def start(self) -> None:
        """Begin to accept."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Link(self._accept), sock=self._listener
        )

    async def close(self) -> None:
        """Close the listener and every connection."""
        if self._server is None:
            self._listener.close()
        else:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._forwarder.close()

    def notes(self) -> list[str]:
        """A sentence for each refused destination and request."""
        return [
            f"egress refused: {name}"
            + (f" ({count} times)" if count > 1 else "")
            + (f": it {self._why[name]}" if name in self._why else "")
            for name, count in self.refused.items()
        ] + list(self._told())

    def _accept(self, link: Link) -> None:
        if len(self._tasks) >= self._limit:
            link.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(link))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, link: Link) -> None:
        try:
            await self._talk(link)
            await link.close()
        except (Gone, OSError):
            pass  # nobody is left to tell
        except asyncio.CancelledError:
            pass  # the proxy closes
        except Exception:  # a fault of ours ends this connection, not the others
            logging.getLogger(__name__).exception("a connection of the egress proxy failed")
        finally:
            link.abort()

    async def _talk(self, link: Link) -> None:
        if self._token:
            await self._require_token(link)
        try:
            head = await next_head(link, self._patience)
            if head is None:
                return
            if head.method != "CONNECT":
                await self._converse(link, None, head)
                return
            destination = addressing.tunnel_to(head)
            self._require(destination)
        except EgressError as error:
            await say(link, error)
            return
        if self._claimant(destination) is None:
            await self._tunnel(link, destination)
            return
        try:
            context = self._authority.context_for(destination.host)
        except (OSError, ValueError):
            logging.getLogger(__name__).exception("no certificate can be made")
            await say(link, EgressError("Keyless: no certificate can be made for this host."))
            return
        if link.buffered:
            await say(link, BadMessage("The request is refused: bytes follow before the answer."))
            return
        await link.write(_ESTABLISHED)
        await link.serve_tls(context)
        await self._converse(link, destination, None)

    async def _require_token(self, link: Link) -> None:
        said = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience.head):
                while len(said) < len(self._token):
                    data = await link.read_some(len(self._token) - len(said))
                    if not data:
                        break
                    said += data
        if not hmac.compare_digest(said, self._token):
            raise Gone

    async def _converse(
        self, link: Link, within: Destination | None, head: http1.Head | None
    ) -> None:
        def address(head: http1.Head) -> Request:
            if within is not None:
                return head.request(within, "https", addressing.tunnelled(head, within))
            if head.method == "CONNECT":
                raise BadMessage("The request is refused: a tunnel needs a connection of its own.")
            destination, target = addressing.proxied_to(head)
            return head.request(destination, "http", target)

        talk = Conversation(link, address, self._answer, self._forward, self._patience)
        await talk.run(head)

    async def _answer(self, request: Request, forward: Forward) -> Response:
        self._require(request.destination)
        handler = self._claimant(request.destination)
        if handler is None:
            return await forward(request)
        return await handler.handle(request, forward)

    async def _forward(self, request: Request) -> Response:
        try:
            return await self._forwarder(request)
        except DestinationRefused as error:
            self._count(request.destination, error)
            raise

    def _claimant(self, destination: Destination) -> Handler | None:
        return next((each for each in self._handlers if each.claims(destination)), None)

    def _require(self, destination: Destination) -> None:
        try:
            self._forwarder.require(destination)
            if not self._allow_tunnels and self._claimant(destination) is None:
                raise DestinationRefused(
                    f"Keyless: {destination} is not among the hosts that this tool has "
                    "a credential for."
                )
        except DestinationRefused as error:
            self._count(destination, error)
            raise

    def _count(self, destination: Destination, error: DestinationRefused) -> None:
        name = str(destination)
        if name in self.refused or len(self.refused) < MAX_NAMED:
            self._why.setdefault(name, str(error).removeprefix(f"Keyless: {name} "))
        else:
            name = "further destinations"
        self.refused[name] += 1

    async def _tunnel(self, link: Link, destination: Destination) -> None:
        try:
            other = await self._forwarder.tunnel(destination)
        except EgressError as error:
            if isinstance(error, DestinationRefused):
                self._count(destination, error)
            await say(link, error)
            return
        try:
            await link.write(_ESTABLISHED)
            async with asyncio.TaskGroup() as copies:
                copies.create_task(_copy(link, other))
                copies.create_task(_copy(other, link))
        except* OSError:
            pass  # one side broke: both end
        finally:
            other.abort()


async def _copy(source: Link, sink: Link) -> None:
    """Copy to the end of input, then say so to the other side."""
    while data := await source.read_some(CHUNK):
        await sink.write(data)
    sink.write_eof()
