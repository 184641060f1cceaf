"""The sanitizer on streams: every form is found, however the stream is cut; nothing else is."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import random
import re
import string
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyless_sidecar.sanitize import Patterns, StreamSanitizer, sanitize_text
from keyless_sidecar.sanitize.stream import HOLD_BOUND, MAX_HELD

_spec = importlib.util.spec_from_file_location(
    "sanitize_forms", Path(__file__).with_name("sanitize_forms.py")
)
assert _spec is not None
assert _spec.loader is not None
forms = importlib.util.module_from_spec(_spec)
sys.modules["sanitize_forms"] = forms
_spec.loader.exec_module(forms)

LETTERS = string.ascii_letters + string.digits
TOKEN = b"CANARY-q7Zt4KfWm2XrLp9VbNc3"
AWS = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SECRETS = [
    ("token", TOKEN),
    ("aws", AWS),
    ("long", b"gA3+" + hashlib.sha512(b"x").digest().hex().encode()),
]
PATTERNS = Patterns.build(SECRETS)


def clean(data: bytes, size: int = 0, patterns: Patterns = PATTERNS) -> bytes:
    """`data` sanitized, fed in pieces of `size` bytes (0: at once)."""
    stream = StreamSanitizer(patterns)
    step = size or max(1, len(data))
    out = [stream.feed(data[at : at + step]) for at in range(0, len(data), step)]
    return b"".join(out) + stream.finish()


@pytest.mark.parametrize("form", forms.FORMS)
@pytest.mark.parametrize("secret", [TOKEN, AWS], ids=["token", "aws"])
def test_form_is_redacted_at_every_split(form: str, secret: bytes) -> None:
    text = b"before: " + forms.FORMS[form](secret) + b" <- after\n"
    whole = clean(text)
    assert b"[redacted:" in whole
    assert not forms.recoverable(whole, secret)
    assert whole.startswith(b"before: ") or form in ("xxd", "hexdump", "od")
    assert whole.endswith((b" <- after\n", b"<- after\n"))
    for at in range(1, len(text)):
        stream = StreamSanitizer(PATTERNS)
        assert stream.feed(text[:at]) + stream.feed(text[at:]) + stream.finish() == whole
    for size in (1, 2, 3, 7):
        assert clean(text, size) == whole


noise = st.sampled_from(
    [
        "\n", " ", "-", "\x1b[31m", "\x1b[", "\b", "x\b", "\u200b", "\r", "%", "%41", "&#",
        "&#65;", "&amp;", "\\", "\\u00", "\\u0041", "\\x4", "0x4", "0", "\n0",
        "\n00000000: 4341 4e41", "  ", "*", "********", "H4sI", "eJw", "eyJ", "ghp_", "AKIA",
        "AKIAIOSFODNN7EXAMPLE", "-----BEGIN RSA PRIVATE KEY-----\n",
        "-----END RSA PRIVATE KEY-----", "SecretAccessKey", '": "', "é", "\x00",
        "X-Amz-Signature=", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEa", ".eyJ",
    ]
)  # fmt: skip
secret_pieces = st.builds(
    lambda form, secret, a, b: forms.FORMS[form](secret)[a : -b or None].decode("latin-1"),
    st.sampled_from(sorted(forms.FORMS)),
    st.sampled_from([TOKEN, AWS]),
    st.sampled_from([0, 0, 0, 1, 5]),
    st.sampled_from([0, 0, 0, 1, 5]),
)
streams = st.lists(noise | st.text(max_size=8) | secret_pieces, max_size=12).map(
    lambda parts: b"".join(
        p.encode("latin-1") if all(ord(c) < 256 for c in p) else p.encode("utf-8", "replace")
        for p in parts
    )
)


@settings(max_examples=600, deadline=None)
@given(data=streams, seed=st.integers(0, 1 << 32), most=st.sampled_from([1, 3, 20, 200]))
def test_output_does_not_depend_on_the_pieces(data: bytes, seed: int, most: int) -> None:
    rand = random.Random(seed)
    stream = StreamSanitizer(PATTERNS)
    out, at = b"", 0
    while at < len(data):
        size = rand.randint(1, most)
        out += stream.feed(data[at : at + size])
        assert stream.held <= HOLD_BOUND
        at += size
    out += stream.finish()
    assert out == clean(data)


_REDACTION = re.compile(rb"(\[redacted:[a-z-]+\])")
_NO_LETTERS = bytes(c for c in range(256) if c not in LETTERS.encode())


def shows_no_more(out: bytes, plain: bytes, most: int) -> bool:
    """Whether `out` is `plain`, but for `most` letters and digits in front of a replacement.

    The replacement may have another name: what was shown may have told a second kind of secret.
    """
    expected = b"".join(
        rb"([\s\S]*?)\[redacted:[a-z-]+\]" if number % 2 else re.escape(part)
        for number, part in enumerate(_REDACTION.split(plain))
    )
    match = re.fullmatch(expected, out)
    return match is not None and all(
        len(shown.translate(None, _NO_LETTERS)) <= most for shown in match.groups()
    )


@pytest.mark.attack(
    wall="sanitizer",
    title="Print a secret on a terminal in pieces that look like prompts (four characters pass).",
)
@pytest.mark.parametrize("form", forms.FORMS)
@pytest.mark.parametrize("secret", [TOKEN, AWS], ids=["token", "aws"])
def test_a_slow_writer_gets_no_more_than_a_prompt_through(form: str, secret: bytes) -> None:
    text = b"before: " + forms.FORMS[form](secret) + b" <- after\n"
    for size in (1, 2, 3, 7):
        stream, out = StreamSanitizer(PATTERNS), b""
        for at in range(0, len(text), size):
            out += stream.feed(text[at : at + size]) + stream.show_held(4)
        out += stream.finish()
        assert not forms.recoverable(out, secret)
        assert shows_no_more(out, clean(text), 4)


@settings(max_examples=300, deadline=None)
@given(data=streams, seed=st.integers(0, 1 << 32), most=st.sampled_from([1, 3, 20, 200]))
def test_shown_prompts_change_nothing_else(data: bytes, seed: int, most: int) -> None:
    rand = random.Random(seed)
    stream = StreamSanitizer(PATTERNS)
    out, at = b"", 0
    while at < len(data):
        size = rand.randint(1, most)
        out += stream.feed(data[at : at + size])
        assert stream.held <= HOLD_BOUND
        if rand.random() < 0.5:
            out += stream.show_held(4)
            assert stream.show_held(4) == b""
        at += size
    assert shows_no_more(out + stream.finish(), clean(data), 4)


def test_a_prompt_is_seen_whole() -> None:
    for prompt in (b"shop=> ", b"password for C: ", b"name? ", b"(Pdb) ", b"CAN", b"C-A-N-A: "):
        stream = StreamSanitizer(PATTERNS)
        assert stream.feed(prompt) + stream.show_held(4) == prompt
    stream = StreamSanitizer(PATTERNS)
    assert stream.feed(b"CANARY") + stream.show_held(4) == b""


@settings(max_examples=300, deadline=None)
@given(
    secret=st.text(LETTERS, min_size=20, max_size=60)
    | st.text(LETTERS + "+/=-_.!$*", min_size=24, max_size=60),
    before=st.text(max_size=30),
    after=st.text(max_size=30),
    form=st.sampled_from(sorted(forms.FORMS)),
)
def test_random_secret_never_survives(secret: str, before: str, after: str, form: str) -> None:
    value = secret.encode()
    patterns = Patterns.build([("it", value)])
    if patterns.skipped or len(set(secret)) < 12:
        return
    text = before.encode() + b"\n" + forms.FORMS[form](value) + b"\n" + after.encode()
    out = clean(text, patterns=patterns)
    if form not in ("first half", "last half", "cut off"):
        assert not forms.recoverable(out, value), out
    assert out == clean(text, 5, patterns=patterns)


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(max_size=300)
    | st.lists(st.sampled_from(["ok", "line\n", "\x1b[32m", "100%", "a&b", "\\n", "{}", " "])).map(
        "".join
    )
)
def test_text_without_secrets_passes_unchanged(text: str) -> None:
    data = text.encode()
    assert clean(data) == data
    assert clean(data, 3) == data


@pytest.mark.parametrize(
    "line",
    [
        '"CodeSha256": "' + base64.b64encode(hashlib.sha256(b"zip").digest()).decode() + '"',
        "commit " + hashlib.sha1(b"c", usedforsecurity=False).hexdigest(),
        "arn:aws:lambda:us-east-1:123456789012:function:my-function:PROD",
        '"RequestId": "8f507bb4-3a1e-11ee-be56-0242ac120002"',
        "sha256:" + hashlib.sha256(b"i").hexdigest(),
        "AKIAIOSFODNN7EXAMPLE",
        "AKIAIOSFODNN7EXAMPLE commit " + hashlib.sha1(b"d", usedforsecurity=False).hexdigest(),
        "AKIAIOSFODNN7EXAMPLE " + base64.b64encode(hashlib.sha256(b"zip").digest()).decode(),
        "SecretAccessKey is required",
        "https://example.com/a?X=1&Amz=2",
        "eyJhbGciOi is no token; ghp_ is a prefix; -----BEGIN CERTIFICATE-----\nMIIB\n",
        "**************** FAILED ****************",
        "eJwAAAA= and H4sIAAAAAAAA are no archives; disk-usage 40%",
        base64.b64encode(bytes(range(256))).decode(),
    ],
)
def test_ordinary_output_passes(line: str) -> None:
    data = line.encode()
    for size in (0, 1, 4):
        assert clean(data, size) == data


def test_a_prompt_is_held_back_by_a_few_characters_at_most() -> None:
    stream = StreamSanitizer(PATTERNS)
    out = stream.feed(b"Enter your name: ")
    assert out.startswith(b"Enter your n")
    out += stream.feed(b"\n10 of 20 done, 50% ready? ")
    assert out.startswith(b"Enter your name: \n10 of 20 done, 50% re")


def test_only_the_beginning_of_a_secret_is_held_back() -> None:
    stream = StreamSanitizer(PATTERNS)
    assert stream.feed(b"value: CANARY-q7Z") == b"value: "
    assert stream.feed(b"t4") == b""
    assert stream.feed(b"!! no\n").startswith(b"CANARY-q7Zt4!!")


def test_noise_is_not_held_back_for_ever() -> None:
    stream = StreamSanitizer(PATTERNS)
    stream.feed(b"CANARY-q7Z")
    for _ in range(100):
        stream.feed(b" " * 1000)
        assert stream.held <= HOLD_BOUND
    assert stream.finish().strip() == b""


def test_a_packed_run_is_held_within_its_bound_and_then_redacted() -> None:
    import gzip

    rand = random.Random(1)
    run = base64.b64encode(gzip.compress(rand.randbytes(90_000), mtime=0))
    stream = StreamSanitizer(PATTERNS)
    out = b""
    data = b"data: " + run + b". end\n"
    for at in range(0, len(data), 1000):
        out += stream.feed(data[at : at + 1000])
        assert stream.held <= MAX_HELD + 1000
    out += stream.finish()
    assert out == b"data: [redacted:compressed-data]. end\n"
    assert clean(data) == out


def test_a_packed_run_without_a_secret_passes() -> None:
    import gzip

    run = base64.encodebytes(gzip.compress(b"nothing here " * 500 + bytes(range(256)) * 3, mtime=0))
    data = b"data: " + run + b"end.\n"
    for size in (0, 1, 50):
        assert clean(data, size) == data


def test_neighbouring_secrets_are_each_named_and_counted() -> None:
    stream = StreamSanitizer(PATTERNS)
    out = stream.feed(TOKEN + AWS + b" " + TOKEN) + stream.finish()
    assert out == b"[redacted:token][redacted:aws] [redacted:token]"
    assert stream.redactions == {"token": 2, "aws": 1}


def test_short_values_are_never_matched() -> None:
    patterns = Patterns.build([("pin", b"4711"), ("word", b"password"), ("region", b"us-east-1")])
    assert [label for label, _ in patterns.skipped] == ["pin", "word", "region"]
    guesses = " ".join(f"{n:04d}" for n in range(10_000)).encode() + b" password us-east-1"
    assert clean(guesses, patterns=patterns) == guesses


@pytest.mark.parametrize(
    "value",
    [
        "p@$$w0rd.*+?^${}()|[]\\x",
        "a'b\"c<d>&e;f`g$h!i#j%k",
        "pässwörd-ñandú-日本語-ключ",
        "Tr0ub4dor&3 horse#Battery",
        "!!ab12!!cd34!!",
        "correct horse battery staple",
        "550e8400-e29b-41d4-a716-446655440000",
        "aB3$eF6^",
    ],
)
@pytest.mark.parametrize(
    "form",
    ["plain", "json", "json of json", "html", "url", "url every byte", "shell quotes", "base64",
     "base64 after 1", "base64 twice", "hex", "hex colons", "xxd", "unicode escapes", "reversed",
     "numbers", "octal escapes", "zero width", "utf-16", "spaces", "one a line"],
)  # fmt: skip
def test_unusual_values(value: str, form: str) -> None:
    if form in ("json", "json of json", "html", "shell quotes", "utf-16", "zero width"):
        data = forms.FORMS[form](value.encode())
    elif form in ("reversed", "spaces", "one a line"):
        data = {"reversed": value[::-1], "spaces": " ".join(value), "one a line": "\n".join(value)}[
            form
        ].encode()
    elif form == "unicode escapes":
        data = "".join(f"\\u{ord(c):04x}" for c in value).encode()
    else:
        data = forms.FORMS[form](value.encode())
    patterns = Patterns.build([("it", value.encode())])
    assert not patterns.skipped
    text = b"x\n" + data + b"\ny\n"
    out = clean(text, patterns=patterns)
    assert b"[redacted:it]" in out
    assert len(out) < 40 + len("[redacted:it]")
    for size in (1, 3):
        assert clean(text, size, patterns=patterns) == out


def test_multi_line_value_is_found_line_by_line_and_escaped() -> None:
    rand = random.Random(4)
    body = base64.encodebytes(rand.randbytes(300)).decode().splitlines()
    pem = "\n".join(["-----BEGIN PRIVATE KEY-----", *body, "-----END PRIVATE KEY-----", ""])
    patterns = Patterns.build([("key", pem.encode())], detect=False)
    lines = [line for line in body if len(line) >= 12]
    for text in (
        pem,
        pem.replace("\n", "\\n"),
        pem.replace("\n", "\r\n"),
        "\n".join("    " + line for line in pem.splitlines()),
        lines[2],
        base64.encodebytes(pem.encode()).decode(),
        pem.encode().hex(),
    ):
        out = clean(text.encode(), patterns=patterns)
        assert b"[redacted:key]" in out
        assert not any(line[:20].encode() in out for line in lines)
        assert not any(forms.recoverable(out, line.encode()) for line in lines)
        assert clean(text.encode(), 7, patterns=patterns) == out
    assert (
        clean(b"-----BEGIN PRIVATE KEY-----", patterns=patterns) == b"-----BEGIN PRIVATE KEY-----"
    )


def test_sanitize_text() -> None:
    out, counts = sanitize_text(PATTERNS, f"é {TOKEN.decode()} \udc80")
    assert out == "é [redacted:token] \udc80"
    assert counts == {"token": 1}


def test_no_patterns_at_all() -> None:
    patterns = Patterns.build([], detect=False)
    assert clean(TOKEN + b" eyJ \x1b[0m", patterns=patterns) == TOKEN + b" eyJ \x1b[0m"


def test_repr_shows_no_value() -> None:
    assert "CANARY" not in repr(PATTERNS)
