"""Credentials that nobody registered are redacted, on streams too; look-alikes are not."""

from __future__ import annotations

import base64
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyless_sidecar.sanitize import Patterns, StreamSanitizer
from keyless_sidecar.sanitize.stream import HOLD_BOUND

PATTERNS = Patterns.build([])
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SESSION = base64.b64encode(random.Random(1).randbytes(300)).decode()


def _encode(value: dict[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


JWT = ".".join((_encode({"alg": "HS256"}), _encode({"sub": "me", "exp": "1"}), "c2lnbmF0dXJl" * 3))
PEM_BODY = base64.encodebytes(random.Random(2).randbytes(1200)).decode()
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{PEM_BODY}-----END RSA PRIVATE KEY-----"

CASES = {
    "aws-secret-key": [
        (f"AKIAIOSFODNN7EXAMPLE\t{SECRET}\n", SECRET),
        (f"AccessKeyId: ASIAIOSFODNN7EXAMPLE, Secret: {SECRET}\n", SECRET),
        (json.dumps({"Credentials": {"SecretAccessKey": SECRET}}, indent=2), SECRET),
        (f"aws_secret_access_key = {SECRET}\n", SECRET),
        (f"export AWS_SECRET_ACCESS_KEY='{SECRET}'\n", SECRET),
        (f"<SecretAccessKey>{SECRET}</SecretAccessKey>", SECRET),
        (f"||  SecretAccessKey |  {SECRET}  ||", SECRET),
    ],
    "aws-session-token": [
        (json.dumps({"SessionToken": SESSION}), SESSION),
        (f"aws_session_token={SESSION}\nregion=us-east-1\n", SESSION),
        (f"CREDENTIALS\tASIAIOSFODNN7EXAMPLE\t2026-01-01\t{SECRET}\t{SESSION}\n", SESSION),
    ],
    "private-key": [(PEM, PEM_BODY), (json.dumps({"KeyMaterial": PEM}), PEM_BODY[:64])],
    "github-token": [
        ("token ghp_" + "aB3d" * 9 + " ok", "aB3d" * 4),
        ("gho_" + "aB3d" * 9, "aB3d" * 4),
        ("github_pat_" + "aB3d_" * 16 + "\n", "aB3d_" * 4),
    ],
    "jwt": [(f"Authorization: Bearer {JWT}\n", JWT.split(".")[1]), (JWT, JWT.split(".")[2])],
    "presigned-url": [
        (
            "https://b.s3.amazonaws.com/k?X-Amz-Algorithm=AWS4-HMAC-SHA256"
            "&X-Amz-Credential=ASIAIOSFODNN7EXAMPLE%2F20260101%2Fus-east-1%2Fs3%2Faws4_request"
            "&X-Amz-Date=20260101T000000Z&X-Amz-SignedHeaders=host"
            f"&X-Amz-Security-Token={SESSION.replace('/', '%2F').replace('+', '%2B')}"
            "&X-Amz-Signature=" + "0123456789abcdef" * 4 + "\n",
            "0123456789abcdef",
        )
    ],
    "slack-token": [("xoxb-123456789012-abcdefABCDEF12345678\n", "abcdefABCDEF")],
    "google-api-key": [("key=AIzaSyA1234567890abcdefghijklmnopqrstuv\n", "SyA1234567890")],
    "api-key": [("sk-ant-api03-aaaaBBBBccccDDDDeeee1111\n", "aaaaBBBBcccc")],
    "masked-key": [
        ("access_key     ****************ABCD shared-credentials-file\n", "ABCD"),
        ("secret_key     ****************x/Y9", "x/Y9"),
    ],
}  # fmt: skip
ALL = [(label, text, secret) for label, cases in CASES.items() for text, secret in cases]


def clean(text: str, size: int = 0, patterns: Patterns = PATTERNS) -> str:
    data = text.encode()
    stream = StreamSanitizer(patterns)
    step = size or max(1, len(data))
    out = b"".join(stream.feed(data[at : at + step]) for at in range(0, len(data), step))
    return (out + stream.finish()).decode()


@pytest.mark.parametrize(("label", "text", "secret"), ALL)
def test_credential_is_redacted_at_every_split(label: str, text: str, secret: str) -> None:
    whole = clean("see: " + text + " end")
    assert f"[redacted:{label}]" in whole
    assert secret not in whole
    assert secret[:20] not in whole
    assert whole.startswith("see: ")
    assert whole.rstrip().endswith("end")
    data = ("see: " + text + " end").encode()
    for at in range(1, len(data)):
        stream = StreamSanitizer(PATTERNS)
        out = stream.feed(data[:at]) + stream.feed(data[at:]) + stream.finish()
        assert out.decode() == whole, at
    for size in (1, 2, 7):
        assert clean("see: " + text + " end", size) == whole


def test_what_surrounds_a_credential_stays() -> None:
    text = json.dumps({"AccessKeyId": "ASIAIOSFODNN7EXAMPLE", "SecretAccessKey": SECRET,
                       "SessionToken": SESSION, "Expiration": "2026-01-01T00:00:00Z"})  # fmt: skip
    assert json.loads(clean(text)) == {
        "AccessKeyId": "ASIAIOSFODNN7EXAMPLE",
        "SecretAccessKey": "[redacted:aws-secret-key]",
        "SessionToken": "[redacted:aws-session-token]",
        "Expiration": "2026-01-01T00:00:00Z",
    }
    masked = clean("secret_key     ****************x/Y9 env")
    assert masked == "secret_key     ****************[redacted:masked-key] env"


def test_an_endless_token_is_swallowed_without_being_held() -> None:
    stream = StreamSanitizer(PATTERNS)
    out = stream.feed(b'"SessionToken": "')
    for _ in range(100):
        out += stream.feed(b"abcdEFGH" * 1000)
        assert stream.held <= HOLD_BOUND
    assert out + stream.feed(b'", ') == b'"SessionToken": "[redacted:aws-session-token]", '


def test_a_key_without_an_end_is_swallowed_within_a_bound() -> None:
    text = "-----BEGIN PRIVATE KEY-----\n" + "A" * 50_000
    out = clean(text)
    assert 30_000 < len(out) < 40_000
    assert clean(text, 777) == out


def test_a_registered_credential_keeps_its_name_where_a_detector_finds_the_same() -> None:
    patterns = Patterns.build([("zebra", b"Kq7Zt4KfWm2X")])
    for end in ("", "&", "9a8b"):
        text = f"X-Amz-Signature=Kq7Zt4KfWm2X{end}"
        assert clean(text, patterns=patterns).startswith("X-Amz-Signature=[redacted:zebra]")
        assert clean(text, 1, patterns=patterns) == clean(text, patterns=patterns)


pieces = st.sampled_from(
    [
        "-----BEGIN RSA PRIVATE KEY-----\n", "-----BEGIN ", "PRIVATE KEY-----",
        "-----END RSA PRIVATE KEY-----", "-", "--", "-----E", "\n", "AAAA", "QkJC" * 16 + "\n",
        " ", "AKIAIOSFODNN7EXAMPLE", "AKIA", SECRET, SECRET[:-1], SECRET + "a", "a" * 40,
        "SecretAccessKey", "secret_access_key", "=", '": "', '"', ":", "|", "SessionToken",
        SESSION[:30], SESSION, "eyJ", JWT, JWT[:40], ".", "eyJhbGciOiJI", "ghp_", "aB3d" * 9,
        "ghp_" + "aB3d" * 9, "X-Amz-Signature", "X-Amz-", "%3D", "0123abcd" * 8, "&", "*" * 8,
        "*" * 16, "*", "ABCD", "AIza", "xoxb-", "sk-ant-", "github_pat_", "_",
    ]
)  # fmt: skip


@settings(max_examples=800, deadline=None)
@given(parts=st.lists(pieces, max_size=10), seed=st.integers(0, 1 << 32), most=st.integers(1, 60))
def test_output_does_not_depend_on_the_pieces(parts: list[str], seed: int, most: int) -> None:
    data = "".join(parts).encode()
    rand = random.Random(seed)
    stream = StreamSanitizer(PATTERNS)
    out, at = b"", 0
    while at < len(data):
        size = rand.randint(1, most)
        out += stream.feed(data[at : at + size])
        assert stream.held <= HOLD_BOUND
        at += size
    assert out + stream.finish() == clean("".join(parts)).encode()
