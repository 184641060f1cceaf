"""What of a request is signed and decides: method, host, target, headers; all as they were sent.

Built by the handler from the engine's request.  :meth:`Parts.checked` refuses what two readers
could read differently; the other modules rely on that.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote, unquote

from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.overrides import override

__all__ = ["AwsKeys", "Parts", "canonical_query", "decoded"]

#: What RFC 3986 allows in a path and a query; everything else must be percent-encoded.
_TARGET = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
_QUERY = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*,;=:@/?]|%[0-9A-Fa-f]{2})*")
_METHOD = re.compile(r"[A-Z]{1,16}")
_BREAKS = re.compile(r"[\r\n\0]")
_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class AwsKeys(Protocol):
    """A key pair, real or placeholder; the token is empty where there is none."""

    @property
    def access_key_id(self) -> str: ...
    @property
    def secret_access_key(self) -> str: ...
    @property
    def session_token(self) -> str: ...


@dataclass(frozen=True)
class Parts:
    """A request without its body.

    Attributes:
        method: ``PUT``.
        host: as the ``Host`` header says it, lower case; with the port where it isn't 443.
        target: origin form, raw.
        headers: in order, values as sent; ``Host`` may be among them.
        length: length of the body, None where it is chunked.
    """

    method: str
    host: str
    target: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    length: int | None = 0

    def checked(self) -> Parts:
        """The same parts.

        Raises:
            AwsRefusal: servers could read them in more than one way.
        """
        if not _METHOD.fullmatch(self.method):
            raise AwsRefusal("InvalidRequest", "The method is not an HTTP method.", 400)
        if not _TARGET.fullmatch(self.path):
            raise AwsRefusal(
                "InvalidURI", "The path has characters that must be percent-encoded.", 400
            )
        if not _QUERY.fullmatch(self.query):
            raise AwsRefusal(
                "InvalidURI",
                "The query has characters that must be percent-encoded (a plus sign as %2B, a "
                "space as %20).",
                400,
            )
        for name, value in self.headers:
            if not _HEADER.fullmatch(name) or _BREAKS.search(value):
                raise AwsRefusal("InvalidRequest", "A header is malformed.", 400)
        named = override(self.headers, self.target)
        if named:
            raise AwsRefusal(
                "InvalidRequest",
                f"{named} is not let through: it could change the method or path that is decided "
                "on.",
                400,
            )
        if self.all("host") not in ([], [self.host]):
            raise AwsRefusal(
                "InvalidRequest", "The Host header is not the host that the request goes to.", 400
            )
        return self

    @property
    def path(self) -> str:
        """The path, raw."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The query, raw and without its question mark."""
        return self.target.partition("?")[2]

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Names and values of the query, raw."""
        for pair in self.query.split("&"):
            if pair:
                name, _, value = pair.partition("=")
                yield name, value

    def all(self, name: str) -> list[str]:
        """Values of a header, given in lower case."""
        return list(self._named.get(name, ()))

    @functools.cached_property
    def _named(self) -> Mapping[str, list[str]]:
        """The values of each header, by its name in lower case."""
        found: dict[str, list[str]] = {}
        for name, value in self.headers:
            found.setdefault(name.lower(), []).append(value)
        return found

    def header(self, name: str) -> str:
        """The value of a header that may stand there once; empty where it is missing.

        Raises:
            AwsRefusal: it stands there twice.
        """
        values = self.all(name)
        if len(values) > 1:
            raise AwsRefusal("InvalidRequest", f"The header {name} appears twice.", 400)
        return values[0] if values else ""


def canonical_query(query: str) -> str:
    """The query as AWS signs it: decoded, encoded anew, sorted.

    For a query that botocore made this is the same as sorting the raw pairs.
    """
    pairs = []
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            pairs.append((_again(name), _again(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def decoded(text: str) -> str:
    """Percent-decoded text.

    Raises:
        AwsRefusal: it isn't UTF-8, or holds a NUL.
    """
    try:
        result = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise AwsRefusal("InvalidURI", "The path or query is not UTF-8.", 400) from None
    if "\0" in result:
        raise AwsRefusal("InvalidURI", "The path or query holds a NUL.", 400)
    return result


def _again(text: str) -> str:
    return quote(decoded(text), safe="-_.~")
