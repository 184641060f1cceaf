"""Looks for secrets the way a patient attacker would: through encodings, archives and attributes.

The judge of the attack tests.  It shares no code with the sidecar's sanitizer, and works the other
way round: the sanitizer searches for encoded values, this decodes whatever it finds.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import contextlib
import html
import io
import json
import os
import re
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Characters of a value, in a row, that count as having it.
PART = 16
_BLOCK = PART // 2
#: Encodings within encodings; in a haystack (beyond so many bytes) only one.
DEPTH = 3
HAYSTACK = 256 * 1024
#: Most bytes that are decoded, and that a compressed piece may give.
_MOST = 32 * 1024 * 1024

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{20,}={0,2}")
_BASE32 = re.compile(rb"[A-Z2-7]{24,}")
_HEX = re.compile(rb"(?:(?:\\x)?[0-9A-Fa-f]{2}[ :\n]?){14,}")
_XXD = re.compile(rb"(?m)^[0-9a-f]{6,8}:?\s+((?:[0-9a-f]{2,4} ?){1,16})")
_NUMBERS = re.compile(rb"(?:\d{2,3}[ ,\n]+){14,}\d{2,3}")
_ANSI = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]")
_INVISIBLE = re.compile(rb"\xe2\x80[\x8b-\x8f]|\xe2\x81\xa0|\xef\xbb\xbf")
_UNICODE = re.compile(rb"\\u00([0-9a-fA-F]{2})")
_PACKED = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")


@dataclass(frozen=True)
class Find:
    """A secret that got out."""

    name: str
    where: str
    form: str

    def __str__(self) -> str:
        return f"{self.name} in {self.where} ({self.form})"


class Hunter:
    """Searches for some secrets.

    Args:
        secrets: values by the name that a find gives them.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        # Whoever has PART characters in a row has one of these blocks whole.
        self._blocks: dict[bytes, list[tuple[str, str, bytes, int]]] = {}
        for name, value in secrets.items():
            for form, text in _spellings(value).items():
                whole = text.encode()
                for start in range(0, len(whole) - _BLOCK + 1, _BLOCK):
                    block = whole[start : start + _BLOCK]
                    self._blocks.setdefault(block, []).append((name, form, whole, start))

    def _search(self, view: bytes) -> Iterator[tuple[str, str]]:
        """Name and spelling of what stands in ``view`` as it is."""
        for block, origins in self._blocks.items():
            place = view.find(block)
            while place >= 0:
                for name, form, whole, start in origins:
                    if _run(view, place, whole, start) >= min(PART, len(whole)):
                        yield name, form
                place = view.find(block, place + 1)

    def data(self, data: bytes | str, where: str) -> list[Find]:
        """Search bytes or text, and whatever can be decoded from them."""
        raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        found: set[Find] = set()
        seen: set[bytes] = set()
        todo = [(raw, "", 0)]
        most = DEPTH if len(raw) < HAYSTACK else 1
        if isinstance(data, str) and not data.isascii():
            todo.append((data.encode("latin-1", "replace"), "Latin-1", 0))
        while todo:
            view, form, depth = todo.pop()
            if view in seen:
                continue
            seen.add(view)
            for name, spelling in self._search(view):
                found.add(Find(name, where, " ".join((form + " " + spelling).split())))
            if depth < most and len(view) <= _MOST:
                todo += [(inner, f"{form} {how}", depth + 1) for how, inner in _decoded(view)]
        return sorted(found, key=str)

    def messages(self, messages: Iterable[Mapping[str, Any]], where: str = "iopub") -> list[Find]:
        """Search Jupyter messages or notebook outputs: text by text, and the streams as a whole."""
        found: list[Find] = []
        streams: dict[str, list[str]] = {"both": []}
        for message in messages:
            content = message.get("content", message)
            kind = message.get("msg_type") or message.get("output_type") or ""
            if kind == "stream":
                for stream in ("both", content["name"]):  # in a saved notebook: a list of lines
                    streams.setdefault(stream, []).append("".join(content["text"]))
            for text in _texts(content):
                found += self.data(text, f"{where}: {kind}")
        for name, parts in streams.items():
            found += self.data("".join(parts), f"{where}: {name} streams")
        return list(dict.fromkeys(found))

    def tree(self, folder: Path) -> list[Find]:
        """Search names, links, times, attributes and contents below a folder."""
        found: list[Find] = []
        paths = sorted(folder.rglob("*"))
        found += self.data(b"\n".join(os.fsencode(path) for path in paths), f"{folder} names")
        seconds = [int(path.lstat().st_mtime) for path in paths]
        found += self.data(bytes(s for s in seconds if 0 < s < 256), f"{folder} times")
        for path in paths:
            where = str(path.relative_to(folder))
            with contextlib.suppress(OSError):
                for name in os.listxattr(path, follow_symlinks=False):
                    value = os.getxattr(path, name, follow_symlinks=False)
                    found += self.data(name.encode() + b"\n" + value, f"{where} attribute")
            if path.is_symlink():
                found += self.data(os.fsencode(path.readlink()), f"{where} link")
            elif path.is_file():
                found += self.data(path.read_bytes(), where)
        return found

    def notebook(self, path: Path) -> list[Find]:
        """Search a saved notebook, as a file and output by output."""
        found = self.data(path.read_bytes(), path.name)
        for number, cell in enumerate(json.loads(path.read_text())["cells"]):
            found += self.messages(cell.get("outputs", ()), f"{path.name} cell {number}")
        return found


