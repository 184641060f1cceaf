"""The forms in which a leaking tool may print a secret; shared by the sanitizer's tests."""

from __future__ import annotations

import base64
import binascii
import codecs
import gzip
import html
import json
import shlex
import urllib.parse
import zlib
from collections.abc import Callable


def _xxd(value: bytes, lead: bytes = b"") -> bytes:
    data = lead + value
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        pairs = " ".join(row[i : i + 2].hex() for i in range(0, len(row), 2))
        text = "".join(chr(c) if 32 <= c < 127 else "." for c in row)
        lines.append(f"{at:08x}: {pairs:<39}  {text}\n")
    return "".join(lines).encode()


def _hexdump(value: bytes) -> bytes:
    lines = []
    for at in range(0, len(value), 16):
        row = value[at : at + 16]
        left, right = row[:8].hex(" "), row[8:].hex(" ")
        text = "".join(chr(c) if 32 <= c < 127 else "." for c in row)
        lines.append(f"{at:08x}  {left:<23}  {right:<23}  |{text}|\n")
    return "".join(lines).encode()


def _od(value: bytes) -> bytes:
    rows = [value[at : at + 16] for at in range(0, len(value), 16)]
    return "".join(f"{at * 16:06x} {row.hex(' ')}\n" for at, row in enumerate(rows)).encode()


def _each(form: Callable[[int], str]) -> Callable[[bytes], bytes]:
    return lambda value: "".join(map(form, value)).encode()


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda v: v,
    "base64": base64.b64encode,
    "base64 after 1": lambda v: base64.b64encode(b"x" + v + b"\n"),
    "base64 after 2": lambda v: base64.b64encode(b"xy" + v + b"\n"),
    "base64url": lambda v: base64.urlsafe_b64encode(b"\xff\xfe" + v),
    "base64 wrapped": lambda v: base64.encodebytes(b"user:" * 9 + v + b":" + b"z" * 80),
    "base64 twice": lambda v: base64.b64encode(base64.b64encode(v)),
    "base64 twice after": lambda v: base64.b64encode(b"k=" + base64.b64encode(b"u:" + v)),
    "base64 of utf-16": lambda v: base64.b64encode(v.decode().encode("utf-16-le")),
    "base64 of gzip": lambda v: base64.b64encode(gzip.compress(b"a=" + v, mtime=0)),
    "base64 of zlib": lambda v: base64.b64encode(zlib.compress(b"env " + v)),
    "base64 of gzip wrapped": lambda v: base64.encodebytes(
        gzip.compress(bytes(range(200)) + v, mtime=0)
    ),
    "hex": lambda v: v.hex().encode(),
    "hex upper": lambda v: v.hex().upper().encode(),
    "hex colons": lambda v: v.hex(":").encode(),
    "hex spaces": lambda v: v.hex(" ").upper().encode(),
    "hex list": lambda v: ", ".join(f"0x{c:02x}" for c in v).encode(),
    "hex escapes": _each(lambda c: f"\\x{c:02x}"),
    "xxd": _xxd,
    "xxd inside": lambda v: _xxd(v, b"TOKEN="),
    "xxd late": lambda v: _xxd(v, b"SOME_TOKEN=12"),
    "hexdump": _hexdump,
    "od": _od,
    "base32": base64.b32encode,
    "base32 after 3": lambda v: base64.b32encode(b"abc" + v),
    "url": lambda v: urllib.parse.quote(v, "").encode(),
    "url every byte": _each(lambda c: f"%{c:02X}"),
    "url in part": _each(lambda c: f"%{c:02x}" if c % 3 == 0 else urllib.parse.quote(bytes([c]))),
    "json": lambda v: json.dumps({"token": v.decode()}).encode(),
    "json of json": lambda v: json.dumps(json.dumps(v.decode())).encode(),
    "unicode escapes": _each(lambda c: f"\\u{c:04x}"),
    "html": lambda v: html.escape(v.decode()).encode(),
    "html decimal": _each(lambda c: f"&#{c};"),
    "html hex": _each(lambda c: f"&#x{c:x};"),
    "backslashes": _each(lambda c: "\\" + chr(c)),
    "shell quotes": lambda v: shlex.quote(v.decode()).encode(),
    "octal escapes": _each(lambda c: f"\\{c:03o}"),
    "octal numbers": lambda v: " ".join(f"{c:03o}" for c in v).encode(),
    "utf-16": lambda v: v.decode().encode("utf-16-le"),
    "utf-16-be": lambda v: v.decode().encode("utf-16-be"),
    "utf-32": lambda v: v.decode().encode("utf-32-le"),
    "reversed": lambda v: v[::-1],
    "rot13": lambda v: codecs.encode(v.decode(), "rot13").encode(),
    "swapcase": lambda v: v.swapcase(),
    "upper": lambda v: v.upper(),
    "lower": lambda v: v.lower(),
    "one a line": lambda v: b"\n".join(bytes([c]) for c in v),
    "dashes": lambda v: b"-".join(bytes([c]) for c in v),
    "spaces": lambda v: b" ".join(bytes([c]) for c in v),
    "numbers": lambda v: " ".join(map(str, v)).encode(),
    "number list": lambda v: str(list(v)).encode(),
    "colours": lambda v: b"\x1b[31m" + v[:9] + b"\x1b[0m\x1b[1m" + v[9:] + b"\x1b[0m",
    "colour each": _each(lambda c: f"\x1b[3{c % 8}m{chr(c)}"),
    "title between": lambda v: v[:7] + b"\x1b]0;hello\x07" + v[7:],
    "zero width": lambda v: "\u200b".join(v.decode()).encode(),
    "soft hyphens": lambda v: "\u00ad".join(v.decode()).encode(),
    "backspaces": _each(lambda c: chr(c) + "x\b"),
    "overstrike": _each(lambda c: chr(c) + "\b" + chr(c)),
    "carriage return": lambda v: b"xxxxx\r" + v[:10] + b"\r\x1b[10C" + v[10:],
    "cursor": lambda v: v[:8] + b"\x1b[2;5H" + v[8:],
    "pem": lambda v: b"-----BEGIN KEY-----\n" + v + b"\n-----END KEY-----",
    "first half": lambda v: v[: len(v) // 2],
    "last half": lambda v: v[len(v) // 2 :],
    "cut off": lambda v: v[:16] + b"...",
    "trace": lambda v: b"RuntimeError: bad token " + v + b"\n  at line 3",
}


def recoverable(output: bytes, value: bytes) -> bool:
    """Whether a reader with simple tools gets 12 or more characters of `value` from `output`."""
    pieces = [value[at : at + 12] for at in range(len(value) - 11)] or [value]
    views = [
        output,
        output[::-1],
        output.replace(b"\0", b""),
        bytes(c for c in output if chr(c).isalnum()),
        urllib.parse.unquote_to_bytes(output),
        output.swapcase(),
        codecs.encode(output.decode("latin-1"), "rot13").encode("latin-1"),
    ]
    digits = bytes(c for c in output if c in b"0123456789abcdefABCDEF")
    for lead in range(2):
        even = digits[lead:][: (len(digits) - lead) // 2 * 2]
        views.append(binascii.unhexlify(even))
    letters = bytes(c for c in output.replace(b"-", b"+").replace(b"_", b"/") if chr(c) in _B64)
    for lead in range(4):
        views.append(base64.b64decode(letters[lead:][: (len(letters) - lead) // 4 * 4]))
    return any(piece in view for view in views for piece in pieces)


_B64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
