"""What is signed in an unclear way, or not with the placeholder, is refused with a reason."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.aws_signing import NOW, PLACEHOLDER, Keys, checked, signed

from keyless_sidecar.egress.aws.parts import Parts
from keyless_sidecar.egress.aws.payload import payload_of
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.aws.signature import parse
from keyless_sidecar.egress.aws.verify import verify

ODD_PATHS = [
    "/b/a%20b", "/b/%E6%BC%A2", "/b//", "/b/a//b", "/b/../c", "/b/a%2Bb", "/b/%252F", "/b/~x",
    "/b/./x", "/b/a%2Fb", "/b/a%3Facl", "/b/x/", "/b/(1)'!*", "/b/a@b:c=d&e;f,g$h",
]  # fmt: skip


def with_header(parts: Parts, *headers: tuple[str, str]) -> Parts:
    return dataclasses.replace(parts, headers=(*parts.headers, *headers))


def with_value(parts: Parts, name: str, old: str, new: str) -> Parts:
    changed = tuple(
        (key, value.replace(old, new) if key.lower() == name else value)
        for key, value in parts.headers
    )
    assert changed != parts.headers or old == new
    return dataclasses.replace(parts, headers=changed)


def refused(parts: Parts, code: str, match: str | None = None, body: bytes = b"") -> None:
    with pytest.raises(AwsRefusal, match=match) as caught:
        checked(parts, body)
    assert caught.value.code == code
    assert caught.value.message.endswith(".")


def test_what_botocore_signs_passes() -> None:
    assert checked(signed(method="POST", body=b"{}"), b"{}").claim.service == "lambda"
    assert checked(signed(query=True)).claim.presigned


@pytest.mark.parametrize("query", [False, True])
@pytest.mark.parametrize("path", ODD_PATHS)
def test_odd_paths_of_s3_are_signed_as_they_are(path: str, query: bool) -> None:
    host = "s3.eu-west-1.amazonaws.com"
    assert checked(signed(path, host=host, service="s3", query=query))


@pytest.mark.parametrize("path", ODD_PATHS)
def test_odd_paths_elsewhere_are_normalised_and_encoded_again(path: str) -> None:
    assert checked(signed(path))


def test_unsigned() -> None:
    bare = Parts("GET", "lambda.eu-west-1.amazonaws.com", "/", ())
    refused(bare, "MissingAuthenticationToken", "placeholder")


def test_signed_twice() -> None:
    parts = signed()
    authorization = ("authorization", parts.header("authorization"))
    refused(with_header(parts, authorization), "IncompleteSignature", "more than one way")
    both = dataclasses.replace(parts, target=signed(query=True).target)
    refused(both, "IncompleteSignature", "more than one way")


def test_hidden_query_signature_beside_a_header() -> None:
    parts = signed("/x?%58-Amz-Signature=1")
    refused(parts, "IncompleteSignature", "plainly")
    refused(signed("/x?x-amz-security-token=1"), "IncompleteSignature", "beside a signature")


def test_query_parameter_twice() -> None:
    parts = signed(query=True)
    twice = dataclasses.replace(parts, target=parts.target + "&X-Amz-Expires=604800")
    refused(twice, "IncompleteSignature", "twice")


@pytest.mark.parametrize("value", ["AWS AKIA:abc=", "AWS3-HTTPS AWSAccessKeyId=A,Algorithm=x"])
def test_older_signatures(value: str) -> None:
    parts = Parts("GET", "s3.amazonaws.com", "/", (("Authorization", value),))
    refused(parts, "InvalidRequest", "s3v4")
    url = "/b/k?AWSAccessKeyId=AKIA&Signature=x&Expires=1"
    refused(Parts("GET", "s3.amazonaws.com", url, ()), "InvalidRequest", "s3v4")


def test_asymmetric_signatures() -> None:
    value = "AWS4-ECDSA-P256-SHA256 Credential=A/20260304/s3/aws4_request, SignedHeaders=host"
    parts = Parts("GET", "x.accesspoint.s3-global.amazonaws.com", "/", (("Authorization", value),))
    refused(parts, "InvalidRequest", "one region")
    url = "/?X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Credential=A"
    refused(Parts("GET", "x.amazonaws.com", url, ()), "InvalidRequest", "one region")


def test_header_that_counts_but_is_not_signed() -> None:
    copied = with_header(signed(), ("X-Amz-Copy-Source", "/secret/key"))
    refused(copied, "SignatureDoesNotMatch", "X-Amz-Copy-Source|x-amz-copy-source")


@pytest.mark.parametrize("name", ["host", "x-amz-date"])
def test_host_and_date_must_be_signed(name: str) -> None:
    parts = signed()
    without = with_value(
        parts, "authorization", "host;x-amz-date", "host;x-amz-date".replace(name, "").strip(";")
    )
    refused(without, "SignatureDoesNotMatch", "must be signed")


def test_signed_header_twice_or_missing() -> None:
    parts = signed(headers={"X-Amz-Meta-A": "1"})
    refused(with_header(parts, ("x-amz-meta-a", "2")), "SignatureDoesNotMatch", "exactly once")
    gone = tuple(h for h in parts.headers if h[0] != "X-Amz-Meta-A")
    refused(dataclasses.replace(parts, headers=gone), "SignatureDoesNotMatch", "exactly once")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("/aws4_request", "/aws5_request", "credential"),
        ("/20260304/", "/20260303/", "dates"),
        ("Signature=", "Signature=zz", "hexadecimal"),
        ("SignedHeaders=host;", "SignedHeaders=host;host;", "repetition"),
        ("SignedHeaders=host;", "SignedHeaders=Host;", "lower case"),
        ("Credential=", "Credential=a, Credential=", "malformed"),
        ("Signature=", "Other=1, Signature=", "needs"),
        ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA512 ", "must begin"),
    ],
)
def test_malformed_header(old: str, new: str, reason: str) -> None:
    refused(with_value(signed(), "authorization", old, new), "IncompleteSignature", reason)


def test_changed_in_any_way() -> None:
    parts = signed(headers={"X-Amz-Meta-A": "1", "Content-Type": "application/json"})
    for changed in (
        dataclasses.replace(parts, method="DELETE"),
        dataclasses.replace(parts, host="lambda.us-east-1.amazonaws.com"),
        dataclasses.replace(parts, target=parts.target + "/other"),
        dataclasses.replace(parts, target=parts.target + "?a=b"),
        with_value(parts, "x-amz-meta-a", "1", "2"),
        with_value(parts, "content-type", "json", "cbor"),
        with_value(parts, "x-amz-date", "0607Z", "0608Z"),
    ):
        refused(changed, "SignatureDoesNotMatch")


def test_changed_body() -> None:
    parts = signed(method="POST", body=b"{}")
    refused(parts, "SignatureDoesNotMatch", body=b"[]")
    s3 = signed("/b/k", host="s3.eu-west-1.amazonaws.com", service="s3", method="PUT", body=b"x")
    refused(s3, "XAmzContentSHA256Mismatch", body=b"y")


def test_other_keys() -> None:
    parts = signed(keys=Keys("AKIAKEYLESSAAAAAAAAA", "another secret"))
    refused(parts, "SignatureDoesNotMatch")


def test_session_token_must_be_the_placeholders() -> None:
    withtoken = dataclasses.replace(PLACEHOLDER, session_token="keylessplaceholder/abc")
    parts = signed(keys=withtoken)
    assert checked(parts, keys=withtoken)
    refused(parts, "InvalidClientTokenId")
    with pytest.raises(AwsRefusal, match="session token"):
        checked(signed(), keys=withtoken)


@pytest.mark.parametrize("minutes", [-16, 16, 600])
def test_clock(minutes: int) -> None:
    refused(signed(now=NOW + timedelta(minutes=minutes)), "RequestTimeTooSkewed", "clock")


def test_presigned_life() -> None:
    late = signed(query=True, expires=60, now=NOW - timedelta(seconds=61))
    refused(late, "RequestExpired", "expired")
    early = signed(query=True, expires=3600, now=NOW + timedelta(minutes=16))
    refused(early, "RequestTimeTooSkewed")
    refused(signed(query=True, expires=604801), "IncompleteSignature", "604800")


def test_date_header_instead_of_amz_date() -> None:
    parts = signed(headers={"Date": "x"})
    assert not parts.header("x-amz-date")
    assert checked(parts).claim.dated == "date"


@pytest.mark.parametrize(
    "parts",
    [
        Parts("GET", "h", "/a b", ()),
        Parts("GET", "h", "/a\\b", ()),
        Parts("GET", "h", "/a#b", ()),
        Parts("GET", "h", "//evil.example/x?a=b+c", ()),
        Parts("GET", "h", "/%zz", ()),
        Parts("GET", "h", "http://other/", ()),
        Parts("get", "h", "/", ()),
        Parts("GET", "h", "/", (("X-HTTP-Method-Override", "DELETE"),)),
        Parts("GET", "h", "/", (("Host", "other"),)),
        Parts("GET", "h", "/", (("Host", "h"), ("host", "h"))),
        Parts("GET", "h", "/", (("A b", "x"),)),
        Parts("GET", "h", "/", (("A", "x\r\nB: y"),)),
    ],
)
def test_what_can_be_read_in_two_ways(parts: Parts) -> None:
    with pytest.raises(AwsRefusal) as caught:
        parts.checked()
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (hashlib.sha256(b"").hexdigest(), "declared"),
        ("UNSIGNED-PAYLOAD", "open"),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", "open"),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "chunks"),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "chunks"),
        ("STREAMING-AWS4-HMAC-SHA256-EVENTS", ""),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", ""),
        ("anything", ""),
    ],
)
def test_ways_to_sign_a_body(said: str, kind: str) -> None:
    parts = signed("/b/k", host="s3.eu-west-1.amazonaws.com", service="s3", method="PUT")
    claim = parse(parts)
    parts = with_value(parts, "x-amz-content-sha256", hashlib.sha256(b"").hexdigest(), said)
    if kind:
        assert payload_of(parts, claim).kind == kind
    else:
        with pytest.raises(AwsRefusal, match="not let through"):
            payload_of(parts, claim)


def test_hash_of_the_body_is_never_left_out() -> None:
    parts = signed()
    with pytest.raises(ValueError, match="hash of the body"):
        verify(parts, parse(parts), PLACEHOLDER, NOW)


def test_secrets_are_in_no_repr() -> None:
    keys = dataclasses.replace(PLACEHOLDER, session_token="keylessplaceholder/tokentoken")
    verified = checked(signed(keys=keys, headers={"X-Amz-Meta-A": "meta"}), keys=keys)
    assert "tokentoken" not in repr(verified)


@given(st.text(), st.text(max_size=200))
def test_no_authorization_header_crashes(first: str, second: str) -> None:
    headers = (("Authorization", f"AWS4-HMAC-SHA256 {first}={second}"), ("X-Amz-Date", second))
    with pytest.raises(AwsRefusal):
        parse(Parts("GET", "h", "/", headers))


@given(st.binary(max_size=60), st.booleans())
def test_any_key_of_s3_verifies(key: bytes, query: bool) -> None:
    path = "/b/" + "".join(f"%{byte:02X}" for byte in key)
    host = "s3.eu-west-1.amazonaws.com"
    assert checked(signed(path, host=host, service="s3", query=query))
