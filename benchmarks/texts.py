"""Texts and secrets for the sanitizer and its peers: always the same, and made, not taken."""

from __future__ import annotations

import base64
import hashlib
import random
import string
from urllib.parse import quote

_ALPHABET = string.ascii_letters + string.digits + "+/"
_LEVELS = ("INFO", "INFO", "INFO", "DEBUG", "WARNING")
_WORDS = (  # noqa: SIM905 - easier to read
    "deployed function queue retry bucket object started finished waiting session worker update "
    "request region version stack table index cached uploaded removed listed checked policy role"
).split()


def secrets(count: int) -> list[tuple[str, bytes]]:
    """Labels, and values as AWS's secret keys are."""
    draw = random.Random(7)
    return [
        (f"key-{number}", "".join(draw.choices(_ALPHABET, k=40)).encode())
        for number in range(count)
    ]


def forms(value: bytes) -> list[bytes]:
    """The forms of a value that a simple redactor looks for: itself and seven encodings."""
    inner = [
        base64.b64encode(b"\0" * skip + value).rstrip(b"=")[-(-skip * 4 // 3) : -1]
        for skip in range(3)
    ]
    text = value.decode()
    return [value, *inner, value.hex().encode(), value.hex().upper().encode(),
            quote(text, safe="").encode(), text[::-1].encode()]  # fmt: skip


def text(size: int) -> bytes:
    """A tool's output: log lines and JSON as the AWS CLI prints it, in turn; no secret in it."""
    draw = random.Random(11)
    pieces: list[str] = []
    length = 0
    while length < size:
        piece = _log(draw) if len(pieces) % 2 else _answer(draw)
        pieces.append(piece)
        length += len(piece)
    return "".join(pieces).encode()[:size]


def with_secrets(clean: bytes, values: list[tuple[str, bytes]], every: int) -> bytes:
    """The text with a value at each ``every`` bytes."""
    parts = []
    for number, start in enumerate(range(0, len(clean), every)):
        value = values[number * 37 % len(values)][1]
        parts += [clean[start : start + every], b" key=" + value + b"\n"]
    return b"".join(parts)


def _log(draw: random.Random) -> str:
    lines = []
    for _ in range(20):
        words = " ".join(draw.choices(_WORDS, k=9))
        lines.append(
            f"2026-03-{draw.randint(10, 28)}T{draw.randint(10, 23)}:{draw.randint(10, 59)}:07.183Z "
            f"{draw.choice(_LEVELS)} worker-{draw.randint(1, 40)} {words} id={_uuid(draw)}"
        )
    return "\n".join(lines) + "\n"


def _answer(draw: random.Random) -> str:
    blocks = []
    for _ in range(5):
        name = "-".join(draw.choices(_WORDS, k=3))
        digest = base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()
        blocks.append(
            "        {\n"
            f'            "FunctionName": "{name}",\n'
            f'            "FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:{name}",\n'
            '            "Runtime": "python3.12",\n'
            f'            "CodeSize": {draw.randint(1000, 10_000_000)},\n'
            f'            "CodeSha256": "{digest}",\n'
            '            "LastModified": "2026-03-18T09:41:07.000+0000",\n'
            f'            "RevisionId": "{_uuid(draw)}"\n'
            "        },\n"
        )
    return "".join(blocks)


def _uuid(draw: random.Random) -> str:
    number = f"{draw.getrandbits(128):032x}"
    return "-".join((number[:8], number[8:12], number[12:16], number[16:20], number[20:]))
