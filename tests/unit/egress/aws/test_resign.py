"""Signed with the real keys, a request is what botocore would have made with them."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.support.aws_signing import NOW, PLACEHOLDER, REAL, Keys, checked, signed

from keyless_sidecar.egress.aws.parts import Parts
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.aws.resign import resign

WITH_TOKEN = dataclasses.replace(PLACEHOLDER, session_token="keylessplaceholder/abc+/=")
NO_TOKEN = dataclasses.replace(REAL, session_token="")


@pytest.mark.parametrize("query", [False, True])
@pytest.mark.parametrize("theirs", [PLACEHOLDER, WITH_TOKEN])
@pytest.mark.parametrize("ours", [REAL, NO_TOKEN])
def test_session_token_is_put_in_and_taken_out(theirs: Keys, ours: Keys, query: bool) -> None:
    resigned = resign(checked(signed(keys=theirs, query=query), keys=theirs), ours)
    wanted = signed(keys=ours, query=query)
    assert resigned.target == wanted.target
    assert resigned.headers == wanted.headers
    assert "keylessplaceholder" not in resigned.target + repr(resigned.headers)


@pytest.mark.parametrize(
    "target", ["/b/a%20b?prefix=a%2Fb&acl", "/b//x/../y", "/b/%e4?list-type=2&x=", "/b?z=1&a=2&a=1"]
)
@pytest.mark.parametrize("query", [False, True])
def test_what_is_asked_for_is_not_changed(target: str, query: bool) -> None:
    asked = signed(target, host="s3.eu-west-1.amazonaws.com", service="s3")
    if query:  # botocore's own presigning would write the query anew
        asked = signed(target.partition("?")[0], host=asked.host, service="s3", query=True)
    resigned = resign(checked(asked), REAL)
    assert resigned.target.startswith(asked.target.partition("X-Amz-Algorithm")[0])


def test_other_headers_keep_their_place_and_value() -> None:
    parts = signed(headers={"X-Amz-Meta-A": "1", "Content-Type": "a/b"})
    mixed = Parts(
        parts.method,
        parts.host,
        parts.target,
        (("Accept", "*/*"), *parts.headers, ("User-Agent", "tool")),
    )
    out = resign(checked(mixed), NO_TOKEN).headers
    assert [name for name, _ in out] == [name for name, _ in mixed.headers]
    assert out[0] == ("Accept", "*/*")
    assert out[-1] == ("User-Agent", "tool")


def test_a_request_that_waited_is_dated_anew() -> None:
    later = NOW + timedelta(hours=20)
    resigned = resign(checked(signed()), NO_TOKEN, later)
    assert resigned.headers == signed(keys=NO_TOKEN, now=later).headers
    assert resigned.timestamp == "20260305T010607Z"


def test_date_header_is_dated_anew() -> None:
    later = NOW + timedelta(minutes=10)
    resigned = resign(checked(signed(headers={"Date": "x"})), NO_TOKEN, later)
    again = Parts("GET", "lambda.eu-west-1.amazonaws.com", resigned.target, resigned.headers)
    assert checked(again, keys=NO_TOKEN).claim.timestamp == resigned.timestamp


def test_presigned_urls_keep_their_time() -> None:
    parts = signed(query=True, expires=300)
    resigned = resign(checked(parts), REAL, NOW + timedelta(minutes=3))
    query = parse_qs(urlsplit(resigned.target).query)
    assert query["X-Amz-Date"] == ["20260304T050607Z"]
    assert query["X-Amz-Expires"] == ["300"]
    assert query["X-Amz-Credential"][0].startswith(REAL.access_key_id)


def test_sessions_of_s3_express() -> None:
    host = "b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com"
    header = "x-amz-s3session-token"
    parts = signed(
        "/key", host=host, service="s3express", region="us-east-1",
        headers={header: WITH_TOKEN.session_token},
    )  # fmt: skip
    resigned = resign(checked(parts, keys=WITH_TOKEN), REAL)
    assert dict(resigned.headers)[header] == REAL.session_token
    assert "X-Amz-Security-Token" not in dict(resigned.headers)
    wanted = signed(
        "/key", host=host, service="s3express", region="us-east-1", keys=NO_TOKEN,
        headers={header: REAL.session_token},
    )  # fmt: skip
    assert resigned.headers == wanted.headers


def test_a_session_token_of_s3_express_elsewhere_is_refused() -> None:
    parts = signed(headers={"x-amz-s3session-token": "x"})
    with pytest.raises(AwsRefusal, match="S3 Express only"):
        checked(parts)


def test_values_beyond_ascii_in_either_reading() -> None:
    for value in ("é", "é".encode().decode("latin-1")):
        parts = signed(headers={"X-Amz-Meta-A": "é"})
        sent = Parts(
            parts.method,
            parts.host,
            parts.target,
            tuple((n, value if n == "X-Amz-Meta-A" else v) for n, v in parts.headers),
        )
        resigned = resign(checked(sent), NO_TOKEN)
        wanted = signed(headers={"X-Amz-Meta-A": "é"}, keys=NO_TOKEN)
        assert resigned.headers[-1] == wanted.headers[-1]


def test_real_keys_are_in_no_repr() -> None:
    shown = repr(resign(checked(signed(query=True)), REAL)) + repr(resign(checked(signed()), REAL))
    assert REAL.session_token not in shown
    assert REAL.secret_access_key not in shown
