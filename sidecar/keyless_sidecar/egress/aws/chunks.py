"""Bodies whose chunks are signed one by one (``STREAMING-AWS4-HMAC-SHA256-PAYLOAD``), re-signed.

Each chunk is verified with the placeholder before it is signed with the real keys and sent on, so
one chunk at a time is held.  Lengths stay, and with them ``Content-Length``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from keyless_sidecar.egress.aws.parts import AwsKeys
from keyless_sidecar.egress.aws.payload import EMPTY_SHA256
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.aws.resign import Resigned
from keyless_sidecar.egress.aws.verify import Verified

__all__ = ["MAX_CHUNK", "ChunkResigner", "resign_chunks"]

#: Largest chunk; clients send 64 KiB to 1 MiB.
MAX_CHUNK = 4 * 1024 * 1024
_HEAD = re.compile(rb"(?P<size>[0-9a-fA-F]{1,8});chunk-signature=(?P<signature>[0-9a-f]{64})\r\n")
_HEAD_LENGTH = 8 + len(";chunk-signature=") + 64 + 2
_MAX_TRAILER = 4096
_TRAILER_LINE = re.compile(r"(?P<name>[a-z0-9-]+):(?P<value>[\x21-\x7e]+)")


@dataclass
class _Chain:
    """The signatures of one side, each made from the one before."""

    key: bytes
    timestamp: str
    scope: str
    last: str

    def chunk(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        return self._next("AWS4-HMAC-SHA256-PAYLOAD", EMPTY_SHA256, digest)

    def trailer(self, lines: str) -> str:
        digest = hashlib.sha256(lines.encode()).hexdigest()
        return self._next("AWS4-HMAC-SHA256-TRAILER", digest)

    def _next(self, kind: str, *hashes: str) -> str:
        text = "\n".join((kind, self.timestamp, self.scope, self.last, *hashes))
        self.last = hmac.digest(self.key, text.encode(), "sha256").hex()
        return self.last


class ChunkResigner:
    """Takes a body piece by piece, gives it back signed anew.

    Args:
        verified: the request, verified with ``placeholder``.
        placeholder: the keys that the chunks are signed with.
        resigned: the request as it is sent on.
        keys: the real keys.
    """

    def __init__(
        self, verified: Verified, placeholder: AwsKeys, resigned: Resigned, keys: AwsKeys
    ) -> None:
        scope = verified.claim.scope
        new_scope = resigned.timestamp[:8] + scope[8:]
        self._theirs = _Chain(
            _signing_key(placeholder, scope),
            verified.claim.timestamp,
            scope,
            verified.claim.signature,
        )
        self._ours = _Chain(
            _signing_key(keys, new_scope), resigned.timestamp, new_scope, resigned.signature
        )
        self._trailing = verified.payload.trailer
        names = verified.parts.header("x-amz-trailer").lower().split(",")
        self._names = [name.strip() for name in names if name.strip()]
        self._held = bytearray()
        self._state = "chunk"

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes.

        Returns:
            What can be sent on.

        Raises:
            AwsRefusal: the body is malformed, or not signed with the placeholder.
        """
        self._held += data
        return list(self._take())

    def finish(self) -> None:
        """Say that the body ended.

        Raises:
            AwsRefusal: it did so in the middle.
        """
        if self._state != "done":
            raise _malformed("The body ends in the middle")

    # ------------------------------------------------------------------ inside

    def _take(self) -> Iterator[bytes]:
        while self._held and self._state != "done":
            step = self._chunk() if self._state == "chunk" else self._trailer()
            if step is None:
                return
            yield step
        if self._held:
            raise _malformed("The body goes on after its last chunk")

    def _chunk(self) -> bytes | None:
        head = _HEAD.match(self._held)
        if head is None:
            if len(self._held) >= _HEAD_LENGTH or b"\n" in self._held:
                raise _malformed("A chunk's head is malformed")
            return None
        size = int(head["size"], 16)
        if size > MAX_CHUNK:
            raise _malformed(f"A chunk is larger than {MAX_CHUNK} bytes; send smaller ones")
        last = not size
        tail = b"" if last and self._trailing else b"\r\n"
        end = head.end() + size + len(tail)
        if len(self._held) < end:
            return None
        content = bytes(self._held[head.end() : head.end() + size])
        if self._held[head.end() + size : end] != tail:
            raise _malformed("A chunk doesn't end with a line break")
        self._compare(self._theirs.chunk(content), head["signature"].decode())
        signed = self._ours.chunk(content)
        result = head["size"] + b";chunk-signature=" + signed.encode() + b"\r\n" + content + tail
        del self._held[:end]
        if last:
            self._state = "trailer" if self._trailing else "done"
        return result

    def _trailer(self) -> bytes | None:
        end = self._held.find(b"\r\n\r\n")
        if end < 0:
            if len(self._held) > _MAX_TRAILER:
                raise _malformed("The trailer is too long")
            return None
        *lines, last = self._held[:end].decode("latin-1").split("\r\n")
        name, _, claimed = last.partition(":")
        if name != "x-amz-trailer-signature":
            raise _malformed("The trailer's signature is missing")
        found = [_TRAILER_LINE.fullmatch(line) for line in lines]
        if sorted(line["name"] if line else "" for line in found) != sorted(self._names):
            raise _malformed("The trailer is not the one that x-amz-trailer announces")
        text = "".join(f"{line}\n" for line in lines)
        self._compare(self._theirs.trailer(text), claimed)
        signed = self._ours.trailer(text)
        del self._held[: end + 4]
        self._state = "done"
        return "\r\n".join((*lines, f"{name}:{signed}", "", "")).encode("latin-1")

    def _compare(self, computed: str, claimed: str) -> None:
        if not hmac.compare_digest(computed.encode(), claimed.encode("latin-1")):
            raise AwsRefusal(
                "SignatureDoesNotMatch", "The signature of a chunk doesn't match its content."
            )


async def resign_chunks(
    body: AsyncIterator[bytes], resigner: ChunkResigner
) -> AsyncIterator[bytes]:
    """A body's chunks signed anew, as they come.

    Raises:
        AwsRefusal: from :class:`ChunkResigner`; the request must then be broken off.
    """
    async for data in body:
        for piece in resigner.feed(data):
            yield piece
    resigner.finish()


def _signing_key(keys: AwsKeys, scope: str) -> bytes:
    key = f"AWS4{keys.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _malformed(reason: str) -> AwsRefusal:
    return AwsRefusal("InvalidRequest", f"{reason}.", 400)
