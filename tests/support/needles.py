"""Secrets in every form in which a program may hold them, and what is as good as they are."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import urllib.parse
from collections.abc import Iterator, Mapping

from ahocorasick_rs import BytesAhoCorasick, Implementation

#: Whoever holds so many characters of a value in a row holds it.
PART = 12


class Needles:
    """Values, in every form in which a program holds or sends them, to be found in large data.

    Args:
        secrets: texts by name.
        keys: what is as good as a secret (a signing key), as it is in memory.
    """

    def __init__(self, secrets: Mapping[str, str], keys: Mapping[str, bytes] | None = None) -> None:
        self._needles: dict[bytes, str] = {}
        for name, value in secrets.items():
            for form, whole in _forms(value.encode()):
                self._add(whole, f"{name} ({form})")
            for width in ("utf-16-le", "utf-32-le"):
                self._add(value.encode(width), f"{name} ({width})", PART * 2)
        for name, key in (keys or {}).items():
            for form, whole in _forms(key):
                self._add(whole, f"{name} ({form})")

        self._search = BytesAhoCorasick([*self._needles], implementation=Implementation.DFA)
        self._names = [*self._needles.values()]

    def _add(self, whole: bytes, name: str, width: int = PART) -> None:
        for start in range(0, len(whole), width):
            block = whole[start : start + width]
            if len(block) < width:  # the rest, with what comes before it
                block = whole[-width:]
            if len(block) >= PART // 2:
                self._needles.setdefault(block, name)

    def search(self, data: bytes) -> set[str]:
        """Names and forms of what is there."""
        if not data.strip(b"\0"):
            return set()
        return {self._names[n] for n, _, _ in self._search.find_matches_as_indexes(data)}


def signing_keys(secret: str, day: str, region: str, service: str) -> dict[str, bytes]:
    """The keys that are derived from an AWS secret for a day: each signs without it."""
    found: dict[str, bytes] = {}
    key = f"AWS4{secret}".encode()
    for word in (day, region, service, "aws4_request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
        found[f"signing key of {word}"] = key
    return found


def scram_keys(password: str, salt: bytes, iterations: int) -> dict[str, bytes]:
    """What logs in by SCRAM-SHA-256 without the password."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    return {"salted password": salted, "client key": client}


def _forms(value: bytes) -> Iterator[tuple[str, bytes]]:
    """A value in the ways in which programs write it."""
    yield "plain", value
    yield "reversed", value[::-1]
    yield "hex", value.hex().encode()
    yield "HEX", value.hex().upper().encode()
    for skip in range(3):
        # As it stands in the middle of something longer: the edges depend on what is around.
        whole = base64.b64encode(b"\0" * skip + value)
        inner = whole[-(-skip * 4 // 3) : len(whole) - (4 if (skip + len(value)) % 3 else 0)]
        yield "base64", inner
        yield "base64", inner.replace(b"+", b"-").replace(b"/", b"_")
    for skip in range(5):
        whole = base64.b32encode(b"\0" * skip + value)
        yield (
            "base32",
            whole[-(-skip * 8 // 5) : len(whole) - (8 if (skip + len(value)) % 5 else 0)],
        )
    with contextlib.suppress(UnicodeDecodeError):
        text = value.decode()
        yield "URL", urllib.parse.quote(text, safe="").encode()
        yield "JSON", json.dumps(text)[1:-1].encode()
