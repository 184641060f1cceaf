"""Real values never come through, whatever the coding and wherever the pieces break."""

from __future__ import annotations

import dataclasses
import gzip
import re
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Self

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless_sidecar.egress.codings import STEP, Stack, decoders_for
from keyless_sidecar.egress.masking import Masks, Stream, accept_decodable, variants
from keyless_sidecar.egress.messages import Response, UpstreamFailed, values

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
MASK = "keyless0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def members(data: bytes) -> bytes:
    half = len(data) // 2
    return gzip.compress(data[:half]) + gzip.compress(data[half:])


ENCODERS: dict[str, list[Callable[[bytes], bytes]]] = {
    "": [],
    "identity": [],
    "gzip": [gzip.compress],
    "x-gzip": [members],
    "deflate": [zlib.compress],
    "Deflate": [raw_deflate],
    "br": [brotli.compress],
    "gzip, br": [gzip.compress, brotli.compress],
    "br,deflate": [brotli.compress, zlib.compress],
    "deflate, identity, gzip": [raw_deflate, gzip.compress],
}


class Pieces:
    """A body in given pieces; tells whether it was closed."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.pop(0)

    async def aclose(self) -> None:
        self.closed = True


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    bounds = zip([0, *places], [*places, len(data)], strict=True)
    return [data[start:end] for start, end in bounds]


async def joined(body: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in body])


def answer(body: Pieces, *headers: tuple[str, str], length: int | None = None) -> Response:
    return Response(200, "OK", list(headers), length, body)


small = st.binary(min_size=1, max_size=4).map(lambda data: bytes(97 + byte % 3 for byte in data))


@given(
    pairs=st.dictionaries(small, st.binary(max_size=6), max_size=4),
    text=st.lists(st.integers(0, 2), max_size=200).map(lambda n: bytes(97 + each for each in n)),
    cuts=st.lists(st.integers(0, 1000), max_size=30),
)
def test_any_pieces_give_what_the_whole_would(
    pairs: dict[bytes, bytes], text: bytes, cuts: list[int]
) -> None:
    ordered = sorted(pairs, key=len, reverse=True)
    expected = text
    if ordered:
        pattern = re.compile(b"|".join(map(re.escape, ordered)))
        expected = pattern.sub(lambda found: pairs[found.group()], text)
    stream = Stream(pairs)
    assert b"".join(map(stream.feed, split(text, cuts))) + stream.end() == expected


@given(
    coding=st.sampled_from(sorted(ENCODERS)),
    parts=st.lists(st.one_of(st.binary(max_size=50), st.just(SECRET.encode())), max_size=20),
    cuts=st.lists(st.integers(0, 5000), max_size=30),
)
async def test_every_coding_is_looked_into(
    coding: str, parts: list[bytes], cuts: list[int]
) -> None:
    text = b"".join(parts)
    coded = text
    for encode in ENCODERS[coding]:
        coded = encode(coded)
    pieces = Pieces(*split(coded, cuts))
    headers = [("Content-Encoding", coding)] if coding else []
    response = Masks({SECRET: MASK}).apply(answer(pieces, *headers, length=len(coded)))
    assert await joined(response.body) == text.replace(SECRET.encode(), MASK.encode())
    if ENCODERS[coding]:
        assert values(response.headers, "content-encoding") == []
        assert response.length in (None, 0)


@pytest.mark.parametrize("start", range(0, 120, 7))
@pytest.mark.parametrize("coding", ["", "gzip", "br", "gzip, br"])
async def test_a_value_across_pieces(start: int, coding: str) -> None:
    coded = b"x" * start + SECRET.encode() + b"y" * 10
    for encode in ENCODERS[coding]:
        coded = encode(coded)
    pieces = Pieces(*(coded[index : index + 1] for index in range(len(coded))))
    response = Masks({SECRET: "p"}).apply(answer(pieces, ("Content-Encoding", coding)))
    assert await joined(response.body) == b"x" * start + b"p" + b"y" * 10


async def test_only_a_possible_beginning_is_held_back() -> None:
    stream = Stream({b"secret": b"x"})
    assert stream.feed(b"hello\n") == b"hello\n"
    assert stream.feed(b"a sec") == b"a "
    assert stream.feed(b"ond") == b"second"
    assert stream.feed(b"secre") == b""
    assert stream.end() == b"secre"


async def test_forms_of_a_value() -> None:
    forms = variants(SECRET, MASK)
    assert {
        SECRET.encode(),
        SECRET.replace("/", "%2F").replace("+", "%2B").encode(),
        SECRET.replace("/", "%2f").replace("+", "%2b").encode(),
        SECRET.replace("/", "\\/").encode(),
        SECRET.replace("+", "\\u002B").encode(),
    } <= set(forms)
    tricky = 'a"b&c\\dé€'
    for form in variants(tricky, "p"):
        text = Masks({tricky: "p"}).apply(answer(Pieces(b"<" + form + b">")))
        assert await joined(text.body) == b"<p>"


async def test_headers_reason_and_bodiless_answers() -> None:
    masks = Masks({SECRET: MASK})
    assert SECRET not in repr(masks)
    head = Response(
        200,
        f"OK {SECRET}",
        [("X-Echo", f"a{SECRET}b"), ("Location", "/?k=" + SECRET.replace("/", "%2F"))],
        1000,
        bodiless=True,
    )
    seen = masks.apply(head)
    assert SECRET not in str((seen.reason, seen.headers))
    assert values(seen.headers, "x-echo") == [f"a{MASK}b"]
    assert seen.length == 1000


async def test_length_and_checksums() -> None:
    kept = Masks({"a" * 20: "b" * 20}).apply(
        answer(Pieces(b"a" * 20), ("Content-MD5", "x"), ("ETag", '"e"'), length=20)
    )
    assert kept.length == 20
    assert kept.headers == [("ETag", '"e"')]
    assert await joined(kept.body) == b"b" * 20
    assert Masks({"aaa": "b"}).apply(answer(Pieces(), length=3)).length is None
    same = answer(Pieces(), ("Content-Encoding", "zstd"))
    assert Masks({}).apply(same) is same


@pytest.mark.parametrize("coding", ["zstd", "compress", "gzip, zstd", "aws-chunked", "gzip," * 9])
def test_unknown_codings_are_refused(coding: str) -> None:
    with pytest.raises(UpstreamFailed, match="identity"):
        Masks({SECRET: MASK}).apply(answer(Pieces(), ("Content-Encoding", coding)))


def test_a_coded_part_of_a_body_is_refused() -> None:
    part = Response(206, "Partial Content", [("Content-Encoding", "gzip")], None)
    with pytest.raises(UpstreamFailed):
        Masks({SECRET: MASK}).apply(part)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(b"abc" * 100, mtime=0)[:-9]),
        ("gzip", gzip.compress(b"abc", mtime=0) + b"garbage"),
        ("gzip", b"plain text"),
        ("deflate", zlib.compress(b"abc")[:-1]),
        ("deflate", zlib.compress(b"abc") + b"x"),
        ("deflate", b"\x78"),
        ("br", brotli.compress(b"abc" * 100)[:-1]),
        ("br", brotli.compress(b"abc") + b"more"),
        ("br", b"\xff\xff\xff\xff"),
    ],
)
async def test_bodies_that_are_not_what_they_say(coding: str, body: bytes) -> None:
    pieces = Pieces(body)
    response = Masks({SECRET: MASK}).apply(answer(pieces, ("Content-Encoding", coding)))
    with pytest.raises(UpstreamFailed):
        await joined(response.body)
    assert pieces.closed
    with pytest.raises(UpstreamFailed):
        await anext(response.body)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip"])
def test_a_bomb_comes_out_in_small_steps(coding: str) -> None:
    size = 50_000_000
    coded = bytes(size)
    for name in coding.split(", "):
        coded = ENCODERS[name][0](coded)
    decoders = decoders_for([("Content-Encoding", coding)])
    assert decoders is not None
    sizes = [len(piece) for piece in Stack(decoders).feed(coded)]
    assert sum(sizes) == size
    # brotli goes over its limit by a block.
    assert max(sizes) <= STEP


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("gzip, deflate, br, zstd", "gzip, deflate, br"),
        ("zstd", "identity"),
        ("*", "identity"),
        ("GZIP;q=1.0, zstd;q=0.5, identity;q=0", "GZIP;q=1.0, identity;q=0"),
        ("", "identity"),
    ],
)
def test_only_what_can_be_decoded_is_asked_for(sent: str, kept: str) -> None:
    headers = [("Accept-Encoding", sent), ("X", "y")]
    assert accept_decodable(headers) == [("Accept-Encoding", kept), ("X", "y")]
    assert accept_decodable([("X", "y")]) == [("X", "y")]


async def test_closing_closes_the_source() -> None:
    pieces = Pieces(b"a", b"b")
    response = Masks({SECRET: MASK}).apply(answer(pieces))
    assert await anext(response.body) == b"a"
    await dataclasses.replace(response).close()
    assert pieces.closed
