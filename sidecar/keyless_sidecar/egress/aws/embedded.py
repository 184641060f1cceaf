"""Presigned URLs within a request: copies between regions, which EC2 and RDS fetch for the caller.

The AWS CLI and boto3 put one into the body by themselves, made with the keys that they hold, here
the placeholder.  It must be for the same operation, and is verified and signed anew like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote_plus, unquote_plus, urlsplit

from keyless_sidecar.egress.aws.bodies import read_form
from keyless_sidecar.egress.aws.endpoints import endpoints
from keyless_sidecar.egress.aws.identify import Identified, identify
from keyless_sidecar.egress.aws.parts import AwsKeys, Parts
from keyless_sidecar.egress.aws.payload import EMPTY_SHA256
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.aws.resign import resign
from keyless_sidecar.egress.aws.signature import parse
from keyless_sidecar.egress.aws.verify import verify

__all__ = ["Embedded", "embedded_url", "resign_embedded"]

_SERVICES = frozenset({"ec2", "rds", "docdb", "neptune"})
_NAMES = ("PresignedUrl", "PreSignedUrl")


@dataclass(frozen=True)
class Embedded:
    """A body whose presigned URL is signed with the real keys.

    Attributes:
        body: the new body; its length and hash are others.
        inner: what the URL itself does, in the region that it is for; policy must allow it too.
    """

    body: bytes = field(repr=False)
    inner: Identified


def embedded_url(identified: Identified, body: bytes) -> str:
    """The presigned URL in a request's body; empty where there is none."""
    if identified.service in _SERVICES and any(n in identified.parameters for n in _NAMES):
        form = read_form(body.decode("ascii"))
        return next((form[name] for name in _NAMES if form.get(name)), "")
    return ""


def resign_embedded(
    identified: Identified, body: bytes, placeholder: AwsKeys, real: AwsKeys, now: datetime
) -> Embedded:
    """Sign the presigned URL in a body anew.

    Args:
        identified: the request around it, in which :func:`embedded_url` finds one.
        body: the request's body, a form.
        placeholder: the keys that the URL must be signed with.
        real: the keys that it will be signed with.
        now: the time, with a time zone.

    Raises:
        AwsRefusal: it isn't a URL for the same operation, signed with the placeholder.
    """
    url = urlsplit(embedded_url(identified, body))
    if url.scheme != "https" or url.netloc != (url.hostname or "") or url.fragment:
        raise AwsRefusal("InvalidRequest", "The presigned URL must be a plain https URL.", 400)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    parts = Parts("GET", url.netloc, target, ()).checked()
    claim = parse(parts)
    if claim.access_key_id != placeholder.access_key_id:
        raise AwsRefusal(
            "InvalidClientTokenId",
            "The presigned URL is not signed with the placeholder that the request is signed with.",
        )
    endpoint = endpoints().check(endpoints().find(parts.host), claim)
    inner = identify(parts, endpoint, b"", claim.region)
    if (inner.service, inner.operation) != (identified.service, identified.operation):
        raise AwsRefusal(
            "AccessDenied", f"The presigned URL is for {inner.name}, not for {identified.name}."
        )
    resigned = resign(verify(parts, claim, placeholder, now, EMPTY_SHA256), real)
    return Embedded(_replaced(body, f"https://{parts.host}{resigned.target}"), inner)


def _replaced(body: bytes, url: str) -> bytes:
    """The form with another URL."""
    pairs = []
    for pair in body.decode("ascii").split("&"):
        name = pair.partition("=")[0]
        pairs.append(f"{name}={quote_plus(url)}" if unquote_plus(name) in _NAMES else pair)
    return "&".join(pairs).encode("ascii")
