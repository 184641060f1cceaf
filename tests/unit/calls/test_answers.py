"""Answers on their way to the kernel: clean, plain, bounded; content that is saved likewise."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from keyless.protocol.calls import MAX_ANSWER, MAX_PIECE
from keyless_sidecar.calls.answers import encode, pieces, sanitized
from keyless_sidecar.calls.content import Download, Owner, TooMuch, put
from keyless_sidecar.sanitize import Patterns
from keyless_sidecar.workspace import WorkspaceRoot

SECRET = "kJ7vQ2xW9mZ4tR8bN3cY6hL1pD5sF0gA"
PATTERNS = Patterns.build([("prod", SECRET.encode())])


def test_secrets_are_taken_out_wherever_they_stand() -> None:
    answer = {
        "Plain": "fine",
        "Text": f"it is {SECRET}",
        "Deep": [{"Map": {SECRET: 1, "hex": SECRET.encode().hex()}}],
        "Bytes": b"\0" + SECRET.encode(),
        "Packed": gzip.compress(SECRET.encode()),
        "When": datetime(2024, 2, 3, tzinfo=UTC),
        "Number": 2**70,
        "Set": {1},
    }
    clean, found = sanitized(PATTERNS, answer)
    data = encode(clean)
    assert SECRET.encode() not in data
    assert SECRET.encode().hex().encode() not in data
    assert clean["Text"] == "it is [redacted:prod]"
    assert clean["Packed"].startswith(b"[withheld")
    assert found["prod"] == 5
    back = msgspec.msgpack.decode(data)
    assert back["When"] == answer["When"]
    assert back["Plain"] == "fine"
    assert back["Number"] == str(2**70)
    assert b"".join(pieces(data)) == data


def test_an_answer_is_bounded_and_comes_in_pieces() -> None:
    data = encode({"Big": "x" * (3 * MAX_PIECE)})
    assert all(len(piece) <= MAX_PIECE for piece in pieces(data))
    with pytest.raises(TooMuch, match="ask for less"):
        encode({"Big": "x" * MAX_ANSWER})


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    work, scratch = tmp_path / "work", tmp_path / "scratch"
    work.mkdir()
    scratch.mkdir()
    return work, scratch


def test_saved_content_is_there_as_a_whole_or_not_at_all(folders: tuple[Path, Path]) -> None:
    work, scratch = folders
    good = Download(scratch, "Body", "out/good.bin", 100, PATTERNS)
    good.write(b"ab")
    good.write(b"cd")
    bad = Download(scratch, "Body", "bad.bin", 100, PATTERNS)
    for piece in (SECRET[:10], SECRET[10:]):
        bad.write(piece.encode())
    (work / "link").symlink_to(scratch / "elsewhere")
    linked = Download(scratch, "Body", "link", 100, PATTERNS)
    linked.write(b"x")
    assert list(scratch.iterdir()) == []  # they have no name, so nothing stays behind
    with WorkspaceRoot(work) as root:
        saved = put([good, bad, linked], root, Owner(0, 0))
    assert [(file.path, file.size) for file in saved.files] == [("out/good.bin", 4)]
    assert (work / "out" / "good.bin").read_bytes() == b"abcd"
    assert not (work / "bad.bin").exists()
    assert not (scratch / "elsewhere").exists()
    assert saved.redactions == {"prod": 1}
    assert any("bad.bin was withheld: it holds prod" in note for note in saved.notes)
    assert any("link was not written" in note for note in saved.notes)
    for download in (good, bad, linked):
        download.close()


def test_content_has_a_limit(folders: tuple[Path, Path]) -> None:
    download = Download(folders[1], "Body", "a", 3, PATTERNS)
    with pytest.raises(TooMuch, match="max_written"):
        download.expect(4)
    with pytest.raises(TooMuch):
        download.write(b"abcd")
    download.close()
