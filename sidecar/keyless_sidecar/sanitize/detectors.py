"""Recognises credentials that nobody registered, by their own form.

Used by `detection`. A detector is a list of atoms; from it come a regular expression for the
credential and one for its beginning, cut off by the end of the buffer. A detector commits on a
bounded beginning; what follows of the same credential (a long token, the body of a key) is
swallowed without being held.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .index import Trigger

# How each credential begins, but for the masked ones and an access key id's neighbours.
DETECT_TRIGGER = Trigger(
    "detect",
    (
        b"AKIA", b"ASIA", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"eyJ",
        b"BEGIN ", b"X-Amz-", b"X-Goog-", b"xoxa-", b"xoxb-", b"xoxe-", b"xoxo-", b"xoxp-",
        b"xoxr-", b"xoxs-", b"AIza", b"sk-ant-", b"sk-proj-", b"sk_live_", b"sk_test_",
        b"rk_live_", b"rk_test_",
        b"SecretAccessKey", b"secretAccessKey", b"secret_access_key", b"secret-access-key",
        b"SECRET_ACCESS_KEY", b"SessionToken", b"sessionToken", b"session_token",
        b"session-token", b"SESSION_TOKEN",
    ),
)  # fmt: skip

Atom = tuple[bytes, int, int]


def _literal(text: bytes) -> list[Atom]:
    return [(re.escape(bytes([c])), 1, 1) for c in text]


@dataclass(frozen=True)
class Detector:
    """`head` stays in the output, `body` is redacted, and then whatever matches `more`.

    `before` and `after` are one-character look-arounds.
    """

    label: str
    head: list[Atom]
    body: list[Atom]
    more: bytes = b""
    before: bytes = b"(?<![A-Za-z0-9])"
    after: bytes = b""


_B64 = b"[A-Za-z0-9/+]"
_QUOTES = rb"""["'\\]"""
_ASSIGN: list[Atom] = [
    (_QUOTES, 0, 2), (rb"[ \t]", 0, 40), (rb"[:=>|]", 1, 1), (rb"[ \t|]", 0, 40), (_QUOTES, 0, 2),
]  # fmt: skip
_NAMES = {
    "aws-secret-key": (b"Secret", b"Access", b"Key"),
    "aws-session-token": (b"Session", b"Token"),
}


def _named(label: str, value: list[Atom], more: bytes, after: bytes) -> list[Detector]:
    words = _NAMES[label]
    camel = b"".join(words)
    spellings = {
        camel, camel[:1].lower() + camel[1:], b"_".join(words).lower(), b"_".join(words).upper(),
        b"-".join(words).lower(),
    }  # fmt: skip
    return [
        Detector(label, _literal(name) + _ASSIGN, value, more, before=b"", after=after)
        for name in sorted(spellings)
    ]


_DETECTORS: list[Detector] = [
    Detector(
        "github-token",
        [],
        [*_literal(b"gh"), (b"[pousr]", 1, 1), (b"_", 1, 1), (b"[A-Za-z0-9]", 36, 36)],
        b"[A-Za-z0-9]*",
    ),
    Detector(
        "github-token", [], [*_literal(b"github_pat_"), (rb"\w", 36, 36)], rb"[A-Za-z0-9_]*"
    ),
    Detector(
        "jwt",
        [],
        [*_literal(b"eyJ"), (rb"[\w-]", 8, 1024), *_literal(b".eyJ"), (rb"[\w-]", 8, 8)],
        rb"[\w.-]*",
    ),
    Detector(
        "slack-token",
        [],
        [*_literal(b"xox"), (b"[abeoprs]", 1, 1), (b"-", 1, 1), (b"[A-Za-z0-9-]", 20, 20)],
        b"[A-Za-z0-9-]*",
    ),
    Detector("google-api-key", [], [*_literal(b"AIza"), (rb"[\w-]", 35, 35)], after=rb"(?![\w-])"),
    *(
        Detector("api-key", [], [*_literal(name), (rb"[\w-]", 20, 20)], rb"[\w-]*")
        for name in (b"sk-ant-", b"sk-proj-", b"sk_live_", b"sk_test_", b"rk_live_", b"rk_test_")
    ),
    *(
        Detector(
            "presigned-url",
            _literal(name + equals),
            [(rb"[^&\s\"'<>\\]", 8, 8)],
            rb"[^&\s\"'<>\\]*",
        )
        for vendor in (b"X-Amz-", b"X-Goog-")
        for equals in (b"=", b"%3D")
        for name in (vendor + b"Signature", vendor + b"Credential", vendor + b"Security-Token")
    ),
    *_named("aws-secret-key", [(_B64, 40, 40)], b"", rb"(?![A-Za-z0-9/+=])"),
    *_named("aws-session-token", [(b"[A-Za-z0-9/+=%]", 16, 16)], b"[A-Za-z0-9/+=%]*", b""),
    Detector(
        "private-key",
        [
            *_literal(b"BEGIN "),
            (b"[A-Z0-9 ]", 0, 24),
            *_literal(b"PRIVATE KEY"),
            (b"[A-Z ]", 0, 8),
            *_literal(b"-----"),
            (rb"[\s\\rn]{1,6}+", 1, 1),
        ],
        [(b"[A-Za-z0-9+/=]", 1, 1)],
        rb"(?:[A-Za-z0-9+/=\s\\:,]|-(?!----END ))*",
        before=b"",
    ),
    Detector(
        "masked-key",
        [(rb"\*", 8, 64)],
        [(b"[A-Za-z0-9/+=]", 2, 8)],
        before=rb"(?<!\*)",
        after=rb"(?![\w/+=*-])",
    ),
    Detector(
        "",
        [],
        [*_literal(b"A"), (b"[KS]", 1, 1), *_literal(b"IA"), (b"[A-Z0-9]", 16, 16)],
        after=b"(?![A-Za-z0-9])",
    ),
]  # fmt: skip
ACCESS_KEY_ID = len(_DETECTORS) - 1
# Only looked for shortly after an access key id.
_NEIGHBOURS: list[Detector] = [
    Detector(
        "aws-secret-key", [], [(_B64, 40, 40)],
        before=rb"(?<![\w/+=.-])", after=rb"(?![\w/+=.-])",
    ),
    Detector(
        "aws-session-token", [], [(b"[A-Za-z0-9/+=]", 80, 80)], b"[A-Za-z0-9/+=]*",
        before=rb"(?<![\w/+=.-])",
    ),
]  # fmt: skip


def _whole(atoms: list[Atom]) -> bytes:
    return b"".join(b"(?:%b){%d,%d}" % atom for atom in atoms)


def _start(atoms: list[Atom]) -> bytes:
    """Matches a beginning of `atoms`, at least one character long, that the end cuts off."""
    (unit, least, most), rest = atoms[0], atoms[1:]
    cut = b"(?:%b){1,%d}" % (unit, most if rest else max(most - 1, 1))
    if not rest:
        return cut
    return b"(?:(?:%b){%d,%d}%b|%b)" % (unit, least, most, _start(rest), cut)


def _compile(detectors: list[Detector], number: int) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    whole, start = [], []
    for at, detector in enumerate(detectors, number):
        head, body = _whole(detector.head), _whole(detector.body)
        whole.append(b"%b%b(?P<d%d>%b)%b" % (detector.before, head, at, body, detector.after))
        atoms = detector.head + detector.body
        start.append(detector.before + _start(atoms) + rb"\Z")
        if detector.after:
            start.append(detector.before + _whole(atoms) + rb"\Z")
    return re.compile(b"|".join(whole), re.ASCII), re.compile(b"|".join(start), re.ASCII)


WHOLE, START = _compile(_DETECTORS, 0)
WHOLE_NEAR, START_NEAR = _compile(_NEIGHBOURS, len(_DETECTORS))
ALL = _DETECTORS + _NEIGHBOURS
MORE = [re.compile(detector.more, re.ASCII) for detector in ALL]
