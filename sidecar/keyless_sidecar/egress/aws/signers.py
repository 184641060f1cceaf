"""botocore's signers with the clock, the payload's hash and the signed headers given to them.

Canonical request, string to sign and signature are botocore's own code; used by ``verify`` with the
placeholder and by ``resign`` with the real keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from keyless_sidecar.egress.aws.parts import AwsKeys, canonical_query
from keyless_sidecar.egress.aws.signature import Claim

__all__ = ["signature"]


class _Given:
    """What the request says, instead of what botocore would choose."""

    payload_hash = ""

    def payload(self, request: Any) -> str:
        return self.payload_hash

    def headers_to_sign(self, request: Any) -> Any:
        headers = HTTPHeaders()
        for name, value in request.headers.items():
            headers[name.lower()] = value
        return headers

    def canonical_query_string(self, request: Any) -> str:
        return canonical_query(urlsplit(request.url).query)


class _Header(_Given, SigV4Auth):  # type: ignore[misc]
    pass


class _S3Header(_Given, S3SigV4Auth):  # type: ignore[misc]
    pass


class _Query(_Given, SigV4QueryAuth):  # type: ignore[misc]
    pass


class _S3Query(_Given, S3SigV4QueryAuth):  # type: ignore[misc]
    pass


_SIGNERS: Mapping[tuple[bool, bool], Any] = {
    (False, False): _Header,
    (True, False): _S3Header,
    (False, True): _Query,
    (True, True): _S3Query,
}


def signature(
    claim: Claim,
    keys: AwsKeys,
    *,
    method: str,
    target: str,
    headers: Mapping[str, str],
    payload_hash: str,
    timestamp: str,
) -> str:
    """The signature of a request.

    Args:
        claim: for service, region and form.
        keys: whose secret signs.
        method: ``PUT``.
        target: the target, without ``X-Amz-Signature``.
        headers: the headers to sign, host included.
        payload_hash: hash of the body, or the word that stands for it.
        timestamp: ``20150830T123600Z``.
    """
    signer = _SIGNERS[claim.s3, claim.presigned](
        Credentials(keys.access_key_id, keys.secret_access_key), claim.service, claim.region
    )
    signer.payload_hash = payload_hash
    request = AWSRequest(method=method, url=f"https://{headers['host']}{target}")
    for name, value in headers.items():
        request.headers[name] = value
    request.context["timestamp"] = timestamp
    text = signer.string_to_sign(request, signer.canonical_request(request))
    return str(signer.signature(text, request))
