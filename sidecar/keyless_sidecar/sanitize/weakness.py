"""Says which values are too weak to be hidden by the sanitizer.

Called by the vault when a person registers a credential, and by `Patterns.build`. A short or
guessable value must never be matched: printing guesses and watching which one is redacted would
tell the value (a redaction oracle), and ordinary output would be eaten.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

MINIMUM = 8
_DIGITS_MINIMUM = 12
_LETTERS_MINIMUM = 12
_BITS_MINIMUM = 20.0

_COMMON = frozenset(
    b"""
    password password1 password12 password123 password1234 passw0rd p@ssw0rd p@ssword passphrase
    changeme changeit change-me changeme123 letmein1 letmein123 welcome1 welcome123 qwerty123
    qwertyuiop 1q2w3e4r 1qaz2wsx iloveyou trustno1 football baseball superman sunshine princess
    admin123 admin1234 administrator root1234 toor1234 default1 default123 test1234 testtest
    testing1 testing123 secret123 secret1234 mysecret my-secret postgres postgresql mysql123
    undefined disabled enabled1 anonymous localhost localhost1 production prod-1234 staging1
    development us-east-1 us-east-2 us-west-1 us-west-2 eu-west-1 eu-central-1 ap-south-1
    aws-global 00000000 11111111 12345678 123456789 1234567890 0123456789 87654321 abcd1234
    abc12345 a1b2c3d4 abcdefgh abcdefghij 0.0.0.0/0 127.0.0.1 localhost:80 text/plain
    application/json username service_account example.com aws_access_key_id
    aws_secret_access_key aws_session_token placeholder redacted
    """.split()
)
_REGION = re.compile(rb"[a-z]{2,3}(-[a-z]+){1,3}-\d{1,2}[a-z]?")
_DATE = re.compile(rb"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)?)?")


def weakness(value: bytes) -> str | None:
    """Return one sentence saying why `value` can't be hidden in output, or None when it can.

    Parameters: `value`, the secret's bytes as a tool would print them.
    """
    text = value.strip()
    folded = text.lower()
    characters = _length(text)
    if characters < MINIMUM:
        return f"The value is shorter than {MINIMUM} characters, so it could be guessed."
    if folded in _COMMON or _REGION.fullmatch(folded) or _DATE.fullmatch(text):
        return "The value is a common word or setting, so hiding it would eat ordinary output."
    if len(set(folded)) < 5 or _repeats(folded):
        return "The value repeats a few characters, so it could be guessed."
    if _is_sequence(folded):
        return "The value is a plain sequence of characters, so it could be guessed."
    compact = re.sub(rb"[\s._:/-]", b"", text)
    if compact.isdigit() and len(compact) < _DIGITS_MINIMUM:
        return f"The value is fewer than {_DIGITS_MINIMUM} digits, so it could be guessed."
    if (
        text.isalpha()
        and text in (folded, text.upper(), text.title())
        and characters < _LETTERS_MINIMUM
    ):
        return "The value is a single word, so it could be guessed."
    if _bits(text) < _BITS_MINIMUM:
        return "The value holds too little randomness, so it could be guessed."
    return None


def distinctive(part: bytes) -> bool:
    """Whether a part of a value looks random enough to be matched by itself.

    Counts the changes between lower case, upper case and digits: random text has many, words and
    host names have few.
    """
    classes = part.translate(_CLASSES, _SYMBOLS)
    changes = sum(map(classes.count, _CHANGES))
    return changes >= 3 and len(set(part)) >= 6


def _class_of(byte: int) -> int:
    char = chr(byte)
    return ord("d") if char.isdigit() else ord("u") if char.isupper() else ord("l")


_ALNUM = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SYMBOLS = bytes(c for c in range(256) if c not in _ALNUM)
_CLASSES = bytes(_class_of(c) if c in _ALNUM else c for c in range(256))


_CHANGES = (b"lu", b"ul", b"ld", b"dl", b"ud", b"du")


def _length(text: bytes) -> int:
    try:
        return len(text.decode())
    except UnicodeDecodeError:
        return len(text)


def _repeats(text: bytes) -> bool:
    """Whether the text is one short unit again and again (up to 4 characters)."""
    return any(text == (text[:n] * len(text))[: len(text)] for n in range(1, 5))


def _is_sequence(text: bytes) -> bool:
    steps = {b - a for a, b in pairwise(text)}
    return steps in ({1}, {-1}, {0})


def _bits(text: bytes) -> float:
    total = len(text)
    return -sum(n * math.log2(n / total) for n in Counter(text).values())
