"""Signature Version 4, checked and made with botocore's own signer.

The front calls :func:`parse` to learn who claims to ask, :func:`verify` to find out whether that is
true, and :func:`resign` to hand the request on.  Nothing here knows HTTP servers or policies.

Stricter than needed where that costs nothing: one way of signing only, the host and every
``x-amz-*`` header signed, no header twice, the date of the scope equal to the date of the request.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from keyless.localaws.faults import Fault, Refusal
from keyless.localaws.http import Headers, HttpRequest

#: How far the request's clock may be off.
MAX_SKEW = timedelta(minutes=5)
#: Longest life of a presigned URL, in seconds.
MAX_EXPIRES = 7 * 24 * 3600

_ALGORITHM = "AWS4-HMAC-SHA256"
_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=(?P<credential>[^,\s]+),"
    r" *SignedHeaders=(?P<headers>[^,\s]+), *Signature=(?P<signature>[0-9a-f]{64})"
)
_SCOPE = re.compile(
    r"(?P<key>[A-Za-z0-9]{16,128})/(?P<date>\d{8})/(?P<region>[a-z0-9-]+)/"
    r"(?P<service>[a-z0-9-]+)/aws4_request"
)
#: Bodies that S3 lets a client send without their hash in the signature.
_UNHASHED = ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
_NOT_SIGNED_ON = {
    "authorization", "connection", "content-length", "expect", "host", "transfer-encoding",
    "x-amz-content-sha256", "x-amz-date", "x-amz-security-token",
}  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """Who a request says it comes from, and the signature that must prove it."""

    access_key_id: str
    date: str
    region: str
    service: str
    timestamp: str
    signed_headers: tuple[str, ...]
    signature: str
    token: str
    presigned: bool
    expires: int = 0


def parse(request: HttpRequest) -> Claim:
    """Read the claim from the ``Authorization`` header or from the query of a presigned URL.

    Raises:
        Refusal: there is none, there are several, or it is malformed.
    """
    authorizations = request.all_headers("authorization")
    query: dict[str, str] = {}
    for name, value in request.query:
        if name.startswith("X-Amz-"):
            if name in query:
                raise Refusal(Fault.MALFORMED, f"The query parameter {name} appears twice.")
            query[name] = value
    presigned = "X-Amz-Signature" in query or "X-Amz-Algorithm" in query
    if len(authorizations) + presigned == 0:
        raise Refusal(Fault.UNSIGNED, "Request is missing Authentication Token")
    if len(authorizations) + presigned > 1:
        raise Refusal(Fault.MALFORMED, "Only one auth mechanism allowed.")
    if presigned:
        return _from_query(query)
    found = _HEADER.fullmatch(authorizations[0].strip())
    if not found:
        raise Refusal(Fault.MALFORMED, "Authorization header is not a valid SigV4 header.")
    return _claim(
        found["credential"],
        found["headers"],
        found["signature"],
        timestamp=_only(request, "x-amz-date"),
        token=_only(request, "x-amz-security-token", required=False),
        presigned=False,
    )


def verify(request: HttpRequest, claim: Claim, secret: str, now: datetime) -> None:
    """Recompute the signature and compare it; check the clock and the body's hash.

    Raises:
        Refusal: the signature, the date or the body is wrong.
    """
    _check_clock(claim, now)
    signed = set(claim.signed_headers)
    if "host" not in signed:
        raise Refusal(Fault.BAD_SIGNATURE, "The Host header must be signed.")
    present = [name.lower() for name, _ in request.headers]
    for name in present:
        free = claim.presigned and name == "x-amz-content-sha256"
        if name.startswith("x-amz-") and name not in signed and not free:
            raise Refusal(Fault.BAD_SIGNATURE, f"The header {name} is present but not signed.")
        if name in signed and present.count(name) > 1:
            raise Refusal(Fault.BAD_SIGNATURE, f"The signed header {name} appears twice.")
    _check_body(request, claim)
    if not hmac.compare_digest(_signature(request, claim, secret), claim.signature):
        raise Refusal(
            Fault.BAD_SIGNATURE,
            "The request signature we calculated does not match the signature you provided."
            " Check your AWS Secret Access Key and signing method.",
        )


def resign(
    request: HttpRequest, claim: Claim, credentials: Credentials, base_url: str
) -> tuple[str, Headers]:
    """The same request for ``base_url``, signed in header form with its body's hash in a header.

    Returns:
        The URL to ask and the headers to send.
    """
    kept = [
        pair
        for pair in request.query_string.split("&")
        if pair and not (claim.presigned and pair.startswith("X-Amz-"))
    ]
    target = request.path + ("?" + "&".join(kept) if kept else "")
    out = AWSRequest(method=request.method, url=base_url + target, data=request.body)
    for name, value in request.headers:
        if name.lower() not in _NOT_SIGNED_ON:
            out.headers[name] = value
    if request.method == "POST" and not request.header("content-type"):
        # the HTTP client would call it a form, and moto would read it as one
        out.headers["Content-Type"] = "application/octet-stream"
    out.headers["X-Amz-Content-SHA256"] = (
        request.header("x-amz-content-sha256")
        if request.header("x-amz-content-sha256") in _UNHASHED
        else hashlib.sha256(request.body).hexdigest()
    )
    # moto reads the hash from the header, and with it checks requests that have no body rightly.
    signer = _KeepHash if claim.service == "s3" else SigV4Auth
    signer(credentials, claim.service, claim.region).add_auth(out)
    return base_url + target, tuple((str(k), str(v)) for k, v in out.headers.items())


class _KeepHash(SigV4Auth):  # type: ignore[misc]
    """SigV4 for S3 (paths are not normalised) that keeps the body's hash header as it is."""

    def _normalize_url_path(self, path: str) -> str:
        return path


