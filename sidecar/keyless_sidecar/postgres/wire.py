"""PostgreSQL's start-up protocol as bytes: parsing and building, no I/O.

What the client side sends is hostile, and so is what a server sends before it has proven who it
is: every length is checked, every text must be UTF-8 and end where its message says.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = [
    "MAX_STARTUP",
    "BackendKey",
    "CancelRequest",
    "EncryptionRequest",
    "Startup",
    "WireError",
    "authentication_request",
    "backend_key",
    "cancel_request",
    "error_response",
    "first_length",
    "message",
    "negotiate_version",
    "notice_fields",
    "parse_backend_key",
    "parse_first",
    "rewrite_texts",
    "ssl_request",
    "startup_message",
]

#: Longest first packet, as in PostgreSQL itself.
MAX_STARTUP = 10_000
MAX_PARAMETERS = 64
#: Longest secret of a BackendKeyData (protocol 3.2).
MAX_SECRET = 256

_MAJOR = 3
_CANCEL, _SSL, _GSS = 80877102, 80877103, 80877104
_INT = struct.Struct("!i")
_EXTENSION = "_pq_."


class WireError(Exception):
    """Bytes that are no message as the protocol has it; the message says which rule is broken."""


@dataclass(frozen=True)
class Startup:
    """A client's StartupMessage.

    Attributes:
        minor: minor version of protocol 3.
        parameters: settings by name, in the client's order.
        extensions: names of the protocol options (``_pq_.…``) that it asked for.
    """

    minor: int
    parameters: Mapping[str, str]
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True)
class CancelRequest:
    """A client wants the statement of a session ended."""

    pid: int
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class EncryptionRequest:
    """A client asks for TLS or for GSSAPI encryption."""

    kind: str


@dataclass(frozen=True)
class BackendKey:
    """What a server wants to see before it cancels a statement."""

    pid: int
    secret: bytes = field(repr=False)


def first_length(header: bytes) -> int:
    """How many bytes follow the four of a first packet's length.

    Raises:
        WireError: no length that a first packet may have.
    """
    length = int.from_bytes(header, "big")
    if not 8 <= length <= MAX_STARTUP:
        raise WireError("the first packet's length is invalid")
    return length - 4


def parse_first(body: bytes) -> Startup | CancelRequest | EncryptionRequest:
    """A client's first packet, without its length.

    Raises:
        WireError: it breaks the protocol, or asks for another major version.
    """
    if len(body) < 4:
        raise WireError("the first packet is too short")
    code = int.from_bytes(body[:4], "big")
    rest = body[4:]
    if code == _CANCEL:
        if not 8 <= len(rest) <= 4 + MAX_SECRET:
            raise WireError("the cancel request's length is invalid")
        return CancelRequest(int.from_bytes(rest[:4], "big", signed=True), rest[4:])
    if code in (_SSL, _GSS):
        if rest:
            raise WireError("an encryption request holds more than its code")
        return EncryptionRequest("ssl" if code == _SSL else "gss")
    major, minor = divmod(code, 1 << 16)
    if major != _MAJOR:
        raise WireError("only protocol 3 is spoken here")
    parameters = _pairs(rest)
    extensions = tuple(name for name in parameters if name.startswith(_EXTENSION))
    for name in extensions:
        del parameters[name]
    return Startup(minor, parameters, extensions)


def _pairs(data: bytes) -> dict[str, str]:
    """NUL-terminated names and values; an empty name, which is the last byte, ends them."""
    found: dict[str, str] = {}
    at = 0
    while True:
        name, at = _string(data, at)
        if not name:
            break
        value, at = _string(data, at)
        if name in found:
            raise WireError("a start-up parameter is there twice")
        found[name] = value
        if len(found) > MAX_PARAMETERS:
            raise WireError("there are too many start-up parameters")
    if at != len(data):
        raise WireError("the start-up packet goes on after its end")
    return found


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.find(b"\0", at)
    if end < 0:
        raise WireError("a text in the packet has no end")
    try:
        return data[at:end].decode(), end + 1
    except UnicodeDecodeError:
        raise WireError("a text in the packet is not UTF-8") from None


def message(kind: bytes, body: bytes = b"") -> bytes:
    """A message with its type byte and length."""
    return kind + _INT.pack(len(body) + 4) + body


def startup_message(parameters: Mapping[str, str]) -> bytes:
    """A StartupMessage of protocol 3.0.

    Raises:
        WireError: a name is empty, or a text holds a NUL or isn't Unicode.
    """
    body = _INT.pack(_MAJOR << 16)
    for name, value in parameters.items():
        if not name or "\0" in name or "\0" in value:
            raise WireError("a start-up parameter can't be sent")
        try:
            body += name.encode() + b"\0" + value.encode() + b"\0"
        except UnicodeEncodeError:
            raise WireError("a start-up parameter can't be sent") from None
    body += b"\0"
    return _INT.pack(len(body) + 4) + body


def ssl_request() -> bytes:
    """Ask a server for TLS."""
    return struct.pack("!ii", 8, _SSL)


def cancel_request(key: BackendKey) -> bytes:
    """Ask a server to end the statement of a session."""
    return struct.pack("!iii", 12 + len(key.secret), _CANCEL, key.pid) + key.secret


def authentication_request(code: int, data: bytes = b"") -> bytes:
    """A server's authentication message; code 0 is AuthenticationOk."""
    return message(b"R", _INT.pack(code) + data)


def backend_key(key: BackendKey) -> bytes:
    """BackendKeyData."""
    return message(b"K", _INT.pack(key.pid) + key.secret)


def parse_backend_key(body: bytes) -> BackendKey:
    """The body of BackendKeyData.

    Raises:
        WireError: its length is wrong.
    """
    if not 8 <= len(body) <= 4 + MAX_SECRET:
        raise WireError("the server's cancel key has no valid length")
    return BackendKey(int.from_bytes(body[:4], "big", signed=True), body[4:])


def negotiate_version(extensions: Sequence[str]) -> bytes:
    """NegotiateProtocolVersion: 3.0 it is, and none of these options."""
    body = struct.pack("!ii", _MAJOR << 16, len(extensions))
    return message(b"v", body + b"".join(name.encode() + b"\0" for name in extensions))


def error_response(sentence: str, code: str, *, hint: str = "", detail: str = "") -> bytes:
    """An ErrorResponse that ends the connection (severity FATAL)."""
    fields = {"S": "FATAL", "V": "FATAL", "C": code, "M": sentence, "D": detail, "H": hint}
    body = b"".join(
        kind.encode() + text.replace("\0", "").encode(errors="replace") + b"\0"
        for kind, text in fields.items()
        if text
    )
    return message(b"E", body + b"\0")


def notice_fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse; wrong bytes in a text are replaced.

    Raises:
        WireError: it isn't laid out as one.
    """
    found: dict[str, str] = {}
    at = 0
    while True:
        if at >= len(body):
            raise WireError("the server's error message has no end")
        if body[at] == 0:
            break
        end = body.find(b"\0", at)
        if end < 0:
            raise WireError("the server's error message has no end")
        found.setdefault(chr(body[at]), body[at + 1 : end].decode(errors="replace"))
        at = end + 1
    if at + 1 != len(body):
        raise WireError("the server's error message goes on after its end")
    return found


def rewrite_texts(body: bytes, change: Callable[[str], str]) -> bytes:
    """A message that consists of NUL-terminated texts, each of them changed.

    It fits ParameterStatus, and NoticeResponse too (whose type bytes are then part of the texts).
    """
    return b"\0".join(
        change(text.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        for text in body.split(b"\0")
    )
