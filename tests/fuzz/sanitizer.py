"""Fuzz target: the sanitizer on streams.

A value is ``[SECRET, PIECES, CUTS]``.  A piece is text, or ``[form, start, end]``: a slice of the
secret in one of the forms in which tools print.  However the stream is cut, the output is the same;
what is held back is bounded; the value can't be got from the output where a piece held all of it.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from hypothesis import strategies as st

from keyless_sidecar.sanitize import Patterns, StreamSanitizer, TextStream, weakness
from keyless_sidecar.sanitize.stream import HOLD_BOUND

_SECRETS = (
    "CANARY-q7Zt4KfWm2XrLp9VbNc3",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "correct horse battery staple 42!",
)
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def _forms() -> ModuleType:
    name = "keyless_fuzz_forms"
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "unit" / "sanitize_forms.py"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(str(path))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


FORMS = sorted(_forms().FORMS)
_CUT = ("first half", "last half", "cut off")
_noise = st.sampled_from(
    ["\n", " ", "-", "\x1b[31m", "\x1b[", "\b", "\u200b", "\r", "%", "%41", "&#", "\\", "\\u00",
     "0x4", "00000000: 4341 4e41", "********", "H4sI", "eyJ", "ghp_", "AKIAIOSFODNN7EXAMPLE",
     "-----BEGIN RSA PRIVATE KEY-----\n", "SecretAccessKey", '": "', "é", "\x00",
     "X-Amz-Signature="]
)  # fmt: skip
_piece = st.one_of(
    _noise,
    st.text(max_size=10),
    st.tuples(st.sampled_from(FORMS), st.sampled_from([0, 0, 0, 1, 4]), st.sampled_from([0, 0, 1])),
)
STRATEGY = st.tuples(
    st.sampled_from(_SECRETS) | st.text(_LETTERS, min_size=20, max_size=48),
    st.lists(_piece, max_size=8),
    st.lists(st.integers(0, 400), max_size=8),
)


@cache
def _patterns(secret: str) -> Patterns:
    return Patterns.build([("it", secret.encode())])


def check(value: tuple[str, list[Any], list[int]]) -> None:
    """All that must hold for one stream."""
    secret, pieces, cuts = value
    raw = secret.encode()
    if weakness(raw):  # it could not be registered
        return
    forms = _forms()
    data, whole_in = b"", False
    for piece in pieces:
        if isinstance(piece, str):
            data += piece.encode("utf-8", "replace")
            continue
        form, start, end = piece
        data += forms.FORMS[form](raw)[start : -end or None]
        whole_in = whole_in or (form not in _CUT and not start and not end)
    patterns = _patterns(secret)
    at_once, marks = _run(patterns, [data])
    marks_at = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    parts = [data[a:b] for a, b in pairwise(marks_at)]
    in_parts, marks_in_parts = _run(patterns, parts)
    assert in_parts == at_once, "the output depends on how the stream is cut"
    assert marks == marks_in_parts, "so do the counts"
    assert raw not in at_once, "the value itself got through"
    if whole_in and len(pieces) == 1 and not patterns.skipped and len(set(secret)) >= 12:
        assert marks, "nothing was found"
        assert not forms.recoverable(at_once, raw), "the value can be got from the output"
    _check_text(patterns, parts)


def _run(patterns: Patterns, parts: list[bytes]) -> tuple[bytes, dict[str, int]]:
    stream = StreamSanitizer(patterns)
    out = b""
    for part in parts:
        out += stream.feed(part)
        assert stream.held <= HOLD_BOUND, "too much is held back"
    return out + stream.finish(), dict(stream.redactions)


def _check_text(patterns: Patterns, parts: list[bytes]) -> None:
    stream = TextStream(StreamSanitizer(patterns))
    for text in (*(stream.feed(part) for part in parts), stream.finish()):
        text.encode()  # no half character
