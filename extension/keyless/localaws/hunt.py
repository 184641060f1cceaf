"""Looks for a key in every file below a folder, in every form that a leak would take.

The demo's own check, and on purpose a small one of its own: the sidecar's sanitizer must not be
the judge of itself.  Used by ``demo.py`` and by tests.
"""

from __future__ import annotations

import base64
import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

#: How deep archives within archives are opened, and how far each of them is unpacked, in bytes.
MAX_DEPTH = 3
MAX_UNPACKED = 64 * 1024 * 1024


@dataclass(frozen=True)
class Trace:
    """A place where a key was found."""

    path: str
    name: str
    form: str


def forms(value: str) -> dict[str, bytes]:
    """The ways in which a value may be written, by name.

    Base64 is cut to the characters that depend on the value alone, once for each of the three
    positions that it may have in what was encoded.
    """
    raw = value.encode()
    found = {
        "raw": raw,
        "reversed": raw[::-1],
        "hex": raw.hex().encode(),
        "hex, upper case": raw.hex().upper().encode(),
        "URL": quote(value, safe="").encode(),
        "JSON": value.replace("/", "\\/").encode(),
        "UTF-16": value.encode("utf-16-le"),
        "base32": base64.b32encode(raw).rstrip(b"=")[:-1],
    }
    for shift in range(3):
        whole = base64.b64encode(bytes(shift) + raw)
        inner = whole[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
        found[f"base64 at {shift}"] = inner
        found[f"base64url at {shift}"] = inner.replace(b"+", b"-").replace(b"/", b"_")
    return found


def hunt(folder: Path, secrets: Mapping[str, str]) -> tuple[list[Trace], int]:
    """Search names, links and contents below ``folder``, archives unpacked.

    Args:
        folder: where to look; symbolic links are read, not followed.
        secrets: values by the name that a trace gives them.

    Returns:
        What was found, and how many files were read.

    Raises:
        OSError: a file can't be read, so nothing can be said about it.
    """
    patterns = [
        (name, form, text) for name, v in secrets.items() for form, text in forms(v).items()
    ]
    traces: list[Trace] = []
    count = 0
    for path in sorted(folder.rglob("*")):
        label = str(path.relative_to(folder))
        contents = [os.fsencode(label)]
        if path.is_symlink():
            contents.append(os.fsencode(path.readlink()))
        elif path.is_file():
            count += 1
            contents.extend(_unpacked(path.read_bytes(), MAX_DEPTH))
        traces += sorted(
            {
                Trace(label, name, form)
                for data in contents
                for name, form, text in patterns
                if text in data
            },
            key=lambda trace: (trace.name, trace.form),
        )
    return traces, count


def _unpacked(data: bytes, depth: int) -> Iterator[bytes]:
    """The data, and what is packed in it."""
    yield data
    if depth == 0:
        return
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                yield from _unpacked(packed.read(MAX_UNPACKED), depth - 1)
        except (OSError, EOFError, zlib.error):
            return  # only looks like gzip
    elif data[:2] == b"PK":
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for member in archive.infolist():
                    yield member.filename.encode() + b"\n" + member.comment
                    with archive.open(member) as packed_file:
                        yield from _unpacked(packed_file.read(MAX_UNPACKED), depth - 1)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error):
            return  # no zip, or an encrypted one
    elif data[:1] == b"\x78":
        try:
            yield zlib.decompressobj().decompress(data, MAX_UNPACKED)
        except zlib.error:
            return
