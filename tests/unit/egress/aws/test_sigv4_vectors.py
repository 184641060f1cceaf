"""AWS's own test vectors for Signature Version 4, as botocore carries them."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.aws_signing import Keys

from keyless_sidecar.egress.aws.parts import Parts
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.aws.signature import parse
from keyless_sidecar.egress.aws.signers import signature
from keyless_sidecar.egress.aws.verify import verify

DATA = json.loads((Path(__file__).parents[3] / "data" / "sigv4_vectors.json").read_text("utf-8"))
KEYS = Keys(DATA["access_key_id"], DATA["secret_access_key"])
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
VECTORS = {vector["name"]: vector for vector in DATA["vectors"]}
#: Correctly signed, but open to two readings: refused before the signature is looked at.
REFUSED = {
    "get-header-key-duplicate": "exactly once",
    "get-header-value-multiline": "malformed",
    "get-header-value-order": "exactly once",
    "get-utf8": "percent-encoded",
    "get-vanilla-utf8-query": "percent-encoded",
    "normalize-path/get-space": "percent-encoded",
}


def parts(vector: dict[str, Any]) -> Parts:
    headers = [(name, value.strip()) for name, value in vector["headers"]]
    for line in vector["canonical"].split("\n"):
        if line.startswith("x-amz-security-token:") and "X-Amz-Security-Token" not in dict(headers):
            headers.append(("X-Amz-Security-Token", line.partition(":")[2]))
    headers.append(("Authorization", vector["authorization"]))
    return Parts(
        vector["method"],
        "example.amazonaws.com",
        vector["target"],
        tuple(headers),
        len(vector["body"].encode()),
    )


@pytest.mark.parametrize("name", VECTORS)
def test_signature_is_that_of_the_vector(name: str) -> None:
    vector = VECTORS[name]
    request = parts(vector)
    authorization = vector["authorization"]
    names = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    sample = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
    sample += f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
    headers = (("Authorization", sample), ("X-Amz-Date", DATA["time"]))
    claim = parse(Parts("GET", request.host, "/", headers))
    values = {n: ",".join(" ".join(v.split()) for v in request.all(n)) for n in names}
    made = signature(
        claim,
        KEYS,
        method=request.method,
        target=request.target,
        headers={**values, "host": request.host},
        payload_hash=hashlib.sha256(vector["body"].encode()).hexdigest(),
        timestamp=DATA["time"],
    )
    assert f"Signature={made}" in authorization


@pytest.mark.parametrize("name", VECTORS)
def test_vector_passes_the_whole_check_or_is_refused_as_unclear(name: str) -> None:
    vector = VECTORS[name]
    request = parts(vector)
    token = request.header("x-amz-security-token")
    keys = Keys(KEYS.access_key_id, KEYS.secret_access_key, token)
    digest = hashlib.sha256(vector["body"].encode()).hexdigest()

    def check() -> None:
        verify(request.checked(), parse(request), keys, NOW, digest)

    if name in REFUSED:
        with pytest.raises(AwsRefusal, match=REFUSED[name]):
            check()
    else:
        check()
