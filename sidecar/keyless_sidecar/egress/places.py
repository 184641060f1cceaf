"""Where in an HTTP request a placeholder token may stand, and how the real one is put there.  Pure.

A place is declared as a text::

    header:PRIVATE-TOKEN           the whole value of a header
    header:Authorization:Bearer    with a scheme before it
    basic                          user name or password of Basic authentication (git, curl -u)
    query:api_key                  a query parameter; never on by default, since servers log URLs
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Literal, Self
from urllib.parse import quote, unquote_plus

__all__ = ["Place", "Slot", "find"]

_DECLARED = re.compile(
    r"(?P<basic>basic)|header:(?P<header>[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64})"
    r"(?::(?P<scheme>[A-Za-z][A-Za-z0-9._-]{0,31}))?|query:(?P<query>[A-Za-z0-9._-]{1,64})"
)
#: Headers that frame or route a message; no token belongs there.
_NEVER = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "expect", "te", "upgrade"}
)
#: What may stand in a header's value without being read as something else.
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+(?: +[\x21-\x7e]+)*")


@dataclasses.dataclass(frozen=True)
class Place:
    """One place, as declared.

    Attributes:
        kind: ``header``, ``basic`` or ``query``.
        name: of the header or parameter.
        scheme: before the token in the header's value; empty for none.
    """

    kind: Literal["header", "basic", "query"]
    name: str = ""
    scheme: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a declaration.

        Raises:
            ValueError: it is none; one sentence.
        """
        found = _DECLARED.fullmatch(text)
        if found is None or (found["header"] or "").lower() in _NEVER:
            raise ValueError(
                "A place for a token is header:NAME, header:NAME:SCHEME, basic or query:NAME"
            )
        if found["basic"]:
            return cls("basic")
        if found["query"]:
            return cls("query", found["query"])
        return cls("header", found["header"], found["scheme"] or "")


@dataclasses.dataclass(frozen=True)
class Slot:
    """A place in a request where a placeholder was found; `fill` puts the real value there."""

    fill: Callable[[str, str], tuple[str, list[tuple[str, str]]]]


def find(
    place: Place, placeholder: str, target: str, headers: Sequence[tuple[str, str]]
) -> Slot | None:
    """The slot where a placeholder stands in its place; None where it doesn't.

    A header that is sent twice holds no slot: what would count is up to the server.

    Returns:
        A slot whose ``fill(value, username)`` gives the target and headers with the real value, and
        raises ValueError where the value can't stand there.  ``username`` replaces that of Basic
        authentication unless it is empty.
    """
    if place.kind == "query":
        return _in_query(place, placeholder, target, list(headers))
    name = "authorization" if place.kind == "basic" else place.name.lower()
    at = [index for index, (other, _) in enumerate(headers) if other.lower() == name]
    if len(at) != 1:
        return None
    sent_name, sent = headers[at[0]]
    if place.kind == "basic":
        return _in_basic(placeholder, target, list(headers), at[0], sent)
    before = sent[: len(sent) - len(placeholder)]
    wanted = f"{place.scheme} " if place.scheme else ""
    if before + placeholder != sent or before.lower() != wanted.lower():
        return None

    def fill(value: str, _: str) -> tuple[str, list[tuple[str, str]]]:
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError("it has characters that no header can carry")
        return target, _with(headers, at[0], (sent_name, before + value))

    return Slot(fill)


def _in_basic(
    placeholder: str, target: str, headers: list[tuple[str, str]], at: int, sent: str
) -> Slot | None:
    scheme, _, coded = sent.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(coded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    if placeholder not in (user, password):
        return None

    def fill(value: str, username: str) -> tuple[str, list[tuple[str, str]]]:
        name = value if user == placeholder else username or user
        if ":" in name:
            raise ValueError("it has a colon, which no user name can carry")
        word = value if password == placeholder else password
        both = base64.b64encode(f"{name}:{word}".encode()).decode()
        return target, _with(headers, at, (headers[at][0], f"{scheme} {both}"))

    return Slot(fill)


def _in_query(
    place: Place, placeholder: str, target: str, headers: list[tuple[str, str]]
) -> Slot | None:
    path, mark, query = target.partition("?")
    pairs = query.split("&") if mark else []
    at = [
        index
        for index, pair in enumerate(pairs)
        if unquote_plus(pair.partition("=")[0]) == place.name
    ]
    if len(at) != 1 or unquote_plus(pairs[at[0]].partition("=")[2]) != placeholder:
        return None

    def fill(value: str, _: str) -> tuple[str, list[tuple[str, str]]]:
        pair = f"{pairs[at[0]].partition('=')[0]}={quote(value, safe='')}"
        changed = [*pairs[: at[0]], pair, *pairs[at[0] + 1 :]]
        return f"{path}?{'&'.join(changed)}", headers

    return Slot(fill)


def _with(
    headers: Sequence[tuple[str, str]], at: int, header: tuple[str, str]
) -> list[tuple[str, str]]:
    return [*headers[:at], header, *headers[at + 1 :]]
