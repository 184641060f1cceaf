"""Who a request says it comes from: its Signature Version 4, header form or presigned URL, parsed.

Nothing is verified here (``verify`` does that), but a request that is signed in a way that leaves
something open is refused: two ways at once, the host or an ``x-amz-*`` header not signed, a header
twice.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from keyless_sidecar.egress.aws.parts import Parts, decoded
from keyless_sidecar.egress.aws.refusal import AwsRefusal

__all__ = ["ALGORITHM", "SESSION_TOKEN", "TIMESTAMP", "TOKEN", "Claim", "moment", "parse"]

ALGORITHM = "AWS4-HMAC-SHA256"
TOKEN = "x-amz-security-token"  # noqa: S105 (a header's name)
SESSION_TOKEN = "x-amz-s3session-token"  # noqa: S105
#: Signing names whose paths are signed as they are, not normalised and encoded again.
_S3_NAMES = frozenset({"s3", "s3express", "s3-outposts", "s3-object-lambda"})

_MAX_EXPIRES = 7 * 24 * 3600
#: How a timestamp looks, for strftime.
TIMESTAMP = "%Y%m%dT%H%M%SZ"
_SCOPE = re.compile(
    r"(?P<key>[A-Za-z0-9_]{1,128})/(?P<date>\d{8})/(?P<region>[a-z0-9-]{1,64})/"
    r"(?P<service>[A-Za-z0-9-]{1,64})/aws4_request"
)
_QUERY_AUTH = frozenset(
    {
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-signedheaders",
        "x-amz-signature",
        TOKEN,
        SESSION_TOKEN,
    }
)


@dataclass(frozen=True)
class Claim:
    """What a signed request says of itself.

    Attributes:
        timestamp: ``20150830T123600Z``.
        dated: the header that gives the timestamp, ``x-amz-date`` or ``date``; empty in a query.
        token: session token; empty where there is none.
        token_name: the header or query parameter for it, in lower case.
        s3: it is signed in S3's way: the path as it is, the body's hash in a header.
        expires: life of a presigned URL in seconds; 0 in header form.
    """

    access_key_id: str
    region: str
    service: str
    timestamp: str
    dated: str
    signed_headers: tuple[str, ...]
    signature: str
    token: str = field(repr=False)
    token_name: str
    presigned: bool
    s3: bool
    expires: int = 0

    @property
    def scope(self) -> str:
        """The credential scope without the key."""
        return f"{self.timestamp[:8]}/{self.region}/{self.service}/aws4_request"


def parse(parts: Parts) -> Claim:
    """Read the claim.

    Raises:
        AwsRefusal: there is none, there are several, or something that counts is not signed.
    """
    auth = _auth_query(parts)
    presigned = bool({"x-amz-algorithm", "x-amz-credential", "x-amz-signature"} & auth.keys())
    headers = parts.all("authorization")
    old = {"AWSAccessKeyId", "Signature", "SignatureVersion"} & {n for n, _ in parts.pairs()}
    if old and not (presigned or headers):
        raise _sigv2()
    if not presigned and not headers:
        raise AwsRefusal(
            "MissingAuthenticationToken",
            "The request is not signed; use the placeholder credentials that are there.",
        )
    if len(headers) + presigned > 1:
        raise AwsRefusal(
            "IncompleteSignature", "The request is signed in more than one way; sign it once.", 400
        )
    claim = _from_query(parts, auth) if presigned else _from_header(parts, headers[0], auth)
    _check_signed(parts, claim)
    return claim


def _auth_query(parts: Parts) -> dict[str, str]:
    """The query's authentication parameters, by their lower-case name."""
    found: dict[str, str] = {}
    for raw, value in parts.pairs():
        name = decoded(raw)
        if name.lower() in _QUERY_AUTH:
            if raw != name:
                raise _incomplete(f"The query parameter {name} must be written plainly")
            if name.lower() in found:
                raise _incomplete(f"The query parameter {name} appears twice")
            found[name.lower()] = decoded(value)
    return found


def _from_query(parts: Parts, auth: dict[str, str]) -> Claim:
    if "4-ECDSA" in auth.get("x-amz-algorithm", ""):
        raise _sigv4a()
    if auth.get("x-amz-algorithm") != ALGORITHM:
        raise _incomplete(f"X-Amz-Algorithm must be {ALGORITHM}")
    for name in ("x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-signedheaders"):
        if not auth.get(name):
            raise _incomplete(f"The query parameter {name} is missing")
    if not re.fullmatch(r"[1-9]\d{0,5}", auth["x-amz-expires"]) or (
        int(auth["x-amz-expires"]) > _MAX_EXPIRES
    ):
        raise _incomplete(f"X-Amz-Expires must be from 1 to {_MAX_EXPIRES} seconds")
    if parts.all(TOKEN) or parts.all(SESSION_TOKEN):
        raise _incomplete("The session token of a presigned URL must be in the URL")
    return _claim(
        parts,
        auth["x-amz-credential"],
        auth["x-amz-signedheaders"],
        auth.get("x-amz-signature", ""),
        timestamp=auth["x-amz-date"],
        dated="",
        tokens={name: [auth[name]] for name in (TOKEN, SESSION_TOKEN) if name in auth},
        expires=int(auth["x-amz-expires"]),
    )


