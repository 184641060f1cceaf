"""A call's answer as the kernel may have it: plain values, searched for secrets, coded.

Credentials that AWS handed out are placeholders already when an answer comes here; this is the
second wall.  Called in a thread.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from keyless.protocol.calls import MAX_ANSWER, MAX_PIECE
from keyless_sidecar.calls.content import TooMuch
from keyless_sidecar.cleaning import clean
from keyless_sidecar.sanitize import Patterns, StreamSanitizer, scan_file

__all__ = ["encode", "pieces", "sanitized"]

_WITHHELD = b"[withheld: what is compressed in it holds a secret]"
_MOST_DEEP = 200


def sanitized(patterns: Patterns, answer: Mapping[str, Any]) -> tuple[dict[str, Any], Counter[str]]:
    """The answer with its secrets replaced, and how many of each.

    Args:
        patterns: what may not be in it.
        answer: as botocore gives it.
    """
    cleaner = _Cleaner(patterns)
    return cleaner.mapping(answer, 0), cleaner.found


def encode(answer: Mapping[str, Any]) -> bytes:
    """The answer as one MessagePack value.

    Raises:
        TooMuch: it is larger than an answer may be.
    """
    data = msgspec.msgpack.encode(answer)
    if len(data) > MAX_ANSWER:
        raise TooMuch(
            f"The answer has {len(data)} bytes, and {MAX_ANSWER} can be shown; ask for less of it."
        )
    return data


def pieces(data: bytes) -> Iterator[bytes]:
    """An encoded answer in pieces that fit a message."""
    for start in range(0, len(data), MAX_PIECE):
        yield data[start : start + MAX_PIECE]


class _Cleaner:
    """Cleans the values of one answer."""

    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns
        self.found: Counter[str] = Counter()

    def mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        return {self._text(str(name)): self._value(each, depth + 1) for name, each in value.items()}

    def _value(self, value: Any, depth: int) -> Any:
        if depth > _MOST_DEEP:
            return "…"
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, bytes | bytearray):
            return self._bytes(bytes(value))
        if isinstance(value, Mapping):
            return self.mapping(value, depth)
        if isinstance(value, list | tuple | set):
            return [self._value(each, depth + 1) for each in value]
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            return str(value)
        if value is None or isinstance(value, bool | int | float | datetime):
            return value
        return self._text(str(value))

    def _text(self, text: str) -> str:
        cleaned = clean(self._patterns, text, self.found)
        try:
            cleaned.encode()
        except UnicodeEncodeError:
            cleaned = cleaned.encode("utf-8", "replace").decode()
        return cleaned

    def _bytes(self, data: bytes) -> bytes:
        sanitizer = StreamSanitizer(self._patterns)
        cleaned = sanitizer.feed(data) + sanitizer.finish()
        self.found.update(sanitizer.redactions)
        packed = self._packed(cleaned)
        self.found.update(packed)
        return _WITHHELD if packed else cleaned

    def _packed(self, data: bytes) -> dict[str, int]:
        """Secrets in what is compressed in it."""
        descriptor = os.memfd_create("keyless-answer", os.MFD_CLOEXEC)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            return scan_file(self._patterns, descriptor)
        finally:
            os.close(descriptor)
