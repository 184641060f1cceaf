"""Requests are understood as botocore's model says, or refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest

from keyless.localaws.faults import Fault, Refusal
from keyless.localaws.http import HttpRequest
from keyless.localaws.operations import Call, Catalogue

ACCOUNT, REGION = "123456789012", "us-east-1"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue(ACCOUNT)


class Sent(Exception):
    """Carries the request instead of sending it."""


def as_sent(service: str, operation: str, **parameters: Any) -> HttpRequest:
    """The request that boto3 would send."""
    client = boto3.client(
        service,
        endpoint_url="http://127.0.0.1:9",
        region_name=REGION,
        aws_access_key_id="AKIAEXAMPLE000000000",
        aws_secret_access_key="x" * 40,
    )

    def capture(request: Any, **_: Any) -> None:
        raise Sent(request)

    client.meta.events.register("before-send.*", capture)
    with pytest.raises(Sent) as caught:
        getattr(client, operation)(**parameters)
    client.close()
    request = caught.value.args[0]
    url = urlsplit(request.url)
    body = request.body.encode() if isinstance(request.body, str) else request.body
    if not isinstance(body, bytes):
        body = b""  # a stream; no operation is recognised by such a body
    headers = [
        (k, v.decode() if isinstance(v, bytes) else str(v)) for k, v in request.headers.items()
    ]
    return HttpRequest(
        request.method,
        url.path + (f"?{url.query}" if url.query else ""),
        (("Host", "127.0.0.1:9"), *headers),
        body,
    )


BUCKET, OBJECT = {"Bucket": "b"}, {"Bucket": "b", "Key": "k/ä b"}
COPY = {"Bucket": "b", "Key": "k", "CopySource": {"Bucket": "other", "Key": "s"}}


@pytest.mark.parametrize(
    ("service", "method", "parameters", "operation", "accesses"),
    [
        ("sts", "get_caller_identity", {}, "GetCallerIdentity", {("sts:GetCallerIdentity", "*")}),
        (
            "lambda",
            "update_function_code",
            {"FunctionName": "f", "ZipFile": b"PK"},
            "UpdateFunctionCode",
            {("lambda:UpdateFunctionCode", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f")},
        ),
        (
            "lambda",
            "create_function",
            {"FunctionName": "f", "Role": "arn:aws:iam::1:role/x", "Code": {"ZipFile": b"PK"}},
            "CreateFunction",
            {("lambda:CreateFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f")},
        ),
        ("lambda", "list_functions", {}, "ListFunctions", {("lambda:ListFunctions", "*")}),
        (
            "lambda",
            "invoke",
            {"FunctionName": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"},
            "Invoke",
            {("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f")},
        ),
        (
            "iam",
            "delete_user",
            {"UserName": "u"},
            "DeleteUser",
            {("iam:DeleteUser", f"arn:aws:iam::{ACCOUNT}:user/u")},
        ),
        ("ec2", "describe_instances", {}, "DescribeInstances", {("ec2:DescribeInstances", "*")}),
        ("s3", "put_object", OBJECT | {"Body": b"x"}, "PutObject", {("s3:PutObject", "b/k/ä b")}),
        ("s3", "get_object", OBJECT, "GetObject", {("s3:GetObject", "b/k/ä b")}),
        ("s3", "head_object", OBJECT, "HeadObject", {("s3:GetObject", "b/k/ä b")}),
        ("s3", "list_objects_v2", BUCKET, "ListObjectsV2", {("s3:ListBucket", "b")}),
        ("s3", "list_objects", BUCKET, "ListObjects", {("s3:ListBucket", "b")}),
        ("s3", "list_buckets", {}, "ListBuckets", {("s3:ListAllMyBuckets", "")}),
        ("s3", "get_bucket_acl", BUCKET, "GetBucketAcl", {("s3:GetBucketAcl", "b")}),
        ("s3", "create_bucket", BUCKET, "CreateBucket", {("s3:CreateBucket", "b")}),
        (
            "s3",
            "create_multipart_upload",
            OBJECT,
            "CreateMultipartUpload",
            {("s3:PutObject", "b/k/ä b")},
        ),
        (
            "s3",
            "upload_part",
            OBJECT | {"UploadId": "u", "PartNumber": 1, "Body": b"x"},
            "UploadPart",
            {("s3:PutObject", "b/k/ä b")},
        ),
        (
            "s3",
            "copy_object",
            COPY,
            "CopyObject",
            {("s3:GetObject", "other/s"), ("s3:PutObject", "b/k")},
        ),
        (
            "s3",
            "upload_part_copy",
            COPY | {"UploadId": "u", "PartNumber": 1},
            "UploadPartCopy",
            {("s3:GetObject", "other/s"), ("s3:PutObject", "b/k")},
        ),
        (
            "s3",
            "delete_objects",
            BUCKET | {"Delete": {"Objects": [{"Key": "k"}]}},
            "DeleteObjects",
            {("s3:DeleteObject", "b/*")},
        ),
    ],
)  # fmt: skip
def test_what_boto3_sends_is_understood(
    catalogue: Catalogue,
    service: str,
    method: str,
    parameters: dict[str, Any],
    operation: str,
    accesses: Iterable[tuple[str, str]],
) -> None:
    call = catalogue.identify(as_sent(service, method, **parameters), service, REGION)
    assert call.operation == operation
    prefix = "arn:aws:s3:::" if service == "s3" else ""
    assert {(a.action, a.resource) for a in call.accesses} == {
        (action, prefix + resource) for action, resource in accesses
    }


def identify(catalogue: Catalogue, service: str, method: str, target: str, **kw: Any) -> Call:
    headers = (("Host", kw.pop("host", "127.0.0.1:9")), *kw.pop("headers", ()))
    return catalogue.identify(
        HttpRequest(method, target, headers, kw.pop("body", b"")), service, REGION
    )


@pytest.mark.parametrize(
    ("service", "method", "target"),
    [
        ("s3", "PUT", "/b/k?acl&tagging"),  # two sub-resources: which one would moto take?
        ("s3", "PUT", "/b/k?versions"),
        ("s3", "GET", "//b/k"),
        ("s3", "PATCH", "/b/k"),
        ("lambda", "GET", "/moto-api/data.json"),
        ("lambda", "GET", "/2015-03-31/functions/a/b"),
        ("lambda", "POST", "/2015-03-31/functions/f/code"),
        ("sts", "POST", "/"),
        ("dynamodb", "POST", "/"),
    ],
)
def test_what_fits_no_operation_is_refused(
    catalogue: Catalogue, service: str, method: str, target: str
) -> None:
    with pytest.raises(Refusal) as caught:
        identify(catalogue, service, method, target)
    assert caught.value.fault is Fault.UNKNOWN_OPERATION


def test_an_action_in_the_url_of_a_post_does_not_count(catalogue: Catalogue) -> None:
    with pytest.raises(Refusal):
        identify(catalogue, "sts", "POST", "/?Action=GetCallerIdentity")


def test_the_bucket_may_stand_in_the_host(catalogue: Catalogue) -> None:
    call = identify(catalogue, "s3", "GET", "/k", host="b.s3.us-east-1.amazonaws.com")
    assert call.accesses[0].resource == "arn:aws:s3:::b/k"


def test_an_encoded_bucket_name_is_the_bucket(catalogue: Catalogue) -> None:
    call = identify(catalogue, "s3", "GET", "/pict%75res/k")
    assert call.accesses[0].resource == "arn:aws:s3:::pictures/k"