def _from_header(parts: Parts, value: str, auth: dict[str, str]) -> Claim:
    if auth:
        raise _incomplete(f"The query has {min(auth)} beside a signature in the header")
    scheme, _, rest = value.strip().partition(" ")
    if scheme.startswith("AWS4-ECDSA"):
        raise _sigv4a()
    if scheme in ("AWS", "AWS3", "AWS3-HTTPS"):
        raise _sigv2()
    if scheme != ALGORITHM:
        raise _incomplete(f"The Authorization header must begin with {ALGORITHM}")
    fields: dict[str, str] = {}
    for item in rest.split(","):
        name, separator, content = item.strip(" ").partition("=")
        if not separator or name in fields:
            raise _incomplete("The Authorization header is malformed")
        fields[name] = content
    if fields.keys() != {"Credential", "SignedHeaders", "Signature"}:
        raise _incomplete("The Authorization header needs Credential, SignedHeaders and Signature")
    dated, timestamp = "x-amz-date", parts.header("x-amz-date")
    if not timestamp:
        dated, timestamp = "date", _from_date(parts.header("date"))
    return _claim(
        parts,
        fields["Credential"],
        fields["SignedHeaders"],
        fields["Signature"],
        timestamp=timestamp,
        dated=dated,
        tokens={name: parts.all(name) for name in (TOKEN, SESSION_TOKEN) if parts.all(name)},
    )


def _claim(
    parts: Parts,
    credential: str,
    signed: str,
    signature: str,
    *,
    timestamp: str,
    dated: str,
    tokens: dict[str, list[str]],
    expires: int = 0,
) -> Claim:
    scope = _SCOPE.fullmatch(credential)
    if not scope:
        raise _incomplete("The credential must be KEY/DATE/REGION/SERVICE/aws4_request")
    try:
        moment(timestamp)
    except ValueError:
        raise _incomplete("The request's date must look like 20150830T123600Z") from None
    if timestamp[:8] != scope["date"]:
        raise _incomplete("The dates of the request and of its credential scope differ")
    if not re.fullmatch(r"[0-9a-f]{64}", signature):
        raise _incomplete("The signature must be 64 hexadecimal digits")
    names = signed.split(";")
    if signed != signed.lower() or sorted(set(names)) != names or not all(names):
        raise _incomplete("SignedHeaders must be lower case, sorted and without repetition")
    if len(tokens) > 1 or any(len(values) > 1 for values in tokens.values()):
        raise _incomplete("There is more than one session token")
    if SESSION_TOKEN in tokens and scope["service"] != "s3express":
        raise _incomplete(f"{SESSION_TOKEN} is for S3 Express only")
    token_name, values = next(iter(tokens.items()), (TOKEN, [""]))
    return Claim(
        access_key_id=scope["key"],
        region=scope["region"],
        service=scope["service"],
        timestamp=timestamp,
        dated=dated,
        signed_headers=tuple(names),
        signature=signature,
        token=values[0],
        token_name=token_name,
        presigned=bool(expires),
        # The API of S3 on Outposts has a part that is signed as other services are.
        s3=scope["service"] in _S3_NAMES and not parts.path.startswith("/S3Outposts/"),
        expires=expires,
    )


def _check_signed(parts: Parts, claim: Claim) -> None:
    """Everything that decides is signed, once."""
    present = [name.lower() for name, _ in parts.headers]
    if "host" not in claim.signed_headers:
        raise AwsRefusal("SignatureDoesNotMatch", "The Host header must be signed.")
    if claim.dated and claim.dated not in claim.signed_headers:
        raise AwsRefusal("SignatureDoesNotMatch", f"The header {claim.dated} must be signed.")
    for name in present:
        if name.startswith("x-amz-") and name not in claim.signed_headers:
            raise AwsRefusal(
                "SignatureDoesNotMatch", f"The header {name} is sent but not signed; sign it."
            )
    for name in claim.signed_headers:
        if _count(name, present, parts) != 1:
            raise AwsRefusal(
                "SignatureDoesNotMatch", f"The signed header {name} must be sent exactly once."
            )
    if claim.s3 and not claim.presigned and not parts.header("x-amz-content-sha256"):
        raise AwsRefusal("InvalidRequest", "S3 needs the header x-amz-content-sha256.", 400)


def _count(name: str, present: Sequence[str], parts: Parts) -> int:
    """How often a header is sent; the host and the length may be known without one."""
    if not present.count(name) and (
        name == "host" or (name == "content-length" and parts.length is not None)
    ):
        return 1
    return present.count(name)


def _from_date(value: str) -> str:
    """An HTTP date as a timestamp; what isn't one is returned as it is, and refused later."""
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return value
    if when.tzinfo is None:  # "-0000", as botocore writes it
        when = when.replace(tzinfo=UTC)
    return when.astimezone(UTC).strftime(TIMESTAMP)


@functools.lru_cache(maxsize=64)
def moment(timestamp: str) -> datetime:
    """What a timestamp says, with a time zone; several steps ask for the same one.

    Raises:
        ValueError: it isn't written as AWS writes them.
    """
    return datetime.strptime(timestamp, TIMESTAMP).replace(tzinfo=UTC)


def _incomplete(reason: str) -> AwsRefusal:
    return AwsRefusal("IncompleteSignature", f"{reason}.", 400)


def _sigv2() -> AwsRefusal:
    return AwsRefusal(
        "InvalidRequest",
        "Signature Version 2 and 3 are not let through; set signature_version to v4 (S3: s3v4).",
        400,
    )


def _sigv4a() -> AwsRefusal:
    return AwsRefusal(
        "InvalidRequest",
        "Signature Version 4A (multi-region endpoints) can't be signed again here; use an "
        "endpoint of one region.",
        400,
    )
