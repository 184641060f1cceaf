"""Presigned URLs that botocore puts into copies between regions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, quote_plus, urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.support.aws_signing import NOW, PLACEHOLDER, REAL, Keys, checked, signed
from tests.support.egress import Egress
from tests.support.web import Handler, serving

from keyless_sidecar.egress.aws.embedded import check_urls, read_embedded
from keyless_sidecar.egress.aws.endpoints import endpoints
from keyless_sidecar.egress.aws.identify import Identified, identify
from keyless_sidecar.egress.aws.parts import Parts
from keyless_sidecar.egress.aws.payload import EMPTY_SHA256
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.aws.signature import parse
from keyless_sidecar.egress.aws.verify import verify
from keyless_sidecar.vault import Entry

HOST = "ec2.eu-west-1.amazonaws.com"
SOURCE = "ec2.us-east-1.amazonaws.com"
FORM = (("Content-Type", "application/x-www-form-urlencoded"),)
COPY = "Action=CopySnapshot&Version=2016-11-15&SourceRegion=us-east-1&SourceSnapshotId=snap-1"


def url(
    query: str = COPY,
    keys: Keys = PLACEHOLDER,
    host: str = SOURCE,
    destination: str = "eu-west-1",
) -> str:
    parts = signed(
        f"/?{query}&DestinationRegion={destination}", host=host, service="ec2", region="us-east-1",
        keys=keys, query=True,
    )  # fmt: skip
    return f"https://{host}{parts.target}"


def request(inner: str) -> tuple[Identified, bytes]:
    body = f"{COPY}&PresignedUrl={quote_plus(inner)}".encode()
    return identify(Parts("POST", HOST, "/", FORM), endpoints().find(HOST), body), body


def test_it_is_signed_anew() -> None:
    outer, body = request(url())
    made = read_embedded(outer, body, PLACEHOLDER, NOW)
    assert made is not None
    sent = made.signed(body, REAL)[0].decode()
    inner = parse_qs(sent)["PresignedUrl"][0]
    assert inner == url(keys=REAL)
    assert PLACEHOLDER.access_key_id not in sent
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
        ("https://[", "malformed"),
        (url(destination="eu-west-3"), "another region"),
    ],
)
def test_anything_else_is_refused(inner: str, reason: str) -> None:
    outer, body = request(inner)
    with pytest.raises(AwsRefusal, match=reason):
        read_embedded(outer, body, PLACEHOLDER, NOW)


def test_there_is_none_elsewhere() -> None:
    body = b"Action=DescribeInstances&Version=2016-11-15"
    found = identify(Parts("POST", HOST, "/", FORM), endpoints().find(HOST), body)
    assert read_embedded(found, body, PLACEHOLDER, NOW) is None


def test_one_in_the_query_is_refused() -> None:
    target = f"/?{COPY}&PresignedUrl={quote_plus(url())}"
    found = identify(Parts("GET", HOST, target, ()), endpoints().find(HOST), b"")
    with pytest.raises(AwsRefusal, match="must be in the body"):
        read_embedded(found, b"", PLACEHOLDER, NOW)


def test_a_url_that_nobody_else_can_use_is_not_handed_out() -> None:
    """Such as a link that was made by ``aws s3 presign`` and is sent to somebody."""
    host = "sns.eu-west-1.amazonaws.com"

    def published(text: str) -> Identified:
        form = f"Action=Publish&Version=2010-03-31&TopicArn=t&Message={quote_plus(text)}"
        return identify(Parts("POST", host, "/", FORM), endpoints().find(host), form.encode())

    def ours(key: str) -> bool:
        return key == PLACEHOLDER.access_key_id

    with pytest.raises(AwsRefusal, match="Message of Publish is a presigned URL"):
        check_urls(published(url()), ours)
    check_urls(published(url(keys=REAL)), ours)
    check_urls(published(f"log: {url()}"), ours)
    check_urls(published("https://example.com/?a=b"), ours)


class _Source(Handler):
    """EC2 and RDS, as far as they can be told what to copy."""

    bodies: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.reply(b"<Answer><CopyDBSnapshotResult/></Answer>")


COPIES = [
    ("ec2", "copy_snapshot", {"SourceSnapshotId": "snap-1"}, "PresignedUrl"),
    ("rds", "copy_db_snapshot", {"SourceDBSnapshotIdentifier": "arn:aws:rds:us-east-1:1:s:n",
     "TargetDBSnapshotIdentifier": "copy"}, "PreSignedUrl"),
]  # fmt: skip


@pytest.mark.parametrize(("service", "method", "parameters", "name"), COPIES)
def test_boto3_copies_between_regions(
    service: str, method: str, parameters: dict[str, str], name: str, tmp_path: Path
) -> None:
    """The URL that AWS gets is signed with the real keys, and policy has its say on it."""
    _Source.bodies.clear()
    fields = {"access_key_id": REAL.access_key_id, "secret_access_key": REAL.secret_access_key}
    entry = Entry("prod", "aws", fields, ("aws",), source="memory")
    with (
        serving(_Source) as port,
        Egress(tmp_path, [entry], {"*.amazonaws.com": f"http://127.0.0.1:{port}"}) as egress,
        pytest.MonkeyPatch.context() as patch,
    ):
        for variable, value in egress.environment("prod").items():
            patch.setenv(variable, value)
        client = boto3.session.Session().client(service, region_name="eu-west-1")
        call = getattr(client, method)
        call(SourceRegion="us-east-1", **parameters)
        sent = urlsplit(parse_qs(_Source.bodies[0])[name][0])
        parts = Parts("GET", sent.netloc, f"/?{sent.query}", ())
        claim = parse(parts)
        assert (sent.netloc, claim.access_key_id) == (
            f"{service}.us-east-1.amazonaws.com",
            REAL.access_key_id,
        )
        real = Keys(REAL.access_key_id, REAL.secret_access_key)
        assert verify(parts, claim, real, datetime.now(UTC), EMPTY_SHA256)
        asked = [act.attributes["region"] for act in egress.policy.acts]
        assert asked == ["eu-west-1", "us-east-1"]
        records = [(r.region, r.host) for r in egress.records if r.stage == "request"]
        assert records == [
            ("us-east-1", f"{service}.us-east-1.amazonaws.com"),
            ("eu-west-1", f"{service}.eu-west-1.amazonaws.com"),
        ]
        egress.policy.regions["us-east-1"] = "deny"
        with pytest.raises(ClientError, match=r"test's policy says so \(rule test:us-east-1\)"):
            call(SourceRegion="us-east-1", **parameters)
        client.close()
        assert len(_Source.bodies) == 1
