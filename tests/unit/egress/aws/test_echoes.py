"""AWS's errors on signatures show all that was signed: the tool reads its own values there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.support.aws_signing import REAL
from tests.support.egress import Egress
from tests.support.web import Handler, serving

from keyless_sidecar.vault import Entry

VALUES = (REAL.access_key_id, REAL.secret_access_key, REAL.session_token)


class _Refusing(Handler):
    """Answers as S3 and STS do to a signature that isn't right, with all that they received."""

    sent: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        signed = f"{self.command}\n{self.path}\n{self.headers}\n{body}"
        told = self.headers.get("Authorization", "") + self.path
        found = re.search(r"Signature=([0-9a-f]{64})", told)
        key = re.search(r"AKIA\w+", told)
        assert found
        assert key
        self.sent += [found[1], key[0], signed]
        text = (
            f"<Code>SignatureDoesNotMatch</Code><Message>Not equal: {signed}</Message>"
            f"<AWSAccessKeyId>{key[0]}</AWSAccessKeyId><SignatureProvided>{found[1]}"
            f"</SignatureProvided><StringToSignBytes>{signed.encode().hex(' ')}"
            f"</StringToSignBytes><CanonicalRequest>{signed}</CanonicalRequest>"
            f"<CanonicalRequestBytes>{signed.encode().hex(' ').upper()}</CanonicalRequestBytes>"
        ).replace("&", "&amp;")
        if self.command == "POST":
            text = f"<ErrorResponse><Error>{text}</Error></ErrorResponse>"
        else:
            text = f"<Error>{text}</Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("X-Echo", told)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_POST = do_PUT = do_GET


@pytest.fixture
def egress(tmp_path: Path) -> Iterator[Egress]:
    fields = {
        "access_key_id": REAL.access_key_id,
        "secret_access_key": REAL.secret_access_key,
        "session_token": REAL.session_token,
    }
    _Refusing.sent.clear()
    with (
        serving(_Refusing) as port,
        Egress(
            tmp_path,
            [Entry("prod", "aws", fields, ("aws",), source="memory")],
            {"*.amazonaws.com": f"http://127.0.0.1:{port}"},
        ) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in running.environment("prod").items():
            patch.setenv(name, value)
        yield running


def forms(value: str) -> list[str]:
    """How it could be read."""
    dump = value.encode().hex(" ")
    return [value, quote(value, safe=""), dump, dump.upper(), dump.replace(" ", "")]


@pytest.mark.parametrize(
    ("service", "method", "parameters"),
    [
        ("s3", "get_object", {"Bucket": "pictures", "Key": "a"}),
        ("s3", "list_objects_v2", {"Bucket": "pictures"}),
        ("s3", "put_object", {"Bucket": "pictures", "Key": "a", "Body": b"b"}),
        ("sts", "get_caller_identity", {}),
        ("ec2", "copy_snapshot", {"SourceRegion": "us-west-2", "SourceSnapshotId": "snap-1"}),
    ],
)
def test_an_error_shows_the_placeholder(
    egress: Egress, service: str, method: str, parameters: dict[str, object]
) -> None:
    client = boto3.session.Session().client(service, config=Config(retries={"max_attempts": 0}))
    with pytest.raises(ClientError) as caught:
        getattr(client, method)(**parameters)
    client.close()
    read = repr(caught.value.response) + str(caught.value)
    signature, key, signed = _Refusing.sent[:3]
    assert key == REAL.access_key_id
    assert REAL.session_token in signed or quote(REAL.session_token, safe="") in signed
    inner = re.findall(r"X-Amz-Signature(?:=|%3D)([0-9a-f]{64})", signed)
    assert bool(inner) is (service == "ec2")
    for value in (*VALUES, signature, *inner):
        assert not [form for form in forms(value) if form in read]
    assert "AKIAKEYLESS" in read
    assert b"AKIAKEYLESS".hex(" ") in read or service != "s3"
