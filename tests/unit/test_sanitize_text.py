"""A tool's output as text: valid, without terminal control, without binary data."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import random
import zipfile
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyless_sidecar.sanitize import Patterns, StreamSanitizer, TextStream

TOKEN = "CANARY-q7Zt4KfWm2XrLp9VbNc3"
PATTERNS = Patterns.build([("token", TOKEN.encode())])


def show(data: bytes, size: int = 0) -> tuple[str, list[str]]:
    stream = TextStream(StreamSanitizer(PATTERNS))
    step = size or max(1, len(data))
    out = "".join(stream.feed(data[at : at + step]) for at in range(0, len(data), step))
    out += stream.finish()
    return out, stream.notes


def _zip(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", data)
    return file.getvalue()


SECRET_DATA = b"env " + TOKEN.encode()
BINARY = {
    "gzip": gzip.compress(SECRET_DATA, mtime=0),
    "zlib": zlib.compress(SECRET_DATA),
    "zlib best": zlib.compress(SECRET_DATA, 9),
    "bzip2": bz2.compress(SECRET_DATA),
    "xz": lzma.compress(SECRET_DATA),
    "zip": _zip(SECRET_DATA),
    "png": b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + SECRET_DATA,
    "zstd": b"\x28\xb5\x2f\xfd\x04\x00" + SECRET_DATA,
    "utf-16": TOKEN.encode("utf-16"),
    "utf-16-be": TOKEN.encode("utf-16-be"),
    "utf-32": TOKEN.encode("utf-32-le"),
    "random": random.Random(1).randbytes(500).replace(b"\0", b"\xf1"),
    "nul": b"\0" + SECRET_DATA,
}


@pytest.mark.parametrize("kind", BINARY)
def test_binary_output_is_withheld_with_one_note(kind: str) -> None:
    data = b"ok\n" + BINARY[kind]
    out, notes = show(data)
    assert out.startswith("ok\n")
    assert len(out) < 40
    assert TOKEN[:10] not in out
    assert len([note for note in notes if note.startswith("binary output withheld")]) == 1
    for size in (1, 2, 3, 5):
        assert show(data, size) == (out, notes)


def test_binary_note_says_how_much_and_what_to_do() -> None:
    out, notes = show(b"line\n" + b"\0" * 100)
    assert out == "line\n"
    assert notes == [
        "binary output withheld (100 bytes); write it to a file in the workspace instead"
    ]


def test_gzip_gives_nothing_decodable() -> None:
    out, _ = show(BINARY["gzip"])
    assert out == ""


def test_a_wrong_byte_is_shown_and_noted() -> None:
    data = b"caf\xe9 au lait, " + "é".encode() + b" \xc3"
    for size in (0, 1, 2):
        out, notes = show(data, size)
        assert out == "caf\ufffd au lait, é \ufffd"
        assert notes == ["stdout is not UTF-8; 2 bytes shown as U+FFFD"]


def test_a_character_is_never_split() -> None:
    text = "日本語 ключ é 🎉 " * 5
    stream = TextStream(StreamSanitizer(PATTERNS))
    pieces = [stream.feed(bytes([byte])) for byte in text.encode()] + [stream.finish()]
    assert "".join(pieces) == text
    assert stream.notes == []


def test_terminal_control_is_removed_but_colours() -> None:
    data = b"\x1b[1;31mred\x1b[0m \x1b[2J\x1b[5Agone\x1b]0;title\x07 "
    data += b"\x1b[?25l10%\r20%\x07\x0b\x1b(B\xc2\x9b5m"
    for size in (0, 1, 3):
        out, notes = show(data, size)
        assert out == "\x1b[1;31mred\x1b[0m gone 10%\r20%5m"
        assert notes == []


@pytest.mark.parametrize(
    "data",
    [
        TOKEN[:9] + "\x1b[31m" + TOKEN[9:],
        TOKEN[:9] + "\x1b]0;" + "x" * 3000 + "\x07" + TOKEN[9:],
        TOKEN[:9] + "\x1b[2;9H" + TOKEN[9:],
        TOKEN[:9] + "\x1b[" + "38;2;255" * 25 + "m" + TOKEN[9:],
        "".join(c + "x\b" for c in TOKEN),
        "\u200b".join(TOKEN),
        "xxxxx\r" + TOKEN[:10] + "\r\x1b[10C" + TOKEN[10:],
        TOKEN[:4] + "\x07\x07" + TOKEN[4:],
        "\x0e".join(TOKEN),
    ],
)
def test_terminal_control_hides_no_secret(data: str) -> None:
    out, _ = show(data.encode() + b"\n")
    assert "[redacted:token]" in out
    assert "t4KfWm2X" not in "".join(c for c in out if c.isalnum())
    for size in (1, 2, 7):
        assert show(data.encode() + b"\n", size)[0] == out


@settings(max_examples=400, deadline=None)
@given(
    parts=st.lists(
        st.text(max_size=6).map(str.encode)
        | st.binary(max_size=4)
        | st.sampled_from([
            b"\x1f", b"\x8b", b"PK", b"\x03\x04", b"\x1b[31m", b"\x1b]0;", b"\x07", b"\x1b",
            b"x\x9c", b"\xda", b"x", b"BZh91AY&SY", b"\xc3", b"\xe9t\xe9", TOKEN.encode(),
            b"\xff", b"(", b"\xb5/\xfd", b"\x89", b"PNG",
        ]),
        max_size=12,
    ),
    size=st.integers(1, 9),
)  # fmt: skip
@example(parts=[b"x\xda\x80"], size=2)  # what may begin binary data is cut from what tells
def test_output_does_not_depend_on_the_pieces(parts: list[bytes], size: int) -> None:
    data = b"".join(parts)
    out, notes = show(data)
    assert show(data, size) == (out, notes)
    out.encode()


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cc", "Cs"))))
def test_plain_text_passes_unchanged(text: str) -> None:
    out, notes = show(text.encode())
    assert out == text
    assert notes == []


def test_long_base64_image_passes() -> None:
    data = base64.b64encode(random.Random(3).randbytes(5000))
    assert show(data, 40) == (data.decode(), [])
