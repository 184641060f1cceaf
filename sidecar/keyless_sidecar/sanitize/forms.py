"""Turns one secret value into the byte patterns that the sanitizer looks for.

Called by `Patterns.build`. Two projections of a stream are searched (see `index`): `letters` keeps
only ASCII letters and digits, `visible` keeps everything but white space and control characters.
A pattern is a *window* of an encoded value in one of these projections: long encodings are covered
by overlapping windows, so that a part of a value (its first or last half, a value cut off by a
table) is found too, and so that a stream has to hold back only one window.
"""

from __future__ import annotations

import base64
import codecs
import json
import math
import re
import shlex
from collections.abc import Callable, Iterator

from .weakness import distinctive, weakness

LETTERS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LETTERS_NOISE = bytes(c for c in range(256) if c not in LETTERS)
VISIBLE_NOISE = bytes(range(0x21)) + b"\x7f"

SHORTEST = 8  # characters of a pattern, after projection
LONGEST = 64
_RAW_WINDOW = 12

_LINE_ENDS = re.compile(rb"\r\n|\n|\r|\\r\\n|\\n")


def segments(value: bytes) -> list[bytes]:
    """The parts of a value to hide: itself, or each distinctive line of a multi-line value."""
    value = value.strip()
    lines = [line.strip() for line in _LINE_ENDS.split(value)]
    if len(lines) == 1:
        return [value]
    telling = [
        line for line in lines if len(line) >= 12 and distinctive(line) and weakness(line) is None
    ]
    short = [line for line in lines[-1:] if SHORTEST <= len(line) < 12 and weakness(line) is None]
    return telling + short if telling else [value]


def letters_patterns(segment: bytes) -> Iterator[bytes]:
    """Patterns for the projection that keeps only ASCII letters and digits."""
    plain = segment.translate(None, LETTERS_NOISE)
    if len(plain) >= SHORTEST and weakness(plain) is None:
        for form in _raw_forms(segment):
            yield from _windows(form, LETTERS_NOISE, form, _RAW_WINDOW)
    for form, width in _encodings(segment):
        yield from _windows(form, LETTERS_NOISE, segment, width)


def visible_patterns(segment: bytes) -> Iterator[bytes]:
    """Patterns for the projection that keeps symbols: values which are not mainly letters.

    Yields nothing for a value that the letters alone identify well.
    """
    letters = len(segment.translate(None, LETTERS_NOISE))
    ends = len(segment) - len(segment.strip(LETTERS_NOISE.replace(b"=", b"")))
    if letters >= _RAW_WINDOW and letters >= 0.7 * len(segment) and ends < 3:
        return
    for form in _raw_forms(segment):
        yield from _windows(form, VISIBLE_NOISE, form, _RAW_WINDOW)
    for form in _quoted(segment):
        yield from _windows(form, VISIBLE_NOISE, form, 40)
    for form, width in _encodings(segment):
        if len(form.translate(None, LETTERS_NOISE)) < SHORTEST:
            yield from _windows(form, VISIBLE_NOISE, segment, width)
            yield from _windows(
                form.replace(b"+", b"-").replace(b"/", b"_"), VISIBLE_NOISE, segment, width
            )


def _raw_forms(value: bytes) -> Iterator[bytes]:
    yield value
    yield value[::-1]
    yield value.swapcase()
    yield value.upper()
    yield value.lower()
    text = _text(value)
    if text is None:
        return
    yield codecs.encode(text, "rot13").encode()
    if not text.isascii():
        yield text[::-1].encode()
        for codec in ("latin-1", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
            try:
                yield text.encode(codec)
            except UnicodeEncodeError:
                continue


def _quoted(value: bytes) -> Iterator[bytes]:
    """Escaped forms whose escapes are part of the visible text (the value holds symbols)."""
    text = _text(value)
    if text is None:
        return
    inner = json.dumps(text)[1:-1]
    yield inner.encode()
    yield json.dumps(inner)[1:-1].encode()
    yield json.dumps(text, ensure_ascii=False)[1:-1].encode()
    yield repr(text)[1:-1].encode()
    yield shlex.quote(text).strip("'").encode()
    yield text.replace("'", "'\\''").encode()


def _encodings(value: bytes) -> Iterator[tuple[bytes, int]]:
    """(encoded text, width of a window in characters); a window covers 12 or more bytes."""
    for form in _base64_forms(value):
        yield form, 16
        for outer in _base64_forms(form):
            yield outer, 24
    yield value.hex().encode(), 24
    yield value.hex().upper().encode(), 24
    for lead in range(5):
        yield _core(value, lead, 5, base64.b32encode), 20
    yield "".join(map(str, value)).encode(), 32
    yield "".join(f"{c:03o}" for c in value).encode(), 36
    text = _text(value)
    if text is not None:
        for form in _base64_forms(text.encode("utf-16-le")):
            yield form, 32


def _base64_forms(value: bytes) -> Iterator[bytes]:
    for lead in range(3):
        yield _core(value, lead, 6, base64.b64encode)


def _core(value: bytes, lead: int, bits: int, encode: Callable[[bytes], bytes]) -> bytes:
    """The encoded characters that depend on `value` alone when `lead` bytes come before it."""
    encoded = encode(b"\0" * lead + value)
    return encoded[math.ceil(lead * 8 / bits) : (lead + len(value)) * 8 // bits]


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _windows(form: bytes, noise: bytes, source: bytes, width: int) -> Iterator[bytes]:
    """Overlapping windows of the projected form that cover it from end to end.

    A window over a part that isn't distinctive (a host name in a URL) grows until it is; where it
    never gets so, it is left out unless no window of the form is distinctive.
    """
    text = form.translate(None, noise)
    if len(text) < SHORTEST:
        return
    ratio = len(source) / len(text)
    good: list[bytes] = []
    rest: list[bytes] = []
    for start in _starts(len(text), width):
        end = min(start + width, len(text))
        if len(text) <= width * 3 // 2:
            end = len(text)

        def telling(a: int, b: int) -> bool:
            return distinctive(source[int(a * ratio) : math.ceil(b * ratio)])

        while not telling(start, end) and end - start < LONGEST and (end < len(text) or start):
            if end < len(text):
                end += 1
            else:
                start -= 1
        (good if telling(start, end) else rest).append(text[start:end])
    yield from good or rest


def _starts(length: int, width: int) -> list[int]:
    if length <= width * 3 // 2:
        return [0]
    count = math.ceil((length - 1) / (width - 1))
    return [round(i * (length - width) / (count - 1)) for i in range(count)]
