"""Presigned URLs within a request: copies between regions, which EC2 and RDS fetch for the caller.

The AWS CLI and boto3 put one into the body by themselves, made with the keys that they hold, here
the placeholder.  It must be for the same operation, and is verified, decided and signed anew like
any other.  Anywhere else such a URL would reach somebody for whom it is worth nothing, so the
request is refused with that sentence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import SplitResult, parse_qsl, quote_plus, unquote_plus, urlsplit

from keyless_sidecar.egress.aws.bodies import read_form
from keyless_sidecar.egress.aws.endpoints import endpoints
from keyless_sidecar.egress.aws.identify import Identified, identify
from keyless_sidecar.egress.aws.parts import AwsKeys, Parts
from keyless_sidecar.egress.aws.payload import EMPTY_SHA256
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.aws.resign import resign
from keyless_sidecar.egress.aws.signature import parse
from keyless_sidecar.egress.aws.verify import Verified, verify

__all__ = ["Embedded", "check_urls", "read_embedded"]

_SERVICES = frozenset({"ec2", "rds", "docdb", "neptune"})
_NAMES = ("PresignedUrl", "PreSignedUrl")


@dataclass(frozen=True)
class Embedded:
    """The presigned URL in a body, signed with the placeholder.

    Attributes:
        inner: what the URL itself does, in the region that it is for; policy must allow it too.
        host: where it leads.
    """

    inner: Identified
    host: str
    _verified: Verified = field(repr=False)

    @property
    def signature(self) -> str:
        """That of the URL as it came."""
        return self._verified.claim.signature

    def signed(self, body: bytes, real: AwsKeys) -> tuple[bytes, str]:
        """The body with the URL signed with other keys (length and hash change); its signature."""
        made = resign(self._verified, real)
        url = f"https://{self.host}{made.target}"
        pairs = []
        for pair in body.decode("ascii").split("&"):
            name = pair.partition("=")[0]
            pairs.append(f"{name}={quote_plus(url)}" if unquote_plus(name) in _NAMES else pair)
        return "&".join(pairs).encode("ascii"), made.signature


def read_embedded(
    identified: Identified, body: bytes, placeholder: AwsKeys, now: datetime
) -> Embedded | None:
    """The presigned URL that a request has for the copy that it asks for; None without one.

    Args:
        identified: the request.
        body: its body, a form.
        placeholder: the keys that the URL must be signed with.
        now: the time, with a time zone.

    Raises:
        AwsRefusal: it isn't a URL for the same operation, signed with the placeholder.
    """
    if identified.service not in _SERVICES:
        return None
    if not any(identified.parameters.get(name) for name in _NAMES):
        return None
    given = _in_form(body)  # the parameters don't say it: it is sensitive
    if not given:
        raise AwsRefusal("InvalidRequest", "The presigned URL must be in the body's form.", 400)
    url = _split(given)
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
    if inner.parameters.get("DestinationRegion", identified.region) != identified.region:
        raise AwsRefusal(
            "AccessDenied", "The presigned URL is for a copy to another region than the request."
        )
    known = inner.model.input_shape.members if inner.model.input_shape is not None else {}
    if "DestinationRegion" not in known:  # RDS's URLs have it, its model doesn't
        kept = {k: v for k, v in inner.parameters.items() if k != "DestinationRegion"}
        inner = dataclasses.replace(inner, parameters=kept)
    return Embedded(inner, parts.host, verify(parts, claim, placeholder, now, EMPTY_SHA256))


def check_urls(identified: Identified, is_placeholder: Callable[[str], bool]) -> None:
    """Refuse a request that hands out a URL which was presigned with a placeholder.

    Args:
        identified: the request; the URLs that :func:`read_embedded` reads are not looked at.
        is_placeholder: whether an access key id is one of ours.

    Raises:
        AwsRefusal: a parameter is such a URL.
    """
    for name, value in identified.parameters.items():
        if not value.startswith(("https://", "http://")) or "mz-" not in value.lower():
            continue
        if identified.service in _SERVICES and name in _NAMES:
            continue
        query = {key.lower(): text for key, text in parse_qsl(_split(value).query)}
        if is_placeholder(query.get("x-amz-credential", "").partition("/")[0]):
            raise AwsRefusal(
                "InvalidRequest",
                f"The parameter {name} of {identified.operation} is a presigned URL made with the "
                "placeholder, which works in this sandbox only: whoever gets it could not use it.",
                400,
            )


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise AwsRefusal("InvalidRequest", "A URL in the request is malformed.", 400) from None


def _in_form(body: bytes) -> str:
    try:
        form = read_form(body.decode("ascii"))
    except UnicodeDecodeError:
        return ""
    return next((form[name] for name in _NAMES if form.get(name)), "")
