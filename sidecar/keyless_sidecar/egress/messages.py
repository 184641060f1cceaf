"""What the egress engine and its handlers say to each other: one request, one answer.

The engine (:mod:`keyless_sidecar.egress.server`) makes a :class:`Request` of what a tool sent,
gives it to the :class:`Handler` that claims its destination, and writes the :class:`Response` back.
A handler decides, rewrites, and calls its ``forward`` for what shall reach the real server.
Nothing here does I/O.

The errors::

    EgressError           one sentence, and the status that it is answered with
    ├── BadMessage        400: what the tool sent is malformed or ambiguous
    ├── DestinationRefused  403: not a place that this tool may reach
    ├── BodyTooLarge      413: a body that must be read whole is longer than the cap
    └── UpstreamFailed    502: the real server can't be reached, trusted or understood
"""

from __future__ import annotations

import dataclasses
import http
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Literal, Protocol, Self

from keyless_sidecar.execution.destinations import Destination

Headers = list[tuple[str, str]]
#: Characters of a sentence in a status line; libraries cap the line.
_MOST_SAID = 180
Scheme = Literal["http", "https"]


class EgressError(Exception):
    """Ends one request; the message is one sentence without a secret in it.

    A handler may catch it and answer in its service's own format; otherwise the engine answers in
    plain text.
    """

    status = 500


class BadMessage(EgressError):
    """The tool's request, or its body, is malformed or can be understood in two ways."""

    status = 400


class DestinationRefused(EgressError):
    """The destination, or the address that it resolves to, is not allowed."""

    status = 403


class BodyTooLarge(EgressError):
    """A body is longer than what may be held in memory."""

    status = 413


class UpstreamFailed(EgressError):
    """The real server didn't answer, isn't who it should be, or answered nonsense."""

    status = 502


class Whole:
    """A body that is in memory already, as an iterator of one piece."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def take(self) -> bytes:
        """All of it; nothing is left."""
        data, self._data = self._data, b""
        return data

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._data:
            raise StopAsyncIteration
        return self.take()


async def gather(body: AsyncIterator[bytes], cap: int) -> bytes:
    """All of ``body``.

    Raises:
        BodyTooLarge: longer than ``cap`` bytes; what follows is not read.
    """
    parts: list[bytes] = []
    size = 0
    async for part in body:
        size += len(part)
        if size > cap:
            raise BodyTooLarge(f"The body is longer than the {cap} bytes that can be held here.")
        parts.append(part)
    return b"".join(parts)


@dataclasses.dataclass
class Request:
    """One request of a tool, or what a handler makes of it for the real server.

    Change a copy (:func:`dataclasses.replace`) rather than the one that came in.

    Args:
        method: upper case.
        scheme: of the connection that the tool wanted.
        host: lower case; the host of the ``CONNECT`` (or absolute URL), which equals ``Host``.
        port: likewise.
        target: origin form, raw, as sent (``/a%20b?x=y``); dots and slashes are not resolved.
        headers: as sent and in order, with ``Host``; without those of one hop only, ``Expect`` and
            the two that frame the body.
        length: of the body in bytes, ``None`` when the tool sends it chunked.
        body: pulling it is what asks the tool for more (and sends ``100 Continue`` first, where
            that was expected): decide before the first pull.
        expects_continue: the tool waits for ``100 Continue`` before it sends the body.
    """

    method: str
    scheme: Scheme
    host: str
    port: int
    target: str = dataclasses.field(repr=False)
    headers: Headers = dataclasses.field(repr=False)
    length: int | None = 0
    body: AsyncIterator[bytes] = dataclasses.field(default_factory=Whole, repr=False)
    expects_continue: bool = False

    @property
    def destination(self) -> Destination:
        """Where it goes."""
        return Destination(self.host, self.port)

    async def read(self, cap: int) -> bytes:
        """The whole body, once.

        Raises:
            BodyTooLarge: longer than ``cap``; nothing is read when the announced length says so.
            BadMessage: the body's framing is malformed, or it ended too early.
        """
        if self.length is not None and self.length > cap:
            raise BodyTooLarge(f"The body is longer than the {cap} bytes that can be held here.")
        return await gather(self.body, cap)

    def with_body(self, data: bytes) -> Request:
        """The same request with a body that is at hand."""
        return dataclasses.replace(self, length=len(data), body=Whole(data), expects_continue=False)


@dataclasses.dataclass
class Response:
    """An answer, of the real server or of a handler.

    Args:
        status: 200 to 599.
        reason: the phrase beside it.
        headers: without those of one hop only and the two that frame the body.
        length: of the body in bytes (for ``HEAD`` and 304: what it would be), ``None``: unknown.
        body: streamed; pull it or :meth:`close` it.
        bodiless: there is no body, whatever ``length`` says (``HEAD``, 204, 304).
    """

    status: int
    reason: str
    headers: Headers = dataclasses.field(repr=False)
    length: int | None = 0
    body: AsyncIterator[bytes] = dataclasses.field(default_factory=Whole, repr=False)
    bodiless: bool = False

    @classmethod
    def of(
        cls,
        status: int,
        body: bytes,
        content_type: str = "text/plain; charset=utf-8",
        headers: Iterable[tuple[str, str]] = (),
        said: str = "",
    ) -> Response:
        """An answer that is made here.

        Args:
            status: of it.
            body: all of it.
            content_type: of the body.
            headers: further ones.
            said: a sentence for the status line, which is all that some programs print of an
                answer; the status's usual phrase without it.
        """
        reason = phrase(said) or http.HTTPStatus(status).phrase
        return cls(
            status, reason, [("Content-Type", content_type), *headers], len(body), Whole(body)
        )

    async def read(self, cap: int) -> bytes:
        """The whole body, once.

        Raises:
            BodyTooLarge: longer than ``cap``.
            UpstreamFailed: it broke off, or its framing is malformed.
        """
        if self.length is not None and self.length > cap:
            raise BodyTooLarge(f"The answer is longer than the {cap} bytes that can be held here.")
        return await gather(self.body, cap)

    def with_body(self, data: bytes) -> Response:
        """The same answer with another body; the caller has read this one's or closes it."""
        return dataclasses.replace(self, length=len(data), body=Whole(data))

    async def close(self) -> None:
        """Give up what is left of the body; does nothing after its end."""
        close = getattr(self.body, "aclose", None)
        if close is not None:
            await close()


