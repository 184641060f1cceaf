"""The same request, signed with the real keys: path, query and body stay as they are on the wire.

Only the authentication changes: credential, signature, the session token that comes or goes, and
the time where one is given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import quote

from keyless_sidecar.egress.aws.parts import AwsKeys
from keyless_sidecar.egress.aws.signature import ALGORITHM, SESSION_TOKEN, TOKEN, moment
from keyless_sidecar.egress.aws.signers import signature
from keyless_sidecar.egress.aws.verify import Verified, bare_target

__all__ = ["Resigned", "resign"]

#: Headers that botocore never signs; a proxy may change them.
_NEVER_SIGNED = frozenset(
    {
        "baggage",
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
    }
)
_CASED = {TOKEN: "X-Amz-Security-Token", SESSION_TOKEN: "X-Amz-S3session-Token"}


@dataclass(frozen=True)
class Resigned:
    """What goes upstream.

    Attributes:
        target: the target; as it came, in header form.
        headers: all headers, in the order in which they came.
        timestamp: the time that was signed.
        signature: the signature; signed chunks begin with it.
    """

    target: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    timestamp: str
    signature: str = field(repr=False)


def resign(
    verified: Verified, keys: AwsKeys, now: datetime | None = None, body_sha256: str = ""
) -> Resigned:
    """Sign a verified request with other keys.

    Args:
        verified: the request.
        keys: the real keys.
        now: the time to sign, where the request had to wait; its own time without it.  A presigned
            URL keeps its own.
        body_sha256: hash of the body that is sent, where it isn't the one that came (see
            ``embedded``); the header that declares it is changed too.
    """
    claim = verified.claim
    if claim.presigned:
        return _in_query(verified, keys)
    timestamp = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}" if now else claim.timestamp
    fresh = {}
    if timestamp != claim.timestamp:
        fresh[claim.dated] = (
            timestamp if claim.dated == "x-amz-date" else format_datetime(moment(timestamp))
        )
    if keys.session_token:
        fresh[claim.token_name] = keys.session_token
    payload_hash = verified.payload_hash
    if body_sha256 and verified.payload.kind in ("body", "declared"):
        payload_hash = body_sha256
        if verified.payload.kind == "declared":
            fresh["x-amz-content-sha256"] = body_sha256
    signed = {
        name: value
        for name, value in verified.headers.items()
        if name not in _NEVER_SIGNED and name != claim.token_name
    } | fresh
    made = signature(
        claim,
        keys,
        method=verified.parts.method,
        target=bare_target(verified.parts),
        headers=signed,
        payload_hash=payload_hash,
        timestamp=timestamp,
    )
    scope = f"{keys.access_key_id}/{timestamp[:8]}{claim.scope[8:]}"
    fresh["authorization"] = (
        f"{ALGORITHM} Credential={scope}, SignedHeaders={';'.join(sorted(signed))}, "
        f"Signature={made}"
    )
    headers: list[tuple[str, str]] = []
    for name, value in verified.parts.headers:
        if name.lower() == claim.token_name and not keys.session_token:
            continue
        headers.append((name, fresh.get(name.lower(), value)))
        if name.lower() == claim.dated and keys.session_token and not claim.token:
            headers.append((_CASED[claim.token_name], keys.session_token))
    return Resigned(verified.parts.target, tuple(headers), timestamp, made)


def _in_query(verified: Verified, keys: AwsKeys) -> Resigned:
    claim, parts = verified.claim, verified.parts
    signed = {k: v for k, v in verified.headers.items() if k not in _NEVER_SIGNED}
    pairs: list[str] = []
    for pair in parts.query.split("&"):
        raw = pair.partition("=")[0]
        name = raw.lower()
        if name == "x-amz-signature" or (name == claim.token_name and claim.token):
            if name == claim.token_name and keys.session_token:
                pairs.append(f"{raw}={_quoted(keys.session_token)}")
        elif name == "x-amz-credential":
            pairs.append(f"{raw}={_quoted(f'{keys.access_key_id}/{claim.scope}')}")
        elif name == "x-amz-signedheaders":
            pairs.append(f"{raw}={_quoted(';'.join(sorted(signed)))}")
            if keys.session_token and not claim.token:
                pairs.append(f"{_CASED[claim.token_name]}={_quoted(keys.session_token)}")
        else:
            pairs.append(pair)
    target = f"{parts.path}?{'&'.join(pairs)}"
    made = signature(
        claim,
        keys,
        method=parts.method,
        target=target,
        headers=signed,
        payload_hash=verified.payload_hash,
        timestamp=claim.timestamp,
    )
    return Resigned(f"{target}&X-Amz-Signature={made}", parts.headers, claim.timestamp, made)


def _quoted(text: str) -> str:
    return quote(text, safe="-._~")
