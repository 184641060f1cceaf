"""The front's signature check: what AWS accepts it accepts, and nothing that was changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from keyless.localaws import sigv4
from keyless.localaws.faults import Fault, Refusal
from keyless.localaws.http import HttpRequest

KEY, SECRET = "AKIAEXAMPLE000000000", "s3cr3t/with+signs/and-forty-characters-12"
HOST = "127.0.0.1:4711"


def signed(
    service: str = "lambda",
    method: str = "POST",
    target: str = "/2015-03-31/functions",
    body: bytes = b"{}",
    headers: dict[str, str] | None = None,
    *,
    query: bool = False,
    expires: int = 60,
    secret: str = SECRET,
) -> HttpRequest:
    """A request as botocore signs it."""
    request = AWSRequest(method=method, url=f"http://{HOST}{target}", data=body)
    for name, value in (headers or {}).items():
        request.headers[name] = value
    credentials = Credentials(KEY, secret)
    if query:
        kind = S3SigV4QueryAuth if service == "s3" else SigV4QueryAuth
        kind(credentials, service, "us-east-1", expires=expires).add_auth(request)
    else:
        kind = S3SigV4Auth if service == "s3" else SigV4Auth
        kind(credentials, service, "us-east-1").add_auth(request)
    url = urlsplit(request.url)
    return HttpRequest(
        method,
        url.path + (f"?{url.query}" if url.query else ""),
        (("Host", HOST), *((str(k), str(v)) for k, v in request.headers.items())),
        body,
    )


def verify(request: HttpRequest, now: datetime | None = None) -> None:
    sigv4.verify(request, sigv4.parse(request), SECRET, now or datetime.now(UTC))


def refused(request: HttpRequest, now: datetime | None = None) -> Fault:
    with pytest.raises(Refusal) as caught:
        verify(request, now)
    return caught.value.fault


def changed(request: HttpRequest, **fields: object) -> HttpRequest:
    values = {
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "body": request.body,
    }
    return HttpRequest(**(values | fields))  # type: ignore[arg-type]


def with_header(request: HttpRequest, name: str, value: str) -> HttpRequest:
    rest = tuple(h for h in request.headers if h[0].lower() != name.lower())
    return changed(request, headers=(*rest, (name, value)))


keys = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)


@given(
    key=keys,
    body=st.binary(max_size=200),
    params=st.dictionaries(st.from_regex(r"[a-z-]{1,8}", fullmatch=True), keys, max_size=3),
    presigned=st.booleans(),
)
def test_accepts_whatever_botocore_signs(
    key: str, body: bytes, params: dict[str, str], presigned: bool
) -> None:
    target = "/bucket/" + quote(key, safe="/~")
    if params:
        target += "?" + "&".join(f"{k}={quote(v, safe='-_.~')}" for k, v in params.items())
    verify(signed("s3", "PUT", target, b"" if presigned else body, query=presigned))


@given(data=st.data(), service=st.sampled_from(["lambda", "s3", "sts"]))
def test_refuses_any_changed_byte_of_the_body(data: st.DataObject, service: str) -> None:
    body = data.draw(st.binary(min_size=1, max_size=64))
    request = signed(service, "POST", "/x", body)
    at = data.draw(st.integers(0, len(body) - 1))
    other = bytearray(body)
    other[at] ^= data.draw(st.integers(1, 255))
    expected = Fault.BAD_BODY if service == "s3" else Fault.BAD_SIGNATURE
    assert refused(changed(request, body=bytes(other))) is expected


@given(at=st.integers(0, 63), digit=st.sampled_from("0123456789abcdef"))
def test_refuses_any_other_signature(at: int, digit: str) -> None:
    request = signed()
    value = request.header("authorization")
    start = value.index("Signature=") + len("Signature=") + at
    other = value[:start] + digit + value[start + 1 :]
    if other == value:
        verify(request)
    else:
        assert refused(with_header(request, "Authorization", other)) is Fault.BAD_SIGNATURE


@pytest.mark.parametrize("query", [False, True])
def test_refuses_a_wrong_secret_method_path_or_host(query: bool) -> None:
    good = signed("s3", "GET", "/bucket/key?versionId=1", b"", query=query)
    verify(good)
    for bad in (
        signed("s3", "GET", "/bucket/key", b"", query=query, secret=SECRET[::-1]),
        changed(good, method="DELETE"),
        changed(good, target=good.target.replace("/key", "/yek")),
        changed(good, target=good.target.replace("versionId=1", "versionId=2")),
        changed(good, target=good.target + ("&" if "?" in good.target else "?") + "acl"),
        with_header(good, "Host", "127.0.0.1:4712"),
    ):
        assert refused(bad) is Fault.BAD_SIGNATURE


def test_the_body_hash_header_does_not_excuse_the_body() -> None:
    request = signed("s3", "PUT", "/bucket/key", b"mine")
    assert refused(changed(request, body=b"theirs")) is Fault.BAD_BODY


@pytest.mark.parametrize("service", ["s3", "lambda"])
def test_an_unhashed_body_is_for_s3_only(service: str) -> None:
    request = with_header(
        signed(service, "PUT", "/b/k", b"x"), "X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD"
    )
    _, headers = sigv4.resign(
        request, sigv4.parse(request), Credentials(KEY, SECRET), f"http://{HOST}"
    )
    unhashed = changed(request, headers=(("Host", HOST), *headers))
    if service == "s3":
        verify(changed(unhashed, body=b"anything"))
    else:
        assert refused(unhashed) is Fault.BAD_BODY


def test_signed_chunks_are_refused_with_a_reason() -> None:
    request = with_header(
        signed("s3", "PUT", "/b/k", b"x"),
        "X-Amz-Content-SHA256",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    )
    assert refused(request) is Fault.UNSUPPORTED


@pytest.mark.parametrize(
    ("minutes", "ok"), [(-6, False), (-4, True), (0, True), (4, True), (6, False)]
)
def test_the_clock_may_be_off_by_five_minutes(minutes: int, ok: bool) -> None:
    request, now = signed(), datetime.now(UTC) + timedelta(minutes=minutes)
    if ok:
        verify(request, now)
    else:
        assert refused(request, now) is Fault.SKEWED


def test_a_presigned_url_lives_as_long_as_it_says() -> None:
    request = signed("s3", "GET", "/b/k", b"", query=True, expires=60)
    now = datetime.now(UTC)
    verify(request, now + timedelta(seconds=50))
    assert refused(request, now + timedelta(seconds=70)) is Fault.EXPIRED_URL
    longer = changed(request, target=request.target.replace("Expires=60", "Expires=600"))
    assert refused(longer, now) is Fault.BAD_SIGNATURE


@pytest.mark.parametrize("expires", ["0", "-1", "604801", "x", ""])
def test_a_presigned_url_may_not_live_too_long(expires: str) -> None:
    request = signed("s3", "GET", "/b/k", b"", query=True)
    odd = changed(request, target=request.target.replace("Expires=60", f"Expires={expires}"))
    assert refused(odd) is Fault.MALFORMED


def test_an_unsigned_amz_header_is_refused() -> None:
    for query in (False, True):
        request = signed("s3", "PUT", "/b/k", b"", query=query)
        sneaked = changed(
            request, headers=(*request.headers, ("x-amz-copy-source", "/other/secret"))
        )
        assert refused(sneaked) is Fault.BAD_SIGNATURE


def test_a_signed_header_may_not_come_twice() -> None:
    request = signed()
    assert (
        refused(changed(request, headers=(*request.headers, ("Host", HOST)))) is Fault.BAD_SIGNATURE
    )


def test_the_host_must_be_signed() -> None:
    request = signed()
    value = request.header("authorization").replace("SignedHeaders=host;", "SignedHeaders=")
    assert refused(with_header(request, "Authorization", value)) is Fault.BAD_SIGNATURE


def test_no_or_two_ways_of_signing_are_refused() -> None:
    assert refused(HttpRequest("GET", "/", (("Host", HOST),))) is Fault.UNSIGNED
    request = signed("s3", "GET", "/b/k", b"", query=True)
    header = signed("s3", "GET", "/b/k", b"")
    both = changed(request, headers=header.headers)
    assert refused(both) is Fault.MALFORMED


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic abc",
        "AWS4-HMAC-SHA256",
        f"AWS4-HMAC-SHA256 Credential={KEY}, SignedHeaders=host, Signature={'0' * 64}",
        f"AWS4-HMAC-SHA256 Credential={KEY}/20200101/us-east-1/s3/aws4_request,"
        f" SignedHeaders=host, Signature={'0' * 64}",
        f"AWS4-HMAC-SHA256 Credential={KEY}/20200101/us-east-1/s3/aws4_request,"
        " SignedHeaders=host, Signature=zz",
        "AWS AKIAEXAMPLE:signature",
    ],
)
def test_malformed_authorizations_are_refused(header: str) -> None:
    assert refused(with_header(signed(), "Authorization", header)) in (
        Fault.MALFORMED,
        Fault.UNSIGNED,
    )


def test_what_is_passed_on_is_signed_anew_in_the_header() -> None:
    request = signed("s3", "GET", "/b/a%20b?versionId=1", b"", query=True)
    url, headers = sigv4.resign(
        request, sigv4.parse(request), Credentials(KEY, SECRET), "http://127.0.0.1:1"
    )
    assert url == "http://127.0.0.1:1/b/a%20b?versionId=1"
    names = dict(headers)
    assert "X-Amz-Signature" not in url
    onward = HttpRequest("GET", "/b/a%20b?versionId=1", (("Host", "127.0.0.1:1"), *headers), b"")
    verify(onward)
    assert names["X-Amz-Content-SHA256"]
