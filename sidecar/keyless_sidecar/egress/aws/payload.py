"""How a request's body is covered by its signature."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from keyless_sidecar.egress.aws.parts import Parts, decoded
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.aws.signature import Claim

__all__ = ["EMPTY_SHA256", "Payload", "payload_of"]

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_UNSIGNED = "UNSIGNED-PAYLOAD"
_CHUNKED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
_STREAMS = frozenset({"STREAMING-UNSIGNED-PAYLOAD-TRAILER", _CHUNKED, f"{_CHUNKED}-TRAILER"})


@dataclass(frozen=True)
class Payload:
    """The way in which the body is signed.

    Attributes:
        kind: ``body``: the signature covers the body's hash, which must be computed first;
            ``declared``: it covers the hash in a header, and the body may stream;
            ``open``: it doesn't cover the body; ``chunks``: each chunk is signed.
        declared: what stands for the hash; empty for ``body``.
        trailer: signed chunks are followed by a signed trailer.
    """

    kind: Literal["body", "declared", "open", "chunks"]
    declared: str = ""
    trailer: bool = False


def payload_of(parts: Parts, claim: Claim) -> Payload:
    """How the body of a request is signed.

    Raises:
        AwsRefusal: in a way that can't be signed again.
    """
    said = parts.header("x-amz-content-sha256") or _in_query(parts)
    if not said:
        if claim.presigned and claim.s3:
            return Payload("open", _UNSIGNED)
        return Payload("body")
    if re.fullmatch(r"[0-9a-f]{64}", said):
        return Payload("declared", said)
    if said == _UNSIGNED:
        return Payload("open", said)
    if said not in _STREAMS or not claim.s3 or claim.presigned:
        raise AwsRefusal(
            "InvalidRequest",
            "Bodies signed in this way (x-amz-content-sha256) are not let through; send the hash "
            "of the body or UNSIGNED-PAYLOAD.",
            400,
        )
    if said.startswith(_CHUNKED):
        return Payload("chunks", said, trailer=said.endswith("TRAILER"))
    return Payload("open", said)


def _in_query(parts: Parts) -> str:
    """The hash where a presigning client has put the header into the query."""
    found = [
        decoded(value)
        for name, value in parts.pairs()
        if decoded(name).lower() == "x-amz-content-sha256"
    ]
    if len(found) > 1:
        raise AwsRefusal("InvalidRequest", "X-Amz-Content-Sha256 appears twice.", 400)
    return found[0] if found else ""
