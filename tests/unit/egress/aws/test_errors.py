"""Refusals as each protocol's own parser in botocore reads them."""

from __future__ import annotations

import pytest
from botocore.awsrequest import HeadersDict
from botocore.parsers import create_parser

from keyless_sidecar.egress.aws.errors import error_answer, guess_protocol
from keyless_sidecar.egress.aws.refusal import AwsRefusal, IdentifyError

MESSAGE = 'Policy rule "deploy" says: <no> & never, "ü" \x01.'


@pytest.mark.parametrize(
    ("protocol", "s3", "code"),
    [
        ("json", False, "AccessDeniedException"),
        ("rest-json", False, "AccessDeniedException"),
        ("smithy-rpc-v2-cbor", False, "AccessDeniedException"),
        ("query", False, "AccessDenied"),
        ("ec2", False, "UnauthorizedOperation"),
        ("rest-xml", False, "AccessDenied"),
        ("rest-xml", True, "AccessDenied"),
    ],
)
def test_botocore_reads_it(protocol: str, s3: bool, code: str) -> None:
    answer = error_answer(IdentifyError(MESSAGE), protocol, s3=s3, request_id="abc")
    response = {
        "status_code": answer.status,
        "headers": HeadersDict(dict(answer.headers)),
        "body": answer.body,
    }
    parsed = create_parser(protocol).parse(response, None)
    assert parsed["Error"]["Code"] == code
    shown = MESSAGE if "xml" not in protocol and protocol not in ("query", "ec2") else (
        MESSAGE.replace("\x01", " ")
    )  # fmt: skip
    assert parsed["Error"]["Message"] == shown
    assert parsed["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert parsed["ResponseMetadata"]["RequestId"] == "abc"


@pytest.mark.parametrize(
    ("code", "protocol", "wanted"),
    [
        ("SignatureDoesNotMatch", "json", "InvalidSignatureException"),
        ("SignatureDoesNotMatch", "rest-xml", "SignatureDoesNotMatch"),
        ("ExpiredToken", "json", "ExpiredTokenException"),
        ("InvalidClientTokenId", "rest-xml", "InvalidAccessKeyId"),
        ("InvalidClientTokenId", "query", "InvalidClientTokenId"),
        ("IncompleteSignature", "rest-xml", "InvalidRequest"),
    ],
)
def test_codes_have_the_form_of_the_service(code: str, protocol: str, wanted: str) -> None:
    answer = error_answer(AwsRefusal(code, "x."), protocol, s3=True)
    assert wanted.encode() in answer.body + repr(answer.headers).encode()


def test_head_has_no_body() -> None:
    answer = error_answer(IdentifyError("x."), "rest-xml", s3=True, method="HEAD")
    assert (answer.status, answer.body) == (403, b"")


@pytest.mark.parametrize(
    ("headers", "protocols", "protocol"),
    [
        ({"smithy-protocol": "rpc-v2-cbor"}, ("json",), "smithy-rpc-v2-cbor"),
        ({"x-amz-target": "a.b"}, (), "json"),
        ({"content-type": "application/x-www-form-urlencoded"}, ("ec2",), "ec2"),
        ({"content-type": "application/x-www-form-urlencoded"}, ("query",), "query"),
        ({}, ("rest-xml",), "rest-xml"),
        ({}, ("query", "rest-json"), "rest-json"),
        ({}, (), "rest-json"),
    ],
)
def test_guess(headers: dict[str, str], protocols: tuple[str, ...], protocol: str) -> None:
    assert guess_protocol(headers, protocols) == protocol
