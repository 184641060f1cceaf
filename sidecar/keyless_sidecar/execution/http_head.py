"""Strict reading of the request heads that reach the egress gate: bytes in, values out.

No library: the gate needs the head only, refuses whatever two readers could understand in two ways,
and copies everything else.  Used by :mod:`keyless_sidecar.execution.egress`.
"""

from __future__ import annotations

import dataclasses
import re

from keyless_sidecar.execution.destinations import BadDestination, Destination, parse_authority

MAX_HEAD = 64 * 1024
MAX_HEADERS = 128

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REQUEST = re.compile(r"([A-Z]{1,20}) ([\x21-\x7e]+) HTTP/1\.([01])")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
#: Meant for one hop only; never handed on.
_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade"}
)


class BadRequest(ValueError):
    """The head is refused; the message is one sentence."""


@dataclasses.dataclass(frozen=True)
class Head:
    """A request head that means one thing only.

    Args:
        method: upper case.
        destination: where it wants to go.
        path: origin form, empty for ``CONNECT``.
        headers: as sent, hop-by-hop ones removed.
        body: length in bytes, or ``None`` for chunked coding.
    """

    method: str
    destination: Destination
    path: str
    headers: tuple[tuple[str, str], ...]
    body: int | None

    @property
    def tunnel(self) -> bool:
        """Whether it asks for a tunnel."""
        return self.method == "CONNECT"

    def forwarded(self) -> bytes:
        """The head as the destination gets it: origin form, one request a connection."""
        lines = [f"{self.method} {self.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += ["Connection: close", "", ""]
        return "\r\n".join(lines).encode("latin-1")


def parse(data: bytes) -> Head:
    """Read one head, up to and without the empty line.

    Raises:
        BadRequest: malformed, ambiguous, or not meant for a proxy.
    """
    text = data.decode("latin-1")
    lines = text.split("\r\n")
    if any("\n" in line or "\r" in line or "\0" in line for line in lines):
        raise BadRequest("bare line breaks or NUL in the request head")
    request = _REQUEST.fullmatch(lines[0])
    if request is None:
        raise BadRequest("malformed request line")
    if len(lines) - 1 > MAX_HEADERS:
        raise BadRequest("too many headers")
    headers = [_header(line) for line in lines[1:]]
    method, target = request.group(1), request.group(2)
    try:
        if method == "CONNECT":
            head = Head(method, parse_authority(target), "", (), 0)
        else:
            destination, path = _absolute(target)
            head = Head(method, destination, path, _kept(headers), _body_length(headers))
    except BadDestination as error:
        raise BadRequest(str(error)) from None
    _match_host(headers, head)
    return head


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise BadRequest("malformed header")
    return name, value.strip(" \t")


def _values(headers: list[tuple[str, str]], wanted: str) -> list[str]:
    return [value for name, value in headers if name.lower() == wanted]


def _absolute(target: str) -> tuple[Destination, str]:
    found = re.fullmatch(r"http://([^/?#@]+)([/?][^#]*)?", target, re.IGNORECASE)
    if found is None:
        raise BadRequest("only CONNECT and http:// requests pass")
    path = found.group(2) or "/"
    return parse_authority(found.group(1), 80), path if path.startswith("/") else "/" + path


def _match_host(headers: list[tuple[str, str]], head: Head) -> None:
    hosts = _values(headers, "host")
    if len(hosts) != 1 and not (head.tunnel and not hosts):
        raise BadRequest("exactly one Host header is needed")
    for host in hosts:
        try:
            same = parse_authority(host, head.destination.port if head.tunnel else 80)
        except BadDestination:
            raise BadRequest("malformed Host header") from None
        if same != head.destination:
            raise BadRequest("the Host header names another destination than the request")


def _body_length(headers: list[tuple[str, str]]) -> int | None:
    lengths, codings = _values(headers, "content-length"), _values(headers, "transfer-encoding")
    if lengths and codings:
        raise BadRequest("both Content-Length and Transfer-Encoding")
    if codings:
        if [coding.lower() for coding in codings] != ["chunked"]:
            raise BadRequest("only the chunked transfer coding passes")
        return None
    if len(lengths) > 1 or (lengths and not re.fullmatch(r"[0-9]{1,18}", lengths[0])):
        raise BadRequest("malformed Content-Length")
    return int(lengths[0]) if lengths else 0


def _kept(headers: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    named = {
        token.strip().lower()
        for value in _values(headers, "connection")
        for token in value.split(",")
    }
    if named & {"host", "content-length", "transfer-encoding"}:
        raise BadRequest("the Connection header names a header that frames the message")
    return tuple(
        (name, value)
        for name, value in headers
        if name.lower() not in _HOP and name.lower() not in named
    )