def _only(request: HttpRequest, name: str, *, required: bool = True) -> str:
    values = request.all_headers(name)
    if len(values) > 1 or (required and not values):
        raise Refusal(Fault.MALFORMED, f"Exactly one {name} header is needed.")
    return values[0] if values else ""


def _from_query(query: dict[str, str]) -> Claim:
    names = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
    missing = [name for name in names if not query.get(f"X-Amz-{name}")]
    if missing or query["X-Amz-Algorithm"] != _ALGORITHM:
        raise Refusal(Fault.MALFORMED, "Query-string authentication needs all X-Amz parameters.")
    expires = query["X-Amz-Expires"]
    if not re.fullmatch(r"\d{1,6}", expires) or not 0 < int(expires) <= MAX_EXPIRES:
        raise Refusal(Fault.MALFORMED, f"X-Amz-Expires must be from 1 to {MAX_EXPIRES} seconds.")
    return _claim(
        query["X-Amz-Credential"],
        query["X-Amz-SignedHeaders"],
        query["X-Amz-Signature"],
        timestamp=query["X-Amz-Date"],
        token=query.get("X-Amz-Security-Token", ""),
        presigned=True,
        expires=int(expires),
    )


def _claim(
    credential: str,
    headers: str,
    signature: str,
    *,
    timestamp: str,
    token: str,
    presigned: bool,
    expires: int = 0,
) -> Claim:
    scope = _SCOPE.fullmatch(credential)
    if not scope:
        raise Refusal(
            Fault.MALFORMED, "The credential is not KEY/DATE/REGION/SERVICE/aws4_request."
        )
    if not re.fullmatch(r"\d{8}T\d{6}Z", timestamp) or timestamp[:8] != scope["date"]:
        raise Refusal(
            Fault.MALFORMED, "The date of the request and of the credential scope differ."
        )
    names = tuple(headers.split(";"))
    if list(names) != sorted(set(names)) or headers != headers.lower():
        raise Refusal(Fault.MALFORMED, "SignedHeaders must be sorted, lower case, and unique.")
    return Claim(
        access_key_id=scope["key"],
        date=scope["date"],
        region=scope["region"],
        service=scope["service"],
        timestamp=timestamp,
        signed_headers=names,
        signature=signature,
        token=token,
        presigned=presigned,
        expires=expires,
    )


def _check_clock(claim: Claim, now: datetime) -> None:
    try:
        made = datetime.strptime(claim.timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Refusal(Fault.MALFORMED, "The request's date is no date.") from None
    if claim.presigned:
        if now > made + timedelta(seconds=claim.expires):
            raise Refusal(Fault.EXPIRED_URL, "Request has expired")
        if made > now + MAX_SKEW:
            raise Refusal(Fault.SKEWED, "Request is not valid yet")
    elif abs(now - made) > MAX_SKEW:
        raise Refusal(
            Fault.SKEWED,
            f"Signature expired: {claim.timestamp} is more than 5 minutes from"
            f" {now:%Y%m%dT%H%M%SZ}",
        )


def _check_body(request: HttpRequest, claim: Claim) -> None:
    """The body must be what its header says.  Without the header the signature itself says it."""
    stated = request.header("x-amz-content-sha256")
    if claim.presigned or not stated:
        if claim.service == "s3" and not claim.presigned:
            raise Refusal(Fault.BAD_BODY, "Missing required header: x-amz-content-sha256")
        return
    if stated in _UNHASHED and claim.service == "s3":
        return
    if stated.startswith("STREAMING-"):
        raise Refusal(Fault.UNSUPPORTED, f"The local AWS doesn't take bodies of kind {stated}.")
    if not hmac.compare_digest(stated, hashlib.sha256(request.body).hexdigest()):
        raise Refusal(
            Fault.BAD_BODY,
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )


def _signature(request: HttpRequest, claim: Claim, secret: str) -> str:
    signers = {
        (True, False): S3SigV4Auth,
        (True, True): S3SigV4QueryAuth,
        (False, False): SigV4Auth,
        (False, True): SigV4QueryAuth,
    }
    signer = signers[claim.service == "s3", claim.presigned](
        Credentials(claim.access_key_id, secret), claim.service, claim.region
    )
    query = "&".join(
        pair
        for pair in request.query_string.split("&")
        if not (claim.presigned and pair.startswith("X-Amz-Signature="))
    )
    # The host that counts is the one in the Host header, which is signed; this one is a filler.
    url = "http://host" + (request.path or "/") + (f"?{query}" if query else "")
    subject = AWSRequest(method=request.method, url=url, data=request.body)
    for name, value in request.headers:
        if name.lower() in claim.signed_headers:
            subject.headers[name] = value
    subject.context["timestamp"] = claim.timestamp
    text = signer.string_to_sign(subject, signer.canonical_request(subject))
    return str(signer.signature(text, subject))
