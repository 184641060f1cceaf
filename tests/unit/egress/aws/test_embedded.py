"""Presigned URLs that botocore puts into copies between regions."""

from __future__ import annotations

from urllib.parse import parse_qs, quote_plus

import pytest
from tests.support.aws_signing import NOW, PLACEHOLDER, REAL, Keys, checked, signed

from keyless_sidecar.egress.aws.embedded import embedded_url, resign_embedded
from keyless_sidecar.egress.aws.endpoints import endpoints
from keyless_sidecar.egress.aws.identify import Identified, identify
from keyless_sidecar.egress.aws.parts import Parts
from keyless_sidecar.egress.aws.refusal import AwsRefusal

HOST = "ec2.eu-west-1.amazonaws.com"
SOURCE = "ec2.us-east-1.amazonaws.com"
FORM = (("Content-Type", "application/x-www-form-urlencoded"),)
COPY = "Action=CopySnapshot&Version=2016-11-15&SourceRegion=us-east-1&SourceSnapshotId=snap-1"


def url(query: str = COPY, keys: Keys = PLACEHOLDER, host: str = SOURCE) -> str:
    parts = signed(
        f"/?{query}&DestinationRegion=eu-west-1", host=host, service="ec2", region="us-east-1",
        keys=keys, query=True,
    )  # fmt: skip
    return f"https://{host}{parts.target}"


def request(inner: str) -> tuple[Identified, bytes]:
    body = f"{COPY}&PresignedUrl={quote_plus(inner)}".encode()
    return identify(Parts("POST", HOST, "/", FORM), endpoints().find(HOST), body), body


def test_it_is_signed_anew() -> None:
    outer, body = request(url())
    made = resign_embedded(outer, body, PLACEHOLDER, REAL, NOW)
    inner = parse_qs(made.body.decode())["PresignedUrl"][0]
    assert inner == url(keys=REAL)
    assert PLACEHOLDER.access_key_id not in made.body.decode()
    assert made.inner.name == outer.name
    assert made.inner.region == "us-east-1"
    assert checked(Parts("GET", SOURCE, inner.removeprefix(f"https://{SOURCE}"), ()), keys=REAL)


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        (url("Action=TerminateInstances&Version=2016-11-15"), "DestinationRegion"),
        (url("Action=CopyImage&Version=2016-11-15&Name=n&SourceImageId=a"), "DestinationRegion"),
        (url(keys=Keys("AKIAOTHER", "other")), "not signed with the placeholder"),
        (url(keys=Keys(PLACEHOLDER.access_key_id, "other")), "signature doesn't match"),
        (url(host="evil.example.com"), "not an endpoint"),
        (url().replace("https:", "http:"), "plain https"),
        (url().replace("https://", "https://a@"), "plain https"),
        (url(host="ec2.us-west-2.amazonaws.com"), "signed for the region"),
        ("nonsense", "plain https"),
    ],
)
def test_anything_else_is_refused(inner: str, reason: str) -> None:
    outer, body = request(inner)
    with pytest.raises(AwsRefusal, match=reason):
        resign_embedded(outer, body, PLACEHOLDER, REAL, NOW)


def test_there_is_none_elsewhere() -> None:
    body = b"Action=DescribeInstances&Version=2016-11-15"
    found = identify(Parts("POST", HOST, "/", FORM), endpoints().find(HOST), body)
    assert embedded_url(found, body) == ""
