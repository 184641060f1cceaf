"""Whether a request was signed with the placeholder, exactly as it was sent."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from keyless_sidecar.egress.aws.parts import AwsKeys, Parts
from keyless_sidecar.egress.aws.payload import Payload, payload_of
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.aws.signature import TIMESTAMP, Claim, moment
from keyless_sidecar.egress.aws.signers import signature

__all__ = ["Verified", "bare_target", "verify"]

_MAX_SKEW = timedelta(minutes=15)


@dataclass(frozen=True)
class Verified:
    """A request that was signed with the placeholder; what ``resign`` takes.

    Attributes:
        parts: the request.
        claim: what it says of itself.
        payload: how its body is signed.
        payload_hash: what stands in the signature for the body.
        headers: the signed headers, with the values that were signed.
    """

    parts: Parts
    claim: Claim
    payload: Payload
    payload_hash: str
    headers: Mapping[str, str] = field(repr=False)


def verify(
    parts: Parts, claim: Claim, placeholder: AwsKeys, now: datetime, body_sha256: str = ""
) -> Verified:
    """Check the clock, the token and the signature.

    Args:
        parts: the request.
        claim: what it says of itself.
        placeholder: the keys that it must be signed with.
        now: the time, with a time zone.
        body_sha256: hash of the body; needed where :func:`payload_of` says ``body``, and compared
            with what the request says where it is given.

    Raises:
        AwsRefusal: one of them is wrong.
        ValueError: the hash of the body is needed and not given.
    """
    _check_clock(claim, now)
    payload = payload_of(parts, claim)
    if payload.kind == "body" and not body_sha256:
        raise ValueError("the hash of the body is needed")
    if payload.kind == "declared" and body_sha256 not in ("", payload.declared):
        raise AwsRefusal(
            "XAmzContentSHA256Mismatch", "The body is not the one that x-amz-content-sha256 says."
        )
    if not hmac.compare_digest(claim.token.encode(), placeholder.session_token.encode()):
        raise AwsRefusal(
            "InvalidClientTokenId",
            "The session token doesn't belong to the access key; use the placeholder as it is.",
        )
    payload_hash = payload.declared or body_sha256
    values = _signed_values(parts, claim)
    for headers in (values, _as_utf8(values)):
        computed = signature(
            claim,
            placeholder,
            method=parts.method,
            target=bare_target(parts),
            headers=headers,
            payload_hash=payload_hash,
            timestamp=claim.timestamp,
        )
        if hmac.compare_digest(computed, claim.signature):
            return Verified(parts, claim, payload, payload_hash, headers)
    raise AwsRefusal(
        "SignatureDoesNotMatch",
        "The signature doesn't match the request as it was sent; use the placeholder's secret, and "
        "change nothing after signing.",
    )


def _check_clock(claim: Claim, now: datetime) -> None:
    """Refuse a request that is too old, or from the future.

    Raises:
        AwsRefusal: as said.
    """
    made = moment(claim.timestamp)
    if claim.presigned:
        if now > made + timedelta(seconds=claim.expires):
            raise AwsRefusal("RequestExpired", "The presigned URL has expired; make a new one.")
        if made > now + _MAX_SKEW:
            raise AwsRefusal("RequestTimeTooSkewed", "The presigned URL is not valid yet.")
    elif abs(now - made) > _MAX_SKEW:
        raise AwsRefusal(
            "RequestTimeTooSkewed",
            f"The request is dated {claim.timestamp}, more than 15 minutes from "
            f"{now:{TIMESTAMP}}; check the clock.",
        )


def _signed_values(parts: Parts, claim: Claim) -> dict[str, str]:
    """The signed headers and their values."""
    values = {name: parts.header(name) for name in claim.signed_headers}
    values["host"] = parts.host
    if "content-length" in values and not values["content-length"]:
        values["content-length"] = str(parts.length)
    return values


def bare_target(parts: Parts) -> str:
    """The target without its signature."""
    kept = [
        pair
        for pair in parts.query.split("&")
        if pair and pair.partition("=")[0].lower() != "x-amz-signature"
    ]
    return parts.path + ("?" + "&".join(kept) if kept else "")


def _as_utf8(values: dict[str, str]) -> dict[str, str]:
    """The values read as UTF-8: what some clients send and sign, where others mean Latin-1."""
    try:
        return {name: value.encode("latin-1").decode() for name, value in values.items()}
    except UnicodeError:
        return values
