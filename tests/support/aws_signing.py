"""Requests to AWS as clients sign them, by botocore's signers, for tests of the proxy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from unittest import mock
from urllib.parse import urlsplit

import botocore.auth
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from keyless_sidecar.egress.aws.parts import Parts
from keyless_sidecar.egress.aws.signature import parse
from keyless_sidecar.egress.aws.verify import Verified, verify

__all__ = ["NOW", "PLACEHOLDER", "REAL", "Keys", "checked", "signed"]

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@dataclass(frozen=True)
class Keys:
    """Keys as the sidecar has them."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""


PLACEHOLDER = Keys("AKIAKEYLESSAAAAAAAAA", "keyless0" + "p" * 32)
REAL = Keys("AKIAREALREALREALREAL", "r/+" * 13 + "r", "IQoJ/real+token==")


def signed(
    target: str = "/2015-03-31/functions",
    *,
    method: str = "GET",
    host: str = "lambda.eu-west-1.amazonaws.com",
    service: str = "lambda",
    region: str = "eu-west-1",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    keys: Keys = PLACEHOLDER,
    query: bool = False,
    expires: int = 60,
    now: datetime = NOW,
) -> Parts:
    """A request as botocore signs it."""
    request = AWSRequest(method=method, url=f"https://{host}{target}", data=body)
    for name, value in (headers or {}).items():
        request.headers[name] = value
    credentials = Credentials(
        keys.access_key_id, keys.secret_access_key, keys.session_token or None
    )
    s3 = service in ("s3", "s3express")
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=now):
        if query:
            signer = S3SigV4QueryAuth if s3 else SigV4QueryAuth
            signer(credentials, service, region, expires=expires).add_auth(request)
        else:
            signer = S3SigV4Auth if s3 else SigV4Auth
            signer(credentials, service, region).add_auth(request)
    url = urlsplit(request.url)
    return Parts(
        method,
        host,
        url.path + (f"?{url.query}" if url.query else ""),
        tuple((str(name), str(value)) for name, value in request.headers.items()),
        len(body),
    )


def checked(parts: Parts, body: bytes = b"", keys: Keys = PLACEHOLDER) -> Verified:
    """The request, verified as the proxy does it."""
    digest = hashlib.sha256(body).hexdigest()
    return verify(parts.checked(), parse(parts), keys, NOW, digest)
