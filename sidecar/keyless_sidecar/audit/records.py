"""One audit record as a line of bytes, and how the lines hold together.  No I/O.

A line is canonical JSON: sorted keys, no spaces, ASCII only, so control and bidirectional
characters stand in it escaped.  Its ``hash`` covers all the rest of the record, with the hash of
the line before it in ``prev``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["CLOSE", "MAX_LINE", "OPEN", "ZERO", "BadLine", "encode", "parse", "shorten"]

#: Kind of the first record of a file.
OPEN = "audit.open"
#: Kind of the last record of a file that ended normally.
CLOSE = "audit.close"
#: What the first record names as the hash before it.
ZERO = "0" * 64
#: Longest line in bytes.
MAX_LINE = 4 * 1024 * 1024
#: Longest text, and longest list or mapping, that a record keeps whole.
MAX_TEXT, MAX_ITEMS = 4096, 512

_KEYS = {"seq", "time", "record_id", "kind", "fields", "prev", "hash"}


class BadLine(Exception):
    """A line is no record of ours; the message says why."""


def encode(record: Mapping[str, Any]) -> tuple[bytes, str]:
    """The line for a record without its ``hash``, and that hash.

    Args:
        record: all else that a record has.

    Raises:
        ValueError: it can't be written as JSON, or is longer than :data:`MAX_LINE`.
        TypeError: likewise.
    """
    # Keys are sorted, so the hash stands right behind the fields, which are the first.
    fields = b'{"fields":' + _canonical(record["fields"])
    rest = b"," + _canonical({name: record[name] for name in record if name != "fields"})[1:]
    digest = hashlib.sha256(fields + rest).hexdigest()
    line = b'%b,"hash":"%b"%b\n' % (fields, digest.encode(), rest)
    if len(line) > MAX_LINE:
        raise ValueError(f"an audit record may have {MAX_LINE} bytes, this one has {len(line)}")
    return line, digest


def parse(line: bytes) -> dict[str, Any]:
    """Read one line (without its end) and check its own hash.

    Raises:
        BadLine: it isn't exactly as this module writes records.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise BadLine("it is no JSON") from None
    if not isinstance(record, dict) or set(record) != _KEYS:
        raise BadLine("it has not the fields of a record")
    digest = record.pop("hash")
    body = _canonical(record)
    # Byte for byte: the same record in another spelling wasn't written by us.
    if _canonical({**record, "hash": digest}) != line:
        raise BadLine("it is not written as a record is")
    if hashlib.sha256(body).hexdigest() != digest:
        raise BadLine("its content doesn't match its hash")
    return {**record, "hash": digest}


def shorten(value: Any) -> Any:
    """Bring a field down to a size that a request can't blow up, with the digest of what is cut."""
    if isinstance(value, str):
        if len(value) <= MAX_TEXT:
            return value
        cut = value[MAX_TEXT:]
        return f"{value[:MAX_TEXT]}…[{len(cut)} more, sha256 {_digest(value)}]"
    if isinstance(value, list | tuple):
        kept = [shorten(item) for item in value[:MAX_ITEMS]]
        if len(value) > MAX_ITEMS:
            kept.append(f"…[{len(value) - MAX_ITEMS} more, sha256 {_digest(list(value))}]")
        return kept
    if isinstance(value, Mapping):
        items = list(value.items())
        return {str(key): shorten(item) for key, item in items[:MAX_ITEMS]}
    return value


def _digest(value: Any) -> str:
    return hashlib.sha256(_canonical(value)).hexdigest()


_encoder = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)


def _canonical(value: Any) -> bytes:
    return _encoder.encode(value).encode("ascii")
