"""The sanitizer gives what a slow and obvious search gives: after each piece, and at the end."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.naive_sanitizer import NaivePatterns, NaiveSanitizer, NaiveText
from tests.unit import sanitize_forms as forms

from keyless_sidecar.sanitize import Patterns, StreamSanitizer, TextStream

SECRETS = [
    ("token", b"CANARY-q7Zt4KfWm2XrLp9VbNc3"),
    ("aws", b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ("symbols", b"!!ab12!!cd34!!"),
    ("few letters", b"$#@^_+=(<9a>)~|:;"),
    ("wide", "pässwörd-日本語-ключ".encode()),
    ("no letters", b"$#@^_+=(<>)~|:;{]!?"),
    ("no ascii", "日本語のパスワードは秘密です".encode()),
    ("words", b"correct horse battery staple"),
]
#: One set in which nothing but letters is needed, and ones that need each of the other ways.
SETS = [SECRETS[:2], SECRETS[:3], SECRETS[3:5], SECRETS[5:6], SECRETS[6:7], SECRETS]
COMPILED = [(Patterns.build(each), NaivePatterns(each)) for each in SETS]
#: So much that what is decoded on its two sides is decoded by itself.
FAR = b"".join(b"line %d of a long log that says nothing\n" % n for n in range(300))
ORDINARY = Path(__file__).read_text().splitlines(keepends=True)

_noise = st.sampled_from(
    ["\n", " ", "-", "\x1b[31m", "\x1b[", "\b", "x\b", "​", "\r", "%", "%41", "&#65;", "&amp;",
     "\\", "\\u0041", "\\n", '\\"',
     "0x4", "0x41", "0x41 ", "0x", "\n0",
     "\n00000000: 4341 4e41", "********", "H4sI", "eJw", "eyJ", "ghp_",
     "AKIAIOSFODNN7EXAMPLE", "-----BEGIN RSA PRIVATE KEY-----\n",
     "SecretAccessKey", '": "', "é", "日本", "\x07", "X-Amz-Signature=", "ghp", "0-x"]
)  # fmt: skip
_planted = st.builds(
    lambda form, secret, a, b: forms.FORMS[form](secret)[a : -b or None],
    st.sampled_from(sorted(forms.FORMS)),
    st.sampled_from([value for _, value in SECRETS]),
    st.sampled_from([0, 0, 0, 1, 5]),
    st.sampled_from([0, 0, 0, 1, 5]),
)
_pieces = st.one_of(
    _noise.map(str.encode),
    st.sampled_from(ORDINARY).map(str.encode),
    st.text(max_size=8).map(lambda text: text.encode("utf-8", "replace")),
    _planted,
)
streams = st.lists(_pieces, max_size=10).map(b"".join)
cuts = st.tuples(st.integers(0, 1 << 32), st.sampled_from([1, 3, 20, 60, 400]))


def parts(data: bytes, cut: tuple[int, int]) -> list[bytes]:
    rand, found, at = random.Random(cut[0]), [], 0
    while at < len(data):
        size = rand.randint(1, cut[1])
        found.append(data[at : at + size])
        at += size
    return found


@pytest.mark.parametrize("number", range(len(SETS)))
@settings(max_examples=50, deadline=None)
@given(data=streams, cut=cuts)
def test_same_as_the_naive_search(number: int, data: bytes, cut: tuple[int, int]) -> None:
    patterns, naive = COMPILED[number]
    stream, plain = StreamSanitizer(patterns), NaiveSanitizer(naive)
    ours, theirs = b"", b""
    for part in parts(data, cut):
        ours += stream.feed(part)
        theirs += plain.feed(part)
        if patterns.visible:
            assert ours == theirs
        else:  # where symbols don't count, another end may be held, and comes with the next piece
            assert ours.startswith(theirs) or theirs.startswith(ours)
    assert ours + stream.finish() == theirs + plain.finish()
    assert stream.redactions == plain.redactions


@settings(max_examples=25, deadline=None)
@given(pieces=st.lists(_pieces, min_size=2, max_size=5), most=st.sampled_from([5000, 100_000]))
def test_same_where_parts_are_decoded_by_themselves(pieces: list[bytes], most: int) -> None:
    patterns, naive = COMPILED[-1]
    stream, plain = StreamSanitizer(patterns), NaiveSanitizer(naive)
    for part in parts(FAR.join(pieces), (1, most)):
        assert stream.feed(part) == plain.feed(part)
    assert stream.finish() == plain.finish()
    assert stream.redactions == plain.redactions


@settings(max_examples=100, deadline=None)
@given(data=streams, cut=cuts)
def test_same_text_as_by_the_naive_search(data: bytes, cut: tuple[int, int]) -> None:
    patterns, naive = COMPILED[-1]
    stream, plain = TextStream(StreamSanitizer(patterns)), NaiveText(NaiveSanitizer(naive))
    for part in parts(data, cut):
        assert stream.feed(part) == plain.feed(part)
    assert stream.finish() == plain.finish()


def test_secrets_need_all_ways() -> None:
    """The sets above are such that each way of deciding what to search is taken."""
    ways = [(bool(p.visible), p.wide, p.always) for p, _ in COMPILED]
    assert (False, False, False) in ways
    assert (True, False, False) in ways
    assert any(wide for _, wide, _ in ways)
    assert any(always for _, _, always in ways)
