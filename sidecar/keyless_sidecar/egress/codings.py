"""Undoing Content-Encoding on a stream, in bounded steps: a small body may hold a huge one.

Used by :mod:`keyless_sidecar.egress.masking`.  ``zstd``, ``compress`` and whatever else exists are
not known here, and so refused there.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import brotli  # type: ignore[import-untyped]

from keyless_sidecar.egress.messages import Headers, replaced, values

#: The most that one step puts out.
STEP = 256 * 1024
#: Codings on top of each other; nobody uses more than two.
MOST_STACKED = 4


class BadCoding(Exception):
    """The body isn't what its Content-Encoding says; a part of a sentence."""


class Decoder(Protocol):
    """One coding of one body."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What comes out of the next bytes, in pieces of ``STEP`` bytes at most.

        Raises:
            BadCoding: malformed.
        """

    def end(self) -> None:
        """Raises BadCoding where the body isn't complete."""


class _Deflate:
    """gzip (of one or more members), or deflate with or without zlib's frame."""

    def __init__(self, gzip: bool) -> None:
        self._gzip = gzip
        self._stream = zlib.decompressobj(31) if gzip else None
        self._start = b""
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            self._start += data
            if len(self._start) < 2:
                return
            data = self._start
            # Servers send both under this name; a raw stream can't begin like zlib's header.
            framed = data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
            self._stream = zlib.decompressobj(15 if framed else -15)
        while data:
            self._begun = True
            try:
                out = self._stream.decompress(data, STEP)
            except zlib.error:
                raise BadCoding("it is not the gzip or deflate that it is called") from None
            if out:
                yield out
            if not self._stream.eof:
                data = self._stream.unconsumed_tail
                if not data and len(out) == STEP:
                    # All was taken in, but not all put out.
                    yield from self._rest()
                continue
            data = self._stream.unused_data
            if data and not self._gzip:
                raise BadCoding("something follows its end")
            if data:
                self._stream = zlib.decompressobj(31)

    def _rest(self) -> Iterator[bytes]:
        while self._stream is not None and not self._stream.eof:
            out = self._stream.decompress(b"", STEP)
            if not out:
                return
            yield out

    def end(self) -> None:
        complete = self._stream is not None and self._stream.eof
        if (self._start or self._begun) and not complete:
            raise BadCoding("it ended too early")


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Decompressor()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._begun = self._begun or bool(data)
        if data and self._stream.is_finished():
            raise BadCoding("something follows its end")
        try:
            out = self._stream.process(data, output_buffer_limit=STEP)
            while out or not self._stream.can_accept_more_data():
                yield from _pieces(out)
                if self._stream.is_finished():
                    return
                out = self._stream.process(b"", output_buffer_limit=STEP)
        except brotli.error:
            raise BadCoding("it is not the brotli that it is called") from None

    def end(self) -> None:
        if self._begun and not self._stream.is_finished():
            raise BadCoding("it ended too early")


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), STEP):
        yield data[start : start + STEP]


_KNOWN: dict[str, Callable[[], Decoder]] = {
    "gzip": lambda: _Deflate(True),
    "x-gzip": lambda: _Deflate(True),
    "deflate": lambda: _Deflate(False),
    "br": _Brotli,
}


class Stack:
    """All codings of one body.

    Args:
        decoders: in the order in which they are undone.
    """

    def __init__(self, decoders: Sequence[Decoder]) -> None:
        self._decoders = tuple(decoders)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See :meth:`Decoder.feed`."""
        return self._through(0, data)

    def _through(self, level: int, data: bytes) -> Iterator[bytes]:
        if level == len(self._decoders):
            yield data
            return
        for piece in self._decoders[level].feed(data):
            yield from self._through(level + 1, piece)

    def end(self) -> None:
        """See :meth:`Decoder.end`."""
        for decoder in self._decoders:
            decoder.end()


def decoders_for(headers: Headers) -> list[Decoder] | None:
    """The decoders for a body with these headers (none: it isn't coded); ``None`` when unknown."""
    names = [
        name.strip(" \t").lower()
        for value in values(headers, "content-encoding")
        for name in value.split(",")
    ]
    names = [name for name in names if name not in ("", "identity")]
    if len(names) > MOST_STACKED or any(name not in _KNOWN for name in names):
        return None
    return [_KNOWN[name]() for name in reversed(names)]


def accept_decodable(headers: Headers) -> Headers:
    """A request's headers with an ``Accept-Encoding`` that allows only what can be decoded here.

    Call it before a request is signed.  Without such a header servers send plain bodies.
    """
    found = values(headers, "accept-encoding")
    if not found:
        return list(headers)
    offers = [offer.strip(" \t") for value in found for offer in value.split(",")]
    kept = [
        offer
        for offer in offers
        if offer.partition(";")[0].strip(" \t").lower() in {*_KNOWN, "identity"}
    ]
    return replaced(headers, "Accept-Encoding", ", ".join(kept) or "identity")
