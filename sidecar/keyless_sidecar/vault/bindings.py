"""Where an entry may be used: hosts, path prefixes, places in a request, a file in the tool's home.

Pure checks of what a person wrote, called when an entry or a declaration is made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from keyless_sidecar.execution.destinations import BadDestination, split_pattern
from keyless_sidecar.vault.kinds import VaultError

__all__ = ["check_file", "check_hosts", "check_paths", "check_places", "require_reach"]

_MOST = 64
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/-]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,31}")
_PARAMETER = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FILE = re.compile(r"[A-Za-z0-9._-]{1,64}(/[A-Za-z0-9._-]{1,64}){0,7}")
#: Headers that frame or route a request: a credential in one would change where it goes.
_NOT_FOR_SECRETS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade"}
    | {"expect", "proxy-authorization", "proxy-connection", "keep-alive"}
)


def check_hosts(name: str, hosts: Sequence[str]) -> tuple[str, ...]:
    """Host patterns (``api.github.com``, ``*.example.org:8443``), in lower case.

    Raises:
        VaultError: one is no host pattern.
    """
    _check_count(name, "hosts", hosts)
    for host in hosts:
        try:
            split_pattern(host)
        except BadDestination as error:
            raise VaultError(
                f"{name}: a bound host is HOST, HOST:PORT or *.DOMAIN: {error}"
            ) from None
    return tuple(host.lower() for host in hosts)


def check_paths(name: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Path prefixes, as they stand in requests: absolute, nothing encoded, no way up.

    Raises:
        VaultError: one is no such prefix.
    """
    _check_count(name, "paths", paths)
    for path in paths:
        parts = path.split("/")
        if not _PATH.fullmatch(path) or "//" in path or ".." in parts or "." in parts:
            raise VaultError(f"{name}: a bound path starts with / and has no encoded or odd parts")
    return tuple(paths)


def check_places(name: str, places: Sequence[str]) -> tuple[str, ...]:
    """Where in a request the value stands.

    ``header:NAME`` · ``header:NAME:SCHEME`` · ``basic`` · ``query:NAME``.

    Raises:
        VaultError: one is none of these.
    """
    _check_count(name, "places", places)
    for place in places:
        what, _, rest = place.partition(":")
        header, colon, scheme = rest.partition(":")
        if what == "header" and header.lower() in _NOT_FOR_SECRETS:
            raise VaultError(f"{name}: the header {header.lower()} can't carry a credential")
        if (
            place == "basic"
            or (
                what == "header"
                and _HEADER.fullmatch(header)
                and (not colon or _SCHEME.fullmatch(scheme))
            )
            or (what == "query" and _PARAMETER.fullmatch(rest))
        ):
            continue
        raise VaultError(
            f"{name}: a place is basic, header:NAME, header:NAME:SCHEME or query:NAME "
            "(header:Authorization:Bearer, say)"
        )
    return tuple(places)


def check_file(name: str, file: str, *, delivery: str, kind: str, single: str) -> None:
    """A file below the tool's home: relative, plain names, no way up.

    Raises:
        VaultError: it isn't, is missing, or doesn't go with delivery or kind.
    """
    if delivery != "file":
        if file:
            raise VaultError(f"{name}: a file goes with delivery file only")
        return
    if not single:
        raise VaultError(
            f"{name}: a credential of kind {kind} is more than one text: use kind file"
        )
    if not file:
        raise VaultError(
            f"{name}: delivery file needs the file's place in the tool's home (.netrc)"
        )
    if not _FILE.fullmatch(file) or any(part in (".", "..") for part in PurePosixPath(file).parts):
        raise VaultError(f"{name}: the file is a path below the tool's home, of plain names")


def require_reach(name: str, kind: str, delivery: str, hosts: Sequence[str]) -> None:
    """Refuse what could never be used: a proxied token that is bound to no host.

    Raises:
        VaultError: that is so.
    """
    if delivery == "proxy" and kind in ("token", "basic", "generic") and not hosts:
        raise VaultError(
            f"{name}: delivery proxy needs the hosts that the credential is for (--host "
            "api.example.org); a tool that must hold it gets --delivery env"
        )
    if delivery == "proxy" and kind == "file":
        raise VaultError(f"{name}: a file is no part of a request: use delivery file")


def _check_count(name: str, what: str, items: Sequence[str]) -> None:
    if len(items) > _MOST or not all(isinstance(item, str) for item in items):
        raise VaultError(f"{name}: {what} is a list of at most {_MOST} texts")