Forward = Callable[[Request], Awaitable[Response]]
"""Sends a request to its real server and gives the answer as soon as its head is there; the body of
the request goes on flowing while the answer's body is read.  Raises DestinationRefused and
UpstreamFailed; errors of ``request.body`` come through unchanged."""


class Handler(Protocol):
    """Decides on the requests for some destinations, and puts the real credentials in."""

    def claims(self, destination: Destination) -> bool:
        """Whether requests for ``destination`` go to this handler; only then is TLS terminated."""

    async def handle(self, request: Request, forward: Forward) -> Response:
        """Answer one request.  It is called anew for each request of a connection.

        Raises:
            EgressError: answered with its status and sentence.
        """


def phrase(sentence: str) -> str:
    """A sentence as a status line can hold it: one line of plain ASCII, its end kept if cut."""
    line = " ".join(re.sub("[^\x20-\x7e]", lambda found: _ascii(found[0]), sentence).split())
    if len(line) <= _MOST_SAID:
        return line
    rule = re.search(r" \(rule [^()]{1,80}\)\.?$", line)
    end = rule[0] if rule else ""
    return f"{line[: _MOST_SAID - len(end) - 3]}...{end}"


def _ascii(character: str) -> str:
    return " " if character.isspace() else "?"


def values(headers: Sequence[tuple[str, str]], name: str) -> list[str]:
    """The values of each header called ``name``, in order."""
    wanted = name.lower()
    return [value for found, value in headers if found.lower() == wanted]


def without(headers: Sequence[tuple[str, str]], *names: str) -> Headers:
    """The headers that have none of these names."""
    unwanted = {name.lower() for name in names}
    return [(name, value) for name, value in headers if name.lower() not in unwanted]


def replaced(headers: Sequence[tuple[str, str]], name: str, value: str) -> Headers:
    """The headers with exactly one ``name``, at the place of the first, else at the end."""
    wanted, result, done = name.lower(), Headers(), False
    for found, old in headers:
        if found.lower() != wanted:
            result.append((found, old))
        elif not done:
            result.append((found, value))
            done = True
    return result if done else [*result, (name, value)]
