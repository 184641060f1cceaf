"""An S3 for objects of any size: on disk, and as strict as S3 about signatures and checksums.

moto keeps objects in memory.  Here a part is a file, and an object is a list of parts, so nothing
is copied or held; every request must be signed with the real key.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import threading
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote
from xml.sax.saxutils import escape

from tests.support.web import Handler, serving

from keyless.localaws.faults import Refusal
from keyless.localaws.http import HttpRequest
from keyless.localaws.sigv4 import parse, verify

__all__ = ["Store", "storing"]

_PIECE = 1024 * 1024
_UNSIGNED = ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")


class _Wrong(Exception):
    """A request as no S3 would take it; ends it with 400."""


@dataclass
class Store:
    """What a server holds.

    Attributes:
        folder: of the parts.
        access_key_id: that requests must be signed with.
        secret: likewise.
        objects: parts by bucket and key (``/bucket/key``).
        refused: why requests were refused.
        checked: how many bodies came with a checksum that was right.
    """

    folder: Path
    access_key_id: str
    secret: str = field(repr=False)
    objects: dict[str, list[Path]] = field(default_factory=dict)
    uploads: dict[str, dict[int, Path]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    checked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _moments: list[float] = field(default_factory=list)

    def size(self, name: str) -> int:
        """Bytes of an object."""
        return sum(part.stat().st_size for part in self.objects[name])

    def digest(self, name: str) -> str:
        """SHA-256 of an object."""
        made = hashlib.sha256()
        for part in self.objects[name]:
            with part.open("rb") as file:
                while data := file.read(_PIECE):
                    made.update(data)
        return made.hexdigest()

    def moved(self) -> None:
        """A body was moved: remembers when."""
        self._moments.append(time.monotonic())

    def took(self) -> float:
        """Seconds from the first body's begin to the last one's end since it was last asked."""
        moments, self._moments = self._moments, []
        return max(moments) - min(moments) if moments else 0.0


class _Server(Handler):
    """Answers the requests that the AWS CLI makes to copy one object."""

    protocol_version = "HTTP/1.1"
    store: Store

    def do_GET(self) -> None:
        path, _ = self._admitted()
        parts = self.store.objects.get(path)
        if parts is None:
            self._xml(404, "<Error><Code>NoSuchKey</Code></Error>")
            return
        size = sum(part.stat().st_size for part in parts)
        first, last = 0, size - 1
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found:
            first, last = int(found[1]), min(int(found[2] or last), last)
        self.send_response(206 if found else 200)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Content-Type", "binary/octet-stream")
        self.send_header("ETag", f'"{len(parts)}-{size}"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        if found:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if self.command == "HEAD":
            return
        self.store.moved()
        for data in _slice(parts, first, last + 1):
            self.wfile.write(data)
        self.store.moved()

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, names = self._admitted(body)
        if "uploads" in names:
            upload = uuid.uuid4().hex
            self.store.uploads[upload] = {}
            inner = f"<Key>{escape(path)}</Key><UploadId>{upload}</UploadId>"
            self._xml(
                200,
                f"<InitiateMultipartUploadResult>{inner}</InitiateMultipartUploadResult>",
            )
            return
        parts = self.store.uploads.pop(names["uploadId"])
        numbers = [int(number) for number in re.findall(rb"<PartNumber>(\d+)<", body)]
        if numbers != sorted(parts):
            raise _Wrong("other parts were completed than came")
        self.store.objects[path] = [parts[number] for number in numbers]
        self._xml(
            200, "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
        )

    def do_PUT(self) -> None:
        path, names = self._admitted()
        part = self.store.folder / uuid.uuid4().hex
        self.store.moved()
        with part.open("wb") as file:
            self._receive(file)
        self.store.moved()
        if "uploadId" in names:
            self.store.uploads[names["uploadId"]][int(names["partNumber"])] = part
        else:
            self.store.objects[path] = [part]
        self.send_response(200)
        self.send_header("ETag", f'"{part.name}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (_Wrong, Refusal, KeyError, ValueError) as error:
            self.store.refused.append(f"{self.requestline}: {type(error).__name__}: {error}")
            self.close_connection = True
            self._xml(403, "<Error><Code>SignatureDoesNotMatch</Code></Error>")

    # ------------------------------------------------------------------ inside

    def _admitted(self, body: bytes = b"") -> tuple[str, dict[str, str]]:
        """Path and query of a request that is signed as it must be."""
        request = HttpRequest(self.command, self.path, tuple(self.headers.items()), body)
        claim = parse(request)
        if claim.access_key_id != self.store.access_key_id:
            raise _Wrong(f"the key {claim.access_key_id} is not known here")
        if self.command == "PUT" and self.headers.get("x-amz-content-sha256") not in _UNSIGNED:
            raise _Wrong("a body whose hash is signed; nobody sends that over TLS")
        verify(request, claim, self.store.secret, datetime.now(UTC))
        bucket = self.headers["Host"].partition(".s3.")[0] if ".s3." in self.headers["Host"] else ""
        path = f"/{bucket}{request.path}" if bucket else request.path
        return unquote(path), dict(request.query)

    def _receive(self, file: BinaryIO) -> None:
        """A body into a file, its checksums compared."""
        crc, md5, size = 0, hashlib.md5(usedforsecurity=False), 0
        wants_md5 = self.headers.get("Content-MD5")
        chunked = "aws-chunked" in self.headers.get("Content-Encoding", "")
        for data in self._chunks() if chunked else self._plain():
            file.write(data)
            size += len(data)
            crc = zlib.crc32(data, crc)
            if wants_md5:
                md5.update(data)
        announced = self.headers.get("x-amz-decoded-content-length", str(size))
        if int(announced) != size:
            raise _Wrong(f"{size} bytes came, {announced} were announced")
        if wants_md5 and base64.b64encode(md5.digest()).decode() != wants_md5:
            raise _Wrong("Content-MD5 is wrong")
        told = self._trailer.get("x-amz-checksum-crc32") or self.headers.get("x-amz-checksum-crc32")
        if told and base64.b64encode(crc.to_bytes(4, "big")).decode() != told:
            raise _Wrong("the CRC is wrong")
        if self.headers.get("x-amz-trailer", "") not in ("", *self._trailer):
            raise _Wrong("the announced trailer is missing")
        with self.store.lock:
            self.store.checked += bool(told or wants_md5)

    def _plain(self) -> Iterator[bytes]:
        self._trailer: dict[str, str] = {}
        yield from self._exactly(int(self.headers["Content-Length"]))

    def _chunks(self) -> Iterator[bytes]:
        """The content of chunks as S3 has them (within one length, or HTTP's own chunks)."""
        self._trailer = {}
        source = self.rfile
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            source = _Unchunked(self.rfile)  # type: ignore[assignment]
        while size := int(source.readline().split(b";")[0].strip(), 16):
            yield from self._exactly(size, source)
            if source.read(2) != b"\r\n":
                raise _Wrong("a chunk doesn't end where it should")
        while line := source.readline().strip():
            name, _, value = line.decode().partition(":")
            self._trailer[name] = value
        if source is not self.rfile and source.read(1):
            raise _Wrong("the body goes on after its trailer")

    def _exactly(self, size: int, source: Any = None) -> Iterator[bytes]:
        while size:
            data = (source or self.rfile).read(min(size, _PIECE))
            if not data:
                raise _Wrong("the body broke off")
            size -= len(data)
            yield data

    def _xml(self, status: int, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


class _Unchunked:
    """A body in HTTP's chunks, as a file."""

    def __init__(self, source: Any) -> None:
        self._source, self._left, self._held, self._ended = source, 0, b"", False

    def read(self, size: int) -> bytes:
        """As of a file: fewer bytes only at the end."""
        found, self._held = self._held[:size], self._held[size:]
        while len(found) < size and (data := self._some(size - len(found))):
            found += data
        return found

    def readline(self) -> bytes:
        """Up to and with a line break."""
        line = b""
        while not line.endswith(b"\n") and (data := self.read(1)):
            line += data
        return line

    def _some(self, most: int) -> bytes:
        if not self._left and not self._ended:
            self._left = int(self._source.readline().strip(), 16)
            if not self._left:
                self._ended = True
                self._source.readline()
        data: bytes = self._source.read(min(most, self._left)) if self._left else b""
        self._left -= len(data)
        if data and not self._left:
            self._source.readline()
        return data


def _slice(parts: list[Path], first: int, end: int) -> Iterator[bytes]:
    """Bytes ``first`` to before ``end`` of the parts, one after the other."""
    begin = 0
    for part in parts:
        size = part.stat().st_size
        start, stop = max(first - begin, 0), min(end - begin, size)
        if start < stop:
            with part.open("rb") as file:
                file.seek(start)
                left = stop - start
                while left and (data := file.read(min(left, _PIECE))):
                    left -= len(data)
                    yield data
        begin += size


@contextlib.contextmanager
def storing(folder: Path, access_key_id: str, secret: str) -> Iterator[tuple[Store, int]]:
    """A running store, and its port on the loopback; its objects go with ``folder``."""
    store = Store(folder, access_key_id, secret)
    with serving(type("Server", (_Server,), {"store": store})) as port:
        yield store, port
