"""Where a request wants to go: line, ``Host`` and connection must say the same.  No I/O.

Used by :mod:`keyless_sidecar.egress.server` for what comes in, by ``writing`` for what goes out.
"""

from __future__ import annotations

import re

from keyless_sidecar.egress.http1 import Head
from keyless_sidecar.egress.messages import BadMessage, Scheme, values
from keyless_sidecar.execution.destinations import BadDestination, Destination, parse_authority

PORTS: dict[Scheme, int] = {"http": 80, "https": 443}
#: A backslash is a slash to some servers; a fragment is never sent.
_TARGET = re.compile(r"/[^#\\\x00-\x20\x7f-\U0010ffff]*")


def tunnel_to(head: Head) -> Destination:
    """Where a ``CONNECT`` wants to go.

    Raises:
        BadMessage: no host and port, another ``Host``, or a body.
    """
    destination = authority(head.target, None)
    hosts = values(head.headers, "host")
    # Some clients leave the port away here, and only here.
    if hosts and (len(hosts) > 1 or authority(hosts[0], destination.port) != destination):
        raise BadMessage("The request is refused: Host names another place than CONNECT.")
    if head.length != 0:
        raise BadMessage("The request is refused: CONNECT has no body.")
    return destination


def proxied_to(head: Head) -> tuple[Destination, str]:
    """Where a plain ``http://`` request wants to go, and its origin form.

    Raises:
        BadMessage: another form or scheme, or a ``Host`` that says something else.
    """
    found = re.fullmatch(r"http://([^/?#@\\]+)([/?].*)?", head.target, re.IGNORECASE)
    if found is None:
        raise BadMessage("The request is refused: only CONNECT and http:// requests pass here.")
    destination = authority(found.group(1), PORTS["http"])
    rest = found.group(2) or "/"
    target = rest if rest.startswith("/") else "/" + rest
    _require(head, destination, "http", target)
    return destination, target


def tunnelled(head: Head, destination: Destination, scheme: Scheme = "https") -> str:
    """The origin form of a request inside a tunnel to ``destination``.

    Raises:
        BadMessage: another form, or a ``Host`` that names another place.
    """
    if head.method == "CONNECT":
        raise BadMessage("The request is refused: no tunnel within a tunnel.")
    _require(head, destination, scheme, head.target)
    return head.target


def _require(head: Head, destination: Destination, scheme: Scheme, target: str) -> None:
    if not is_target(target):
        raise BadMessage("The request is refused: its target is not a path as servers expect it.")
    hosts = values(head.headers, "host")
    if len(hosts) != 1:
        raise BadMessage("The request is refused: exactly one Host header is needed.")
    if authority(hosts[0], PORTS[scheme]) != destination:
        raise BadMessage("The request is refused: Host names another place than the connection.")


def is_target(text: str) -> bool:
    """Whether this is an origin form that every server reads alike."""
    return _TARGET.fullmatch(text) is not None


def authority(text: str, port: int | None) -> Destination:
    """``host[:port]``, strictly.

    Raises:
        BadMessage: something else.
    """
    try:
        return parse_authority(text, port)
    except BadDestination as error:
        raise BadMessage(f"The request is refused: {error}.") from None
