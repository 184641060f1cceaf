"""Bodies read strictly: JSON, CBOR, XML and forms, where two readers can't read two things."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

from keyless_sidecar.egress.aws.refusal import IdentifyError

__all__ = ["read_cbor", "read_encoded", "read_form", "read_json", "read_xml"]

_MAX_PLAIN = 64 * 1024 * 1024
_MAX_DEPTH = 64


def read_encoded(body: bytes, encoding: str) -> bytes:
    """A body without the compression that its ``Content-Encoding`` says.

    Raises:
        IdentifyError: it isn't compressed so, or is compressed in a way that is not known here.
    """
    if not body or encoding.lower() in ("", "identity"):
        return body
    if encoding.lower() != "gzip":
        raise IdentifyError("The body is encoded in a way that can't be read here; use gzip.")
    unpacker = zlib.decompressobj(31)
    try:
        plain = unpacker.decompress(body, _MAX_PLAIN)
    except zlib.error:
        raise IdentifyError("The body is not valid gzip.") from None
    if not unpacker.eof or unpacker.unused_data:
        raise IdentifyError("The body is not one gzip stream of a size that can be read here.")
    return plain


def read_json(body: bytes) -> Any:
    """A JSON value; an empty body is an empty object.

    Raises:
        IdentifyError: it isn't JSON, or an object has a name twice.
    """
    if not body.strip():
        return {}
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_constant)
    except (ValueError, RecursionError):
        raise IdentifyError("The body is not valid JSON.") from None


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise IdentifyError("The body names a parameter twice; name each once.")
    return result


def _constant(text: str) -> str:
    return text  # NaN and Infinity, which botocore writes as text anyway


def read_form(text: str) -> dict[str, str]:
    """A form, or a query.

    Raises:
        IdentifyError: it isn't one, or has a name twice.
    """
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), errors="strict",
            max_num_fields=100_000,
        )  # fmt: skip
    except ValueError:
        raise IdentifyError("The form is malformed.") from None
    result = dict(pairs)
    if len(result) != len(pairs):
        raise IdentifyError("The request names a parameter twice; name each once.")
    return result


def read_xml(body: bytes) -> ElementTree.Element | None:
    """An XML document; None for an empty body.

    Raises:
        IdentifyError: it isn't XML in UTF-8, or declares a document type.
    """
    if not body.strip():
        return None
    try:
        text = body.decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text or "\0" in text:
            raise IdentifyError("The body's XML must not declare a document type.")
        start = text.lstrip()[:200]
        if start.startswith("<?xml") and "encoding" in start.partition("?>")[0]:
            declared = start.partition("?>")[0].lower()
            if "utf-8" not in declared:
                raise IdentifyError("The body's XML must be in UTF-8.")
        return ElementTree.fromstring(text.encode())  # noqa: S314 (no document type, no entities)
    except (ValueError, ElementTree.ParseError):
        raise IdentifyError("The body is not valid XML.") from None


def read_cbor(body: bytes) -> Any:
    """A CBOR value; an empty body is an empty map.

    Raises:
        IdentifyError: it isn't CBOR, a map has a name twice, or something follows it.
    """
    if not body:
        return {}
    try:
        value, end = _item(body, 0, 0)
    except (IndexError, struct.error, UnicodeDecodeError):
        raise IdentifyError("The body is not valid CBOR.") from None
    if end != len(body):
        raise IdentifyError("The body goes on after its CBOR.")
    return value


_BREAK = object()
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_SIMPLE = {20: False, 21: True, 22: None, 23: None}


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """An item, and where the next begins."""
    if depth > _MAX_DEPTH:
        raise IdentifyError("The parameters are nested too deep.")
    kind, info = data[at] >> 5, data[at] & 31
    at += 1
    if kind == 7:
        if info == 31:
            return _BREAK, at
        if info in _FLOATS:
            size = struct.calcsize(_FLOATS[info])
            return struct.unpack_from(_FLOATS[info], data, at)[0], at + size
        if info in _SIMPLE:
            return _SIMPLE[info], at
        raise IdentifyError("The body is not valid CBOR.")
    length: int | None = info
    if info == 31 and kind in (2, 3, 4, 5):
        length = None
    elif info >= 28:
        raise IdentifyError("The body is not valid CBOR.")
    elif info >= 24:
        size = 1 << (info - 24)
        length = int.from_bytes(_slice(data, at, size), "big")
        at += size
    return _content(data, at, kind, length, depth)


def _content(data: bytes, at: int, kind: int, length: int | None, depth: int) -> tuple[Any, int]:
    if kind == 0:
        return length, at
    if kind == 1:
        return -1 - (length or 0), at
    if kind in (2, 3):
        return _text(data, at, kind, length, depth)
    if kind == 6:
        return _item(data, at, depth + 1)
    items: list[Any] = []
    count = None if length is None else length * (2 if kind == 5 else 1)
    while count is None or len(items) < count:
        value, at = _item(data, at, depth + 1)
        if value is _BREAK:
            if count is not None:
                raise IdentifyError("The body is not valid CBOR.")
            break
        items.append(value)
    if kind == 4:
        return items, at
    names = items[::2]
    if len(items) % 2 or not all(isinstance(name, str) for name in names):
        raise IdentifyError("The body is not valid CBOR.")
    return _unique(list(zip(names, items[1::2], strict=True))), at


def _text(data: bytes, at: int, kind: int, length: int | None, depth: int) -> tuple[Any, int]:
    if length is not None:
        raw = _slice(data, at, length)
        return (raw if kind == 2 else raw.decode()), at + length
    parts: list[Any] = []
    while True:
        if data[at] != 0xFF and data[at] >> 5 != kind:
            raise IdentifyError("The body is not valid CBOR.")
        value, at = _item(data, at, depth + 1)
        if value is _BREAK:
            break
        parts.append(value)
    return (b"" if kind == 2 else "").join(parts), at


def _slice(data: bytes, at: int, length: int) -> bytes:
    if at + length > len(data):
        raise IndexError
    return data[at : at + length]
