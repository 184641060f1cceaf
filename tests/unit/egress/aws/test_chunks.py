"""Bodies with signed chunks: each chunk checked, signed anew, and no byte longer."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.aws_signing import NOW, PLACEHOLDER, REAL, Keys, signed

from keyless_sidecar.egress.aws.chunks import MAX_CHUNK, ChunkResigner, resign_chunks
from keyless_sidecar.egress.aws.parts import Parts
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.aws.resign import resign
from keyless_sidecar.egress.aws.signature import parse
from keyless_sidecar.egress.aws.signers import signature
from keyless_sidecar.egress.aws.verify import verify

HOST = "bucket.s3.us-east-1.amazonaws.com"
KIND = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
TRAILER = "x-amz-checksum-crc32c:sOO8/Q=="
OURS = Keys(REAL.access_key_id, REAL.secret_access_key)
EMPTY = hashlib.sha256(b"").hexdigest()


def head(keys: Keys, trailer: str = "") -> Parts:
    """A request with signed chunks; botocore makes none, so it is signed by hand."""
    kind = f"{KIND}-TRAILER" if trailer else KIND
    headers = {"X-Amz-Trailer": trailer} if trailer else {}
    plain = signed(
        "/key", method="PUT", host=HOST, service="s3", region="us-east-1", keys=keys,
        headers=headers,
    )  # fmt: skip
    claim = parse(plain)
    values = {name: plain.header(name) for name in claim.signed_headers}
    values |= {"host": HOST, "x-amz-content-sha256": kind}
    made = signature(
        claim, keys, method="PUT", target="/key", headers=values, payload_hash=kind,
        timestamp=claim.timestamp,
    )  # fmt: skip
    changed = []
    for name, value in plain.headers:
        if name == "Authorization":
            changed.append((name, value.replace(claim.signature, made)))
        else:
            changed.append((name, kind if name == "X-Amz-Content-SHA256" else value))
    return Parts("PUT", HOST, "/key", tuple(changed), None)


def body(keys: Keys, parts: Parts, chunks: Sequence[bytes], trailer: str = "") -> bytes:
    """The body, as the documentation of S3 says how to sign it."""
    claim = parse(parts)
    key = b"AWS4" + keys.secret_access_key.encode()
    for part in claim.scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    last, out = claim.signature, b""
    for chunk in (*chunks, b""):
        text = "\n".join(
            ("AWS4-HMAC-SHA256-PAYLOAD", claim.timestamp, claim.scope, last, EMPTY,
             hashlib.sha256(chunk).hexdigest())
        )  # fmt: skip
        last = hmac.digest(key, text.encode(), "sha256").hex()
        out += f"{len(chunk):x};chunk-signature={last}\r\n".encode() + chunk
        out += b"\r\n" if chunk or not trailer else b""
    if trailer:
        text = "\n".join(
            ("AWS4-HMAC-SHA256-TRAILER", claim.timestamp, claim.scope, last,
             hashlib.sha256(f"{trailer}\n".encode()).hexdigest())
        )  # fmt: skip
        signed_trailer = hmac.digest(key, text.encode(), "sha256").hex()
        out += f"{trailer}\r\nx-amz-trailer-signature:{signed_trailer}\r\n\r\n".encode()
    return out


def resigner(trailer: str = "") -> ChunkResigner:
    parts = head(PLACEHOLDER, trailer)
    verified = verify(parts.checked(), parse(parts), PLACEHOLDER, NOW)
    return ChunkResigner(verified, PLACEHOLDER, resign(verified, OURS), OURS)


def through(data: bytes, trailer: str = "", step: int = 0) -> bytes:
    made, out = resigner(trailer), b""
    for at in range(0, len(data), step or len(data)):
        out += b"".join(made.feed(data[at : at + (step or len(data))]))
    made.finish()
    return out


@pytest.mark.parametrize("step", [0, 1, 7, 1000])
@pytest.mark.parametrize("trailer", ["", TRAILER])
def test_chunks_are_what_the_real_keys_make(trailer: str, step: int) -> None:
    name = trailer.partition(":")[0]
    chunks = [b"a" * 700, b"b\r\n" * 9, b"\0"]
    given = body(PLACEHOLDER, head(PLACEHOLDER, name), chunks, trailer)
    out = through(given, name, step)
    assert out == body(OURS, head(OURS, name), chunks, trailer)
    assert len(out) == len(given)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.integers(1, 50))
def test_any_chunks_however_they_come(chunks: list[bytes], step: int) -> None:
    given_body = body(PLACEHOLDER, head(PLACEHOLDER), chunks)
    assert through(given_body, step=step) == body(OURS, head(OURS), chunks)


def test_nothing_is_sent_on_of_a_chunk_that_was_changed() -> None:
    data = body(PLACEHOLDER, head(PLACEHOLDER), [b"good" * 9, b"evil" * 9])
    made = resigner()
    end = data.index(b"evil")
    first = made.feed(data[:end])
    assert len(first) == 1
    with pytest.raises(AwsRefusal, match="chunk"):
        made.feed(data[end:].replace(b"evil", b"nice"))


def test_chunks_signed_with_other_keys() -> None:
    other = Keys(PLACEHOLDER.access_key_id, "other")
    with pytest.raises(AwsRefusal, match="chunk"):
        through(body(other, head(PLACEHOLDER), [b"x"]))


def test_chunks_in_another_order() -> None:
    data = body(PLACEHOLDER, head(PLACEHOLDER), [b"aaaa", b"bbbb"])
    one, two, end = data.split(b"4;")[1], data.split(b"4;")[2][:100], data[-86:]
    with pytest.raises(AwsRefusal):
        through(b"4;" + two + b"4;" + one + end)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d[:-1], "middle"),
        (lambda d: d + b"x", "goes on"),
        (lambda d: b"x" + d, "head"),
        (lambda d: d.replace(b";chunk-signature=", b";a=b;chunk-signature=", 1), "head"),
        (lambda d: d.replace(b"\r\n", b"\n", 1), "head"),
        (lambda d: b"+" + d, "head"),
        (lambda d: f"{MAX_CHUNK + 1:x}".encode() + d[1:], "larger"),
    ],
)
def test_malformed(change: Callable[[bytes], bytes], reason: str) -> None:
    data = body(PLACEHOLDER, head(PLACEHOLDER), [b"abcd"])
    with pytest.raises(AwsRefusal, match=reason):
        through(change(data))


@pytest.mark.parametrize(
    "trailer", ["x-amz-meta-a:1", "x-amz-checksum-crc32:a\r\nx-amz-meta-a:1", "nothing"]
)
def test_a_trailer_that_was_not_announced(trailer: str) -> None:
    name = TRAILER.partition(":")[0]
    data = body(PLACEHOLDER, head(PLACEHOLDER, name), [b"x"], trailer)
    with pytest.raises(AwsRefusal, match=r"trailer|announces"):
        through(data, name)


def test_a_trailer_without_end_is_not_collected() -> None:
    name = TRAILER.partition(":")[0]
    data = body(PLACEHOLDER, head(PLACEHOLDER, name), [b"x"], TRAILER)
    start = data.index(b"x-amz-checksum")
    with pytest.raises(AwsRefusal, match="too long"):
        through(data[:start] + b"a" * 10000, name)


def test_one_chunk_is_held_not_the_body() -> None:
    chunk = b"c" * 65536
    data = body(PLACEHOLDER, head(PLACEHOLDER), [chunk] * 40)
    made, held = resigner(), 0
    for at in range(0, len(data), 8192):
        made.feed(data[at : at + 8192])
        held = max(held, len(made._held))
    made.finish()
    assert held < 2 * len(chunk)


async def test_as_a_stream() -> None:
    data = body(PLACEHOLDER, head(PLACEHOLDER), [b"abc", b"defg"])

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 11):
            yield data[at : at + 11]

    out = b"".join([piece async for piece in resign_chunks(pieces(), resigner())])
    assert out == body(OURS, head(OURS), [b"abc", b"defg"])
