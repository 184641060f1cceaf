"""Strict HTTP/1.1 heads for the other side: none that could be read as two.  No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from keyless_sidecar.egress.addressing import PORTS, authority, is_target
from keyless_sidecar.egress.http1 import HOP, NAME, VALUE
from keyless_sidecar.egress.messages import (
    BadMessage,
    Headers,
    Request,
    UpstreamFailed,
    values,
    without,
)

_METHOD = re.compile(r"[A-Z]{1,20}")
_REASON = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,200}")


def write_request(request: Request) -> bytes:
    """The head for the real server.

    Raises:
        BadMessage: something in it can't be written as one request (a handler's mistake).
    """
    hosts = values(request.headers, "host")
    if (
        not _METHOD.fullmatch(request.method)
        or request.method == "CONNECT"
        or not is_target(request.target)
        or len(hosts) != 1
        or authority(hosts[0], PORTS[request.scheme]) != request.destination
    ):
        raise BadMessage("The request can't be sent on: its line or its Host is not as it must be.")
    framing: Headers = []
    if request.length is None:
        framing.append(("Transfer-Encoding", "chunked"))
    elif request.length or request.method in ("POST", "PUT", "PATCH"):
        framing.append(("Content-Length", str(request.length)))
    if request.expects_continue and request.length != 0:
        framing.append(("Expect", "100-continue"))
    kept = without(request.headers, *HOP, "expect")
    return _written(f"{request.method} {request.target} HTTP/1.1", [*kept, *framing], BadMessage)


def write_status(status: int, reason: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """An answer's head for the tool; the caller has added what frames the body.

    Raises:
        UpstreamFailed: something in it can't be written as one answer.
    """
    if not 200 <= status <= 599 or not _REASON.fullmatch(reason):
        raise UpstreamFailed("The answer can't be passed on: its status line is malformed.")
    return _written(f"HTTP/1.1 {status} {reason}", headers, UpstreamFailed)


def end_to_end(headers: Sequence[tuple[str, str]]) -> Headers:
    """Without the headers of one hop and those that frame the body."""
    return without(headers, *HOP)


def _written(
    first: str,
    headers: Iterable[tuple[str, str]],
    error: type[BadMessage] | type[UpstreamFailed],
) -> bytes:
    lines = [first]
    for name, value in headers:
        if not NAME.fullmatch(name) or not VALUE.fullmatch(value):
            raise error("A header can't be passed on: it holds characters that headers can't.")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