def _run(view: bytes, place: int, whole: bytes, start: int) -> int:
    """How many characters of ``whole`` stand around ``place``, where its ``start`` stands."""
    left = right = 0
    while left < min(place, start) and view[place - left - 1] == whole[start - left - 1]:
        left += 1
    most = min(len(view) - place, len(whole) - start)
    while right < most and view[place + right] == whole[start + right]:
        right += 1
    return left + right


def _spellings(value: str) -> dict[str, str]:
    """The value as people and cheap tricks write it; all of it is searched in each view."""
    found = {"as it is": value}
    squeezed = re.sub(r"[^A-Za-z0-9]", "", value)
    for how, text in (("", value), ("squeezed", squeezed)):
        found |= {
            f"{how} plain": text,
            f"{how} reversed": text[::-1],
            f"{how} rot13": codecs.encode(text, "rot13"),
            f"{how} swapped case": text.swapcase(),
        }
    return found


def _decoded(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Everything that the data may stand for, one step further."""
    if b"\0" in data:
        yield "without NULs", data.replace(b"\0", b"")
    yield "without ANSI", _ANSI.sub(b"", data)
    yield "without invisibles", _INVISIBLE.sub(b"", data)
    yield "backspaces done", re.sub(rb"[^\x08]\x08", b"", data)
    yield "returns done", _ANSI.sub(b"", re.sub(rb"x+\r|\r\x1b\[\d+C", b"", data))
    yield "squeezed", re.sub(rb"[^A-Za-z0-9]", b"", _ANSI.sub(b"", data))
    yield "unwrapped", re.sub(rb"\r?\n", b"", data)
    if b"%" in data:
        yield "URL", urllib.parse.unquote_to_bytes(data)
    if b"&" in data:
        yield "HTML", html.unescape(data.decode("utf-8", "replace")).encode("utf-8", "replace")
    if b"\\" in data:
        yield "unicode", _UNICODE.sub(lambda match: bytes.fromhex(match[1].decode()), data)
        yield "backslashes", data.replace(b"\\", b"")
    for match in _BASE64.finditer(data):
        text = match[0].rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
        for skip in range(4):
            part = text[skip:]
            part += b"A" * (1 if len(part) % 4 == 1 else 0)
            yield "base64", base64.b64decode(part + b"=" * (-len(part) % 4))
    for match in _BASE32.finditer(data):
        part = match[0][: len(match[0]) // 8 * 8]
        yield "base32", base64.b32decode(part)
    for match in _HEX.finditer(data):
        digits = re.sub(rb"[^0-9A-Fa-f]", b"", match[0].replace(b"\\x", b""))
        yield "hex", binascii.unhexlify(digits[: len(digits) // 2 * 2])
    dump = b"".join(_XXD.findall(data)).replace(b" ", b"")
    yield "xxd", binascii.unhexlify(dump[: len(dump) // 2 * 2])
    for match in _NUMBERS.finditer(data):
        yield "numbers", bytes(n for n in map(int, re.findall(rb"\d+", match[0])) if n < 256)
    yield from _unpacked(data)


def _unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    for match in _PACKED.finditer(data):
        with contextlib.suppress(zlib.error):
            yield "compressed", zlib.decompressobj(47).decompress(data[match.start() :], _MOST)
    if b"PK\x03\x04" in data:
        packed = io.BytesIO(data[data.index(b"PK\x03\x04") :])
        unusable = (zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError, zlib.error)
        with contextlib.suppress(*unusable), zipfile.ZipFile(packed) as archive:
            for member in archive.infolist():
                yield "zip", member.filename.encode() + b"\n" + archive.read(member)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a message."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
