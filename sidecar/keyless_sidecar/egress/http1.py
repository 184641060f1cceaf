"""Strict HTTP/1.1 heads: bytes in, values out.  No I/O.

Whatever two readers could understand in two ways is refused, on both sides of the proxy: a request
that a tool sends and an answer that a server gives.  A library would accept more than we want to.
"""

from __future__ import annotations

import dataclasses
import re

from keyless_sidecar.egress.messages import (
    BadMessage,
    Headers,
    Request,
    Scheme,
    UpstreamFailed,
    values,
    without,
)
from keyless_sidecar.execution.destinations import Destination

MAX_HEAD = 64 * 1024
MAX_HEADERS = 128

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_REQUEST = re.compile(r"([A-Z]{1,20}) ([\x21-\x7e]+) HTTP/1\.([01])")
_STATUS = re.compile(r"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_LENGTH = re.compile(r"0|[1-9][0-9]{0,17}")
#: Headers that only this connection is concerned with, or that this proxy writes itself.
HOP = (
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "te",
    "trailer",
    "upgrade",
    "content-length",
    "transfer-encoding",
    "alt-svc",
)
#: Names that frame or route a message; some servers read an underscore as a hyphen.
_DECISIVE = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "expect", "trailer"}
)
#: Sends a request's headers back in the answer.
_FORBIDDEN_METHODS = frozenset({"TRACE", "TRACK"})


class Malformed(ValueError):
    """Not a head as we accept them; the message is a part of a sentence."""


@dataclasses.dataclass(frozen=True)
class Head:
    """A request's head, well formed and framed, not yet asked where it goes.

    Args:
        method: upper case.
        target: as sent.
        headers: all of them, as sent.
        length: of the body, ``None``: chunked.
        keep: whether another request may follow on the connection.
        modern: HTTP/1.1 rather than 1.0.
        expects_continue: it waits for ``100 Continue``.
    """

    method: str
    target: str = dataclasses.field(repr=False)
    headers: Headers = dataclasses.field(repr=False)
    length: int | None
    keep: bool
    modern: bool
    expects_continue: bool

    def request(self, destination: Destination, scheme: Scheme, target: str) -> Request:
        """What a handler gets, still without its body."""
        return Request(
            self.method,
            scheme,
            destination.host,
            destination.port,
            target,
            without(self.headers, *HOP, "expect"),
            self.length,
            expects_continue=self.expects_continue,
        )


@dataclasses.dataclass(frozen=True)
class Status:
    """An answer's head.

    Args:
        status: 100 to 599.
        reason: as sent.
        headers: without those of one hop only.
        length: of the body; ``None``: chunked, or until the connection's end.
        chunked: likewise.
        framed: whether the head says where the body ends.
        keep: whether the connection can be used again.
    """

    status: int
    reason: str
    headers: Headers = dataclasses.field(repr=False)
    length: int | None
    chunked: bool
    framed: bool
    keep: bool


def read_request(raw: bytes) -> Head:
    """One request head, up to and with its empty line.

    Raises:
        BadMessage: malformed or ambiguous.
    """
    try:
        lines = _lines(raw)
        found = _REQUEST.fullmatch(lines[0])
        if found is None:
            raise Malformed("the request line is malformed, or not HTTP/1.1")
        method, target, minor = found.group(1), found.group(2), found.group(3)
        headers = _headers(lines[1:])
        if method in _FORBIDDEN_METHODS:
            raise Malformed(f"the method {method} does not pass")
        modern = minor == "1"
        options = _connection(headers)
        length = _length(headers, modern)
        expects = [value.lower() for value in values(headers, "expect")]
        if expects not in ([], ["100-continue"]):
            raise Malformed("only 100-continue can be expected")
    except Malformed as error:
        raise BadMessage(f"The request is refused: {error}.") from None
    return Head(
        method,
        target,
        headers,
        0 if length is _NO_BODY else length,
        modern and "close" not in options,
        modern,
        modern and bool(expects) and length not in (0, _NO_BODY),
    )


def read_status(raw: bytes) -> Status:
    """One answer's head, up to and with its empty line.

    Raises:
        UpstreamFailed: malformed or ambiguous.
    """
    try:
        lines = _lines(raw)
        found = _STATUS.fullmatch(lines[0])
        if found is None:
            raise Malformed("its status line is malformed")
        headers = _headers(lines[1:])
        modern = found.group(1) == "1"
        length = _length(headers, modern)
    except Malformed as error:
        raise UpstreamFailed(f"The server's answer is refused: {error}.") from None
    tokens = _tokens(headers)
    return Status(
        int(found.group(2)),
        found.group(3) or "",
        without(headers, *HOP, *(tokens - {"close", "keep-alive"})),
        None if length is _NO_BODY else length,
        length is None,
        length is not _NO_BODY,
        modern and "close" not in tokens,
    )


def _lines(raw: bytes) -> list[str]:
    lines = raw.removesuffix(b"\r\n\r\n").decode("latin-1").split("\r\n")
    if any("\n" in line or "\r" in line or "\0" in line for line in lines):
        raise Malformed("there are bare line breaks or NUL in its head")
    if len(lines) - 1 > MAX_HEADERS:
        raise Malformed(f"it has more than {MAX_HEADERS} headers")
    return lines


def _headers(lines: list[str]) -> Headers:
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not NAME.fullmatch(name) or not VALUE.fullmatch(value):
            raise Malformed("a header is malformed")
        if "_" in name and name.lower().replace("_", "-") in _DECISIVE:
            raise Malformed(f"the header {name} could be read as another one")
        headers.append((name, value.strip(" \t")))
    return headers


def _tokens(headers: Headers) -> set[str]:
    return {
        token.strip(" \t").lower()
        for value in values(headers, "connection")
        for token in value.split(",")
    } - {""}


def _connection(headers: Headers) -> set[str]:
    """The options of a request's connection: one that removes headers would change its meaning."""
    if values(headers, "upgrade") or values(headers, "http2-settings"):
        raise Malformed("other protocols (Upgrade) do not pass")
    tokens = _tokens(headers)
    if not tokens <= {"close", "keep-alive", "te"}:
        raise Malformed("the Connection header names more than close and keep-alive")
    return tokens


#: Neither length nor coding: no body in a request, until the end in an answer.
_NO_BODY = -1


def _length(headers: Headers, modern: bool) -> int | None:
    lengths, codings = values(headers, "content-length"), values(headers, "transfer-encoding")
    if lengths and codings:
        raise Malformed("it has both Content-Length and Transfer-Encoding")
    if codings:
        if [coding.lower() for coding in codings] != ["chunked"] or not modern:
            raise Malformed("only the chunked transfer coding of HTTP/1.1 passes")
        return None
    if not lengths:
        return _NO_BODY
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Malformed("its Content-Length is not one plain number")
    return int(lengths[0])
