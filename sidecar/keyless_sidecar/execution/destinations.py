"""Where a tool may connect to: pure decisions, no sockets.

:mod:`keyless_sidecar.execution.egress` asks before each connection and again for each address that
a name resolved to.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import ipaddress
import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_PORTS = {"http": 80, "https": 443}
#: Metadata services on public addresses; the private ones fail the ``is_global`` test anyway.
_METADATA = (
    ipaddress.ip_network("168.63.129.16/32"),
    ipaddress.ip_network("192.0.0.0/24"),
)


class BadDestination(ValueError):
    """Not a host and port as we accept them; the message is one sentence."""


@dataclasses.dataclass(frozen=True)
class Destination:
    """One host (lower case, no trailing dot) and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_authority(text: str, default_port: int | None = None) -> Destination:
    """``host:port``, strictly: ASCII letters, digits, hyphens; or an IP address.

    Raises:
        BadDestination: anything else, user information and odd number notations included.
    """
    bracketed = re.fullmatch(r"\[([0-9a-fA-F:.]{2,45})\](?::([0-9]{1,5}))?", text)
    plain = re.fullmatch(r"([A-Za-z0-9_.-]{1,253})(?::([0-9]{1,5}))?", text)
    found = bracketed or plain
    if found is None:
        raise BadDestination("the destination is not host:port")
    host, digits = found.group(1).lower(), found.group(2)
    port = int(digits) if digits else default_port
    if port is None or not 0 < port < 65536:
        raise BadDestination("the destination's port is missing or out of range")
    if bracketed:
        try:
            host = str(ipaddress.IPv6Address(host))
        except ValueError:
            raise BadDestination("the destination is not a valid IPv6 address") from None
        return Destination(host, port)
    labels = host.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise BadDestination("the destination is not a valid host name")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        # "2130706433", "0x7f.1" and "127.1" are addresses to getaddrinfo, but not to a reader.
        try:
            host = str(ipaddress.IPv4Address(host))
        except ValueError:
            raise BadDestination("the destination is not a valid IPv4 address") from None
    return Destination(host, port)


def parse_url(url: str) -> Destination:
    """The host and port of an ``http`` or ``https`` URL.

    Raises:
        BadDestination: another scheme, user information, or no valid host.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or "@" in parts.netloc:
        raise BadDestination("the URL is not http(s)://host[:port]")
    return parse_authority(parts.netloc, _PORTS[parts.scheme])


def split_pattern(pattern: str) -> tuple[str, int]:
    """A declared ``host:port`` or ``*.domain:port`` (443 when left out; ``:*`` is any port, 0).

    Raises:
        BadDestination: no such pattern.
    """
    wildcard = pattern.startswith("*.")
    any_port = pattern.endswith(":*")
    parsed = parse_authority(pattern.removeprefix("*.").removesuffix(":*"), 443)
    return ("*." + parsed.host if wildcard else parsed.host), 0 if any_port else parsed.port


def _covers(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


@dataclasses.dataclass(frozen=True)
class Allowed:
    """What one tool may reach.

    Args:
        patterns: host pattern and port of public destinations.
        upstreams: configured local or private servers; their addresses are not restricted.
    """

    patterns: tuple[tuple[str, int], ...] = ()
    upstreams: frozenset[Destination] = frozenset()

    def refusal(self, destination: Destination) -> str:
        """Why ``destination`` may not be reached; empty when it may."""
        if destination in self.upstreams:
            return ""
        for pattern, port in self.patterns:
            if port in (0, destination.port) and _covers(pattern, destination.host):
                return ""
        return f"{destination} is not among the hosts that this tool may reach"

    def address_refusal(self, destination: Destination, addresses: Sequence[str]) -> str:
        """Why what ``destination`` resolved to is not acceptable; empty when it is."""
        if destination in self.upstreams:
            return ""
        for text in addresses:
            if not is_public(text):
                return f"{destination} resolves to an address that is not public"
        return "" if addresses else f"{destination} has no address"


def is_public(address: str) -> bool:
    """Whether an IP address is on the public Internet: not private, link-local, metadata, …."""
    ip = ipaddress.ip_address(address.split("%")[0])
    # Mapped and NAT64 addresses count as reserved; 6to4 ones hold an IPv4 address inside.
    if isinstance(ip, ipaddress.IPv6Address) and ip.sixtofour is not None:
        return False
    return (
        ip.is_global
        and not ip.is_multicast
        and not ip.is_reserved
        and not ip.is_unspecified
        and not any(ip in network for network in _METADATA)
    )


def allowed_for(
    hosts: Sequence[str], upstreams: Mapping[str, str], *, exclusive: bool = False
) -> tuple[Allowed, str]:
    """What a tool with these declared hosts may reach, and its upstream URL.

    An upstream whose pattern covers a declared host takes its place: the declared host is then not
    reachable any more.

    Args:
        hosts: ``host:port`` patterns of the tool's declaration.
        upstreams: host pattern → URL (``c.Egress.upstreams``).
        exclusive: an upstream that applies is all that may be reached (the tool speaks to one
            service through one endpoint URL).

    Returns:
        the destinations, and the URL of the first upstream that applies ("" when none does).

    Raises:
        BadDestination: a pattern or URL that doesn't parse.
    """
    patterns: list[tuple[str, int]] = []
    chosen: dict[str, Destination] = {}
    for declared in hosts:
        host, port = split_pattern(declared)
        urls = [url for pattern, url in upstreams.items() if fnmatch.fnmatchcase(host, pattern)]
        if urls:
            chosen[urls[0]] = parse_url(urls[0])
        else:
            patterns.append((host, port))
    if exclusive and chosen:
        url = next(iter(chosen))
        return Allowed((), frozenset({chosen[url]})), url
    return Allowed(tuple(patterns), frozenset(chosen.values())), next(iter(chosen), "")
