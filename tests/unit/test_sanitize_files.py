"""Files: a secret is found wherever it stands, in compressed data too, within bounds."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import lzma
import os
import random
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from keyless_sidecar.sanitize import Patterns, scan_file

TOKEN = b"CANARY-q7Zt4KfWm2XrLp9VbNc3"
PATTERNS = Patterns.build([("token", TOKEN)])
FILLER = random.Random(1).randbytes(300_000)


def scan(path: Path, data: bytes, **bounds: int) -> dict[str, int]:
    file = path / "file"
    file.write_bytes(data)
    fd = os.open(file, os.O_RDONLY)
    try:
        return scan_file(PATTERNS, fd, **bounds)
    finally:
        os.close(fd)


def _zip(data: bytes, method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("first.bin", FILLER[:1000])
        archive.writestr("some/folder/a.txt", data)
    return file.getvalue()


def _tar(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        info = tarfile.TarInfo("a")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


CONTENT = FILLER[:200_000] + b"\nkey=" + TOKEN + b"\n" + FILLER[:100]
FILES = {
    "plain": CONTENT,
    "at a block's edge": b"x" * ((1 << 18) - 10) + TOKEN,
    "base64": base64.b64encode(CONTENT),
    "reversed": TOKEN[::-1],
    "gzip": gzip.compress(CONTENT),
    "gzip late": FILLER + gzip.compress(CONTENT) + FILLER,
    "gzip at a block's edge": b"x" * ((1 << 18) - 1) + gzip.compress(CONTENT),
    "gzip in gzip": gzip.compress(b"a" + gzip.compress(CONTENT)),
    "base64 in gzip": gzip.compress(base64.b64encode(CONTENT)),
    "zlib": zlib.compress(CONTENT),
    "git object": zlib.compress(b"blob 35\0" + TOKEN, 1),
    "zip": _zip(CONTENT, zipfile.ZIP_DEFLATED),
    "zip stored": _zip(CONTENT, zipfile.ZIP_STORED),
    "bzip2": bz2.compress(CONTENT),
    "xz": lzma.compress(CONTENT),
    "tar": _tar(CONTENT),
    "utf-16": TOKEN.decode().encode("utf-16"),
}


@pytest.mark.parametrize("kind", FILES)
def test_secret_in_a_file_is_found(tmp_path: Path, kind: str) -> None:
    assert scan(tmp_path, FILES[kind]).get("token")


@pytest.mark.parametrize("kind", ["random", "gzip", "hashes", "empty", "broken"])
def test_other_files_are_clean(tmp_path: Path, kind: str) -> None:
    data = {
        "random": FILLER,
        "gzip": gzip.compress(FILLER * 3),
        "hashes": b"\n".join(hashlib.sha256(bytes([n])).digest() for n in range(256)),
        "empty": b"",
        "broken": gzip.compress(FILLER)[:5000],
    }[kind]
    assert scan(tmp_path, data) == {}


def test_a_bomb_is_reported_as_unchecked(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(8 << 20))
    assert scan(tmp_path, bomb, max_unpacked=1 << 20) == {"unchecked-content": 1}
    assert scan(tmp_path, b"x\x9c " * 100, max_attempts=50) == {"unchecked-content": 1}


def test_a_large_file_of_random_bytes_is_looked_at_whole(tmp_path: Path) -> None:
    """Every 16 KiB of it begin like zlib: that is no reason to withhold it."""
    data = (FILLER + b"x\x9c") * 40
    begins = sum(data.count(magic) for magic in (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"))
    assert begins > 500
    assert scan(tmp_path, data, max_attempts=10) == {}
    assert scan(tmp_path, data + TOKEN, max_attempts=10) == {"token": 1}


def test_descriptor_position_is_not_used(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(TOKEN)
    fd = os.open(file, os.O_RDONLY)
    try:
        os.lseek(fd, 0, os.SEEK_END)
        assert scan_file(PATTERNS, fd) == {"token": 1}
        assert os.lseek(fd, 0, os.SEEK_CUR) == len(TOKEN)
    finally:
        os.close(fd)
