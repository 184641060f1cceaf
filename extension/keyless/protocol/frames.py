"""Frames: four bytes of big-endian length, then one message in MessagePack.

Pure functions on bytes; who reads and writes the socket is the caller's affair.  The sidecar feeds
what it receives into a :class:`FrameReader`, the kernel's client does the same with the replies.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from keyless.protocol.messages import Reply, Request

#: Largest frame body that either side accepts.
MAX_FRAME = 1024 * 1024
_HEADER = struct.Struct(">I")
_encoder = msgspec.msgpack.Encoder()

M = TypeVar("M")


class ProtocolError(Exception):
    """The peer broke the protocol; the connection must be closed."""


def encode(message: Request | Reply) -> bytes:
    """One message as a frame.

    Raises:
        ProtocolError: the message would exceed :data:`MAX_FRAME`.
    """
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME:
        raise ProtocolError(f"message of {len(body)} bytes exceeds the frame limit of {MAX_FRAME}")
    return _HEADER.pack(len(body)) + body


class FrameReader(Generic[M]):
    """Turns a stream of bytes into messages; holds at most one incomplete frame.

    Not thread-safe: each connection owns one.
    """

    def __init__(self, kind: type[M], max_frame: int = MAX_FRAME) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._max_frame = max_frame
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of an incomplete frame held back."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[M]:
        """Yield every message that ``data`` completes.

        Raises:
            ProtocolError: a frame is too long, empty, or no message of the expected kind.
        """
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            (size,) = _HEADER.unpack_from(self._buffer)
            if not 0 < size <= self._max_frame:
                raise ProtocolError(f"frame of {size} bytes (allowed: 1 to {self._max_frame})")
            if len(self._buffer) < _HEADER.size + size:
                return
            body = bytes(memoryview(self._buffer)[_HEADER.size : _HEADER.size + size])
            del self._buffer[: _HEADER.size + size]
            try:
                message = self._decoder.decode(body)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise ProtocolError(f"not a valid message: {error}") from None
            yield message


def request_reader() -> FrameReader[Request]:
    """A reader for the sidecar's end."""
    return FrameReader(Request)  # type: ignore[arg-type]


def reply_reader() -> FrameReader[Reply]:
    """A reader for the kernel's end."""
    return FrameReader(Reply)  # type: ignore[arg-type]
