"""What a vault entry of kind ``postgres`` says about its server: checked, without I/O.

The fields are named as libpq's settings; certificates and keys stand in them as PEM text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from keyless_sidecar.execution.destinations import (
    BadDestination,
    Destination,
    is_public,
    parse_authority,
)

__all__ = ["METHODS", "Target", "TargetError", "mode_for", "read_target"]

#: Ways to authenticate, in libpq's words (``require_auth``).
METHODS = frozenset({"scram-sha-256", "md5", "password", "none"})
_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_PORT = "5432"


class TargetError(Exception):
    """The entry can't be used; the message is one sentence, without any value of a secret."""


@dataclass(frozen=True)
class Target:
    """A server and how to log in there.

    Attributes:
        destination: host and port.
        user: the role.
        password: empty where a client certificate takes its place.
        database: the only one that may be used; empty: any.
        sslmode: empty: by the server's address, see :func:`mode_for`.
        authorities: certificates (PEM) that a server's one must come from; empty: the system's.
        certificate: of the client, with chain (PEM).
        key: of that certificate (PEM).
        methods: ways to authenticate that are accepted; None: by how well the server is known.
        binding: whether SCRAM must be bound to the TLS channel.
    """

    destination: Destination
    user: str
    password: str = field(default="", repr=False)
    database: str = ""
    sslmode: str = ""
    authorities: str = ""
    certificate: str = ""
    key: str = field(default="", repr=False)
    methods: frozenset[str] | None = None
    binding: bool = False


def read_target(name: str, fields: Mapping[str, str]) -> Target:
    """The server that an entry names.

    Args:
        name: of the entry, for messages.
        fields: its values.

    Raises:
        TargetError: a field is missing, or says something that isn't supported.
    """
    host, user = fields.get("host", ""), fields.get("username", "")
    if not host or not user:
        raise TargetError(f"The credential {name} lacks a host or a username.")
    if host.startswith(("/", "@")):
        raise TargetError(f"The credential {name} names a socket; give a host name or address.")
    mode = fields.get("sslmode", "")
    if mode and mode not in _MODES:
        raise TargetError(f"The credential {name}: sslmode is one of {', '.join(_MODES)}.")
    binding = fields.get("channel_binding", "prefer")
    if binding not in ("prefer", "require"):
        raise TargetError(f"The credential {name}: channel_binding is prefer or require.")
    certificate, key = fields.get("sslcert", ""), fields.get("sslkey", "")
    if bool(certificate) != bool(key):
        raise TargetError(f"The credential {name} needs both sslcert and sslkey, or neither.")
    password = fields.get("password", "")
    if not password and not certificate:
        raise TargetError(f"The credential {name} needs a password, or sslcert and sslkey.")
    if certificate and mode in ("disable", "prefer"):
        raise TargetError(
            f"The credential {name}: a client certificate needs TLS, so set sslmode to verify-full."
        )
    authorities = fields.get("sslrootcert", "")
    if mode == "verify-ca" and not authorities:
        raise TargetError(
            f"The credential {name}: verify-ca needs an sslrootcert of its own, since anybody gets "
            "a certificate from the system's authorities; set one, or verify-full."
        )
    if mode == "require" and authorities:
        mode = "verify-ca"  # as libpq does
    if authorities and mode in ("", "prefer"):
        mode = "verify-full"
    return Target(
        destination=_destination(name, host, fields.get("port", _PORT)),
        user=user,
        password=password,
        database=fields.get("database", ""),
        sslmode=mode,
        authorities=authorities,
        certificate=certificate,
        key=key,
        methods=_methods(name, fields.get("require_auth", "")),
        binding=binding == "require",
    )


def mode_for(target: Target, addresses: Sequence[str]) -> str:
    """The sslmode in force.

    Where the entry says none, it is ``verify-full`` for what is (or might be) on the Internet, and
    wherever a client certificate is used; ``prefer`` in a private network.
    """
    if target.sslmode:
        return target.sslmode
    if target.certificate or not addresses or any(is_public(each) for each in addresses):
        return "verify-full"
    return "prefer"


def _destination(name: str, host: str, port: str) -> Destination:
    try:
        if not port.isascii() or not port.isdigit():
            raise BadDestination("the port is no number")
        return parse_authority(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except BadDestination as error:
        raise TargetError(f"The credential {name} can't be used: {error}.") from None


def _methods(name: str, text: str) -> frozenset[str] | None:
    if not text:
        return None
    found = frozenset(part.strip() for part in text.split(","))
    if not found <= METHODS:
        raise TargetError(
            f"The credential {name}: require_auth is a list of {', '.join(sorted(METHODS))}."
        )
    return found
