"""What a request does is said in one way, or it is refused; whatever way it was written."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping

import pytest

from keyless_sidecar.egress.aws.aliases import canonical
from keyless_sidecar.egress.aws.catalog import catalog
from keyless_sidecar.egress.aws.endpoints import endpoints
from keyless_sidecar.egress.aws.flatten import flat_parameters
from keyless_sidecar.egress.aws.identify import Identified, identify, wants_body
from keyless_sidecar.egress.aws.parts import Parts
from keyless_sidecar.egress.aws.refusal import IdentifyError

FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
JSON = {"Content-Type": "application/x-amz-json-1.1"}
S3 = "s3.eu-west-1.amazonaws.com"
VIRTUAL = "bucket.s3.eu-west-1.amazonaws.com"
LAMBDA = "lambda.eu-west-1.amazonaws.com"
STS = "sts.eu-west-1.amazonaws.com"
DYNAMO = "dynamodb.eu-west-1.amazonaws.com"


def said(
    method: str,
    host: str,
    target: str,
    body: bytes | None = b"",
    headers: Mapping[str, str] | None = None,
) -> Identified:
    parts = Parts(method, host, target, tuple((headers or {}).items()))
    return identify(parts.checked(), endpoints().find(host), body)


def refused(
    method: str,
    host: str,
    target: str,
    body: bytes | None = b"",
    headers: Mapping[str, str] | None = None,
) -> str:
    with pytest.raises(IdentifyError) as caught:
        said(method, host, target, body, headers)
    assert caught.value.code == "AccessDenied"
    assert caught.value.message.endswith(".")
    return caught.value.message


def target(name: str) -> dict[str, str]:
    return {**JSON, "X-Amz-Target": name}


S3_CASES = [
    ("GET", "/", {}, "ListBuckets"),
    ("GET", "/b", {}, "ListObjects"),
    ("GET", "/b/", {}, "ListObjects"),
    ("GET", "/b?list-type=2&prefix=x", {}, "ListObjectsV2"),
    ("GET", "/b?acl", {}, "GetBucketAcl"),
    ("GET", "/b?policy=", {}, "GetBucketPolicy"),
    ("GET", "/b?lifecycle", {}, "GetBucketLifecycleConfiguration"),
    ("GET", "/b?analytics", {}, "ListBucketAnalyticsConfigurations"),
    ("GET", "/b?analytics&id=1", {}, "GetBucketAnalyticsConfiguration"),
    ("GET", "/b?uploads", {}, "ListMultipartUploads"),
    ("GET", "/b/k", {}, "GetObject"),
    ("GET", "/b/k?x-id=GetObject", {}, "GetObject"),
    ("GET", "/b/k?versionId=1&response-content-type=a", {}, "GetObject"),
    ("GET", "/b/k?uploadId=1", {}, "ListParts"),
    ("GET", "/b/k?acl", {}, "GetObjectAcl"),
    ("GET", "/b/a%3Facl", {}, "GetObject"),
    ("HEAD", "/b", {}, "HeadBucket"),
    ("HEAD", "/b/k", {}, "HeadObject"),
    ("PUT", "/b", {}, "CreateBucket"),
    ("PUT", "/b/k", {}, "PutObject"),
    ("PUT", "/b/acl", {}, "PutObject"),
    ("PUT", "/b/k", {"x-amz-meta-any": "1", "x-amz-acl": "private"}, "PutObject"),
    ("PUT", "/b/k?acl", {}, "PutObjectAcl"),
    ("PUT", "/b/k?partNumber=1&uploadId=u", {}, "UploadPart"),
    ("PUT", "/b/k", {"x-amz-copy-source": "/c/d"}, "CopyObject"),
    ("PUT", "/b/k?x-amz-copy-source=/c/d", {}, "CopyObject"),
    ("PUT", "/b/k?X-Amz-Copy-Source=/c/d", {}, "CopyObject"),
    ("PUT", "/b/k?partNumber=1&uploadId=u", {"x-amz-copy-source": "/c/d"}, "UploadPartCopy"),
    ("DELETE", "/b", {}, "DeleteBucket"),
    ("DELETE", "/b/k", {}, "DeleteObject"),
    ("DELETE", "/b/k?uploadId=1", {}, "AbortMultipartUpload"),
    ("POST", "/b?delete", {}, "DeleteObjects"),
    ("POST", "/b/k?uploads", {}, "CreateMultipartUpload"),
    ("POST", "/b/k?uploadId=1", {}, "CompleteMultipartUpload"),
    ("POST", "/b/k?select&select-type=2", {}, "SelectObjectContent"),
]


@pytest.mark.parametrize(("method", "path", "headers", "operation"), S3_CASES)
def test_s3(method: str, path: str, headers: dict[str, str], operation: str) -> None:
    found = said(method, S3, path, None, headers)
    assert found.name == f"aws:s3:{operation}"
    assert found.region == "eu-west-1"


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("PUT", "/b/k?partNumber=1", {}),  # of a part, but of no upload
        ("GET", "/b?acl&policy", {}),
        ("GET", "/b?acl&acl", {}),
        ("GET", "/b?nothing", {}),
        ("GET", "/b?list-type=3", {}),
        ("GET", "/b/k?x-id=DeleteObject", {}),
        ("PUT", "/b/k", {"x-amz-unknown": "1"}),
        ("PUT", "/b/k?x-amz-acl=private", {"x-amz-acl": "public-read"}),
        ("PATCH", "/b/k", {}),
        ("POST", "/b/k", {}),
        ("GET", "//k", {}),
        ("GET", "/b/%FF", {}),
    ],
)
def test_s3_refused(method: str, path: str, headers: dict[str, str]) -> None:
    with pytest.raises(Exception, match=r"\.$") as caught:
        said(method, S3, path, None, headers)
    assert type(caught.value).__name__ in ("IdentifyError", "AwsRefusal")


@pytest.mark.parametrize("key", ["a/../b", "/", "//x", "a b", "漢/ü", "%2F", "~", "."])
def test_s3_is_the_same_by_path_and_by_host(key: str) -> None:
    wire = "".join(c if c in "/.~" else "".join(f"%{b:02X}" for b in c.encode()) for c in key)
    by_path = said("GET", S3, f"/bucket/{wire}")
    by_host = said("GET", VIRTUAL, f"/{wire}")
    assert by_path.name == by_host.name == "aws:s3:GetObject"
    assert by_path.parameters == by_host.parameters == {"Bucket": "bucket", "Key": key}
    assert by_path.resource == by_host.resource == f"arn:aws:s3:::bucket/{key}"


def test_s3_bucket_operations_by_host() -> None:
    assert said("GET", VIRTUAL, "/").operation == "ListObjects"
    assert said("GET", VIRTUAL, "/?acl").operation == "GetBucketAcl"
    assert said("DELETE", VIRTUAL, "/").operation == "DeleteBucket"


def test_s3_access_points_are_their_own_resource() -> None:
    found = said("GET", "ap-123456789012.s3-accesspoint.eu-west-1.amazonaws.com", "/k")
    assert found.resource == "arn:aws:s3:eu-west-1:123456789012:accesspoint/ap/object/k"
    assert found.account == "123456789012"


def test_s3_bodies() -> None:
    xml = b"<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>"
    found = said("POST", S3, "/b?delete", xml)
    assert found.parameters["Delete.Objects.1.Key"] == "b"
    assert "not in the service's model" in refused(
        "POST", S3, "/b?delete", b"<Delete><X/></Delete>"
    )
    entity = b'<!DOCTYPE x [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object></Delete>'
    assert "document type" in refused("POST", S3, "/b?delete", entity)
    policy = said("PUT", S3, "/b?policy", b'{"Version":"2012-10-17"}')
    assert policy.parameters["Policy"].startswith("{")


def test_older_notifications_of_s3() -> None:
    xml = (
        b"<NotificationConfiguration><TopicConfiguration><Event>s3:Put</Event><Event>s3:Get</Event>"
        b"</TopicConfiguration><CloudFunctionConfiguration><InvocationRole>r</InvocationRole>"
        b"</CloudFunctionConfiguration></NotificationConfiguration>"
    )
    found = said("PUT", S3, "/b?notification", xml)
    assert found.name == "aws:s3:PutBucketNotificationConfiguration"
    place = "NotificationConfiguration.CloudFunctionConfiguration.InvocationRole"
    assert found.parameters[place] == "r"


def test_bodies_of_s3_that_stream_are_not_wanted() -> None:
    for method, path, wanted in (
        ("PUT", "/b/k", False),
        ("PUT", "/b/k?partNumber=1&uploadId=u", False),
        ("PUT", "/b?policy", True),
        ("POST", "/b?delete", True),
    ):
        assert wants_body(Parts(method, S3, path, ()), endpoints().find(S3)) is wanted


def test_rest_json() -> None:
    found = said("PUT", LAMBDA, "/2015-03-31/functions/f/code", b'{"ZipFile":"QUJD","DryRun":true}')
    assert found.name == "aws:lambda:UpdateFunctionCode"
    assert found.parameters == {
        "FunctionName": "f",
        "ZipFile": "[sensitive]",
        "DryRun": "true",
    } or (found.parameters["ZipFile"] in ("[bytes]", "[sensitive]"))
    assert found.mutating
    assert not said("GET", LAMBDA, "/2015-03-31/functions/f").mutating


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/2015-03-31/functions/../event-source-mappings", b""),
        ("GET", "/2015-03-31/functions/%2E%2E/event-source-mappings", b""),
        ("GET", "/2015-03-31//functions", b""),
        ("GET", "/2015-03-31/functions?Unknown=1", b""),
        ("GET", "/2015-03-31/functions?MaxItems=1&MaxItems=2", b""),
        ("GET", "/2015-03-31/functions/f/", b""),
        ("PUT", "/2015-03-31/functions/f/code", b'{"Unknown":1}'),
        ("PUT", "/2015-03-31/functions/f/code", b'{"zipFile":"QQ=="}'),
        ("PUT", "/2015-03-31/functions/f/code", b'{"DryRun":true,"DryRun":false}'),
        ("PUT", "/2015-03-31/functions/f/code", b'{"FunctionName":"other"}'),
        ("PUT", "/2015-03-31/functions/f/code", b"not json"),
        ("PUT", "/2015-03-31/functions/f/code", b"[]"),
        ("GET", "/2015-03-31/functions/f", b'{"a":1}'),
        ("POST", "/2015-03-31/functions/f", b""),
    ],
)
def test_rest_json_refused(method: str, path: str, body: bytes) -> None:
    assert refused(method, LAMBDA, path, body)


def test_another_service_at_the_same_host() -> None:
    assert said("GET", "es.eu-west-1.amazonaws.com", "/2015-01-01/domain").service == "es"
    assert said("GET", "es.eu-west-1.amazonaws.com", "/2021-01-01/domain").service == "opensearch"
    host = "email.eu-west-1.amazonaws.com"
    assert said("GET", host, "/v2/email/dedicated-ip-pools").service == "sesv2"
    form = b"Action=ListIdentities&Version=2010-12-01"
    assert said("POST", host, "/", form, FORM).service == "ses"
    host = "elasticloadbalancing.eu-west-1.amazonaws.com"
    for version, service in (("2012-06-01", "elb"), ("2015-12-01", "elbv2")):
        form = f"Action=DescribeLoadBalancers&Version={version}".encode()
        assert said("POST", host, "/", form, FORM).service == service


def test_query() -> None:
    form = (
        b"Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr"
        b"&RoleSessionName=a+b&PolicyArns.member.1.arn=arn%3Ax"
    )
    found = said("POST", STS, "/", form, FORM)
    assert found.name == "aws:sts:AssumeRole"
    assert found.protocol == "query"
    assert found.parameters == {
        "RoleArn": "arn:aws:iam::1:role/r",
        "RoleSessionName": "a b",
        "PolicyArns.0.arn": "arn:x",
    }
    assert found.resource == "arn:aws:iam::1:role/r"


def test_query_in_the_url() -> None:
    url = "/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60"
    assert said("GET", STS, url).name == "aws:sts:GetCallerIdentity"


@pytest.mark.parametrize(
    ("method", "url", "form"),
    [
        ("POST", "/", b"Action=GetCallerIdentity&Action=AssumeRole&Version=2011-06-15"),
        ("POST", "/?Action=GetCallerIdentity", b"Action=AssumeRole&Version=2011-06-15"),
        ("POST", "/?Version=2011-06-15", b"Action=GetCallerIdentity&Version=2011-06-15"),
        ("POST", "/", b"Action=GetCallerIdentity&Version=2011-06-15&Version=2010-05-08"),
        ("POST", "/", b"Action=GetCallerIdentity&Version=2010-05-08"),
        ("POST", "/", b"Action=GetCallerIdentity"),
        ("POST", "/", b"Action=getCallerIdentity&Version=2011-06-15"),
        ("POST", "/", b"Action=Nothing&Version=2011-06-15"),
        ("POST", "/", b"Action=GetCallerIdentity&Version=2011-06-15&RoleArn=x"),
        ("POST", "/", b"Action=AssumeRole&Version=2011-06-15&RoleArn=x&RoleArn=y"),
        ("POST", "/", b"Action=AssumeRole&Version=2011-06-15&PolicyArns.member.0.arn=x"),
        ("POST", "/", b"Action=AssumeRole&Version=2011-06-15&PolicyArns.1.arn=x"),
        ("POST", "/", b"Action=AssumeRole;Version=2011-06-15"),
        ("POST", "/other", b"Action=GetCallerIdentity&Version=2011-06-15"),
        ("PUT", "/?Action=GetCallerIdentity&Version=2011-06-15", b"x=y"),
    ],
)
def test_query_refused(method: str, url: str, form: bytes) -> None:
    assert refused(method, STS, url, form, FORM)


def test_query_with_another_content_type_is_no_query() -> None:
    form = b"Action=GetCallerIdentity&Version=2011-06-15"
    assert refused("POST", STS, "/", form, {"Content-Type": "text/plain"})
    assert refused("POST", STS, "/", form, {})


def test_ec2() -> None:
    form = b"Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=x&Filter.1.Value.2=y"
    found = said("POST", "ec2.eu-west-1.amazonaws.com", "/", form, FORM)
    assert (found.name, found.protocol) == ("aws:ec2:DescribeInstances", "ec2")
    assert found.parameters == {"Filters.0.Name": "x", "Filters.0.Values.1": "y"}
    assert not found.mutating


def test_json() -> None:
    body = b'{"TableName":"t","Key":{"id":{"S":"1"}},"ReturnConsumedCapacity":null}'
    found = said("POST", DYNAMO, "/", body, target("DynamoDB_20120810.DeleteItem"))
    assert found.name == "aws:dynamodb:DeleteItem"
    assert found.parameters["TableName"] == "t"
    assert found.mutating


@pytest.mark.parametrize(
    ("url", "body", "headers"),
    [
        ("/", b"{}", target("DynamoDB_20120810.Nothing")),
        ("/", b"{}", target("Other_20120810.ListTables")),
        ("/", b"{}", target("ListTables")),
        ("/", b'{"Nope":1}', target("DynamoDB_20120810.ListTables")),
        ("/", b'{"Limit":1,"Limit":2}', target("DynamoDB_20120810.ListTables")),
        ("/x", b"{}", target("DynamoDB_20120810.ListTables")),
        ("/?a=b", b"{}", target("DynamoDB_20120810.ListTables")),
        ("/", b"{}", {**target("DynamoDB_20120810.ListTables"), "Content-Type": "text/plain"}),
        ("/", b"{}", {**target("DynamoDB_20120810.ListTables"), "smithy-protocol": "rpc-v2-cbor"}),
        ("/?Action=ListTables", b"{}", target("DynamoDB_20120810.ListTables")),
        ("/", None, target("DynamoDB_20120810.ListTables")),
    ],
)
def test_json_refused(url: str, body: bytes | None, headers: dict[str, str]) -> None:
    assert refused("POST", DYNAMO, url, body, headers)


def test_cbor() -> None:
    host = "monitoring.eu-west-1.amazonaws.com"
    head = {"smithy-protocol": "rpc-v2-cbor", "Content-Type": "application/cbor"}
    prefix = catalog().heads["cloudwatch"].target
    url = f"/service/{prefix}/operation/ListMetrics"
    found = said("POST", host, url, b"\xa1\x69Namespace\x61x", head)
    assert found.name == "aws:cloudwatch:ListMetrics"
    assert found.parameters == {"Namespace": "x"}
    twice = b"\xa2\x69Namespace\x61x\x69Namespace\x61y"
    assert "twice" in refused("POST", host, url, twice, head)
    assert refused("POST", host, url, b"\xa1\x64Nope\x61x", head)
    assert refused("POST", host, url.replace("ListMetrics", "Nope"), b"", head)


def test_the_same_by_three_protocols() -> None:
    host = "monitoring.eu-west-1.amazonaws.com"
    form = b"Action=ListMetrics&Version=2010-08-01&Namespace=x"
    by_query = said("POST", host, "/", form, FORM)
    prefix = catalog().heads["cloudwatch"].target
    by_json = said("POST", host, "/", b'{"Namespace":"x"}', target(f"{prefix}.ListMetrics"))
    assert (by_query.name, by_query.parameters) == (by_json.name, by_json.parameters)


def test_older_clients_of_sqs() -> None:
    form = (
        b"Action=CreateQueue&Version=2012-11-05&QueueName=q&Attribute.1.Name=VisibilityTimeout"
        b"&Attribute.1.Value=40"
    )
    found = said("POST", "sqs.eu-west-1.amazonaws.com", "/", form, FORM)
    assert found.name == "aws:sqs:CreateQueue"
    assert found.parameters["QueueName"] == "q"
    assert refused("POST", "sqs.eu-west-1.amazonaws.com", "/", form + b"&Nope=1", FORM)


def test_compressed_bodies_are_read() -> None:
    head = {**target("DynamoDB_20120810.ListTables"), "Content-Encoding": "gzip"}
    found = said("POST", DYNAMO, "/", gzip.compress(b'{"Limit":3}'), head)
    assert found.parameters == {"Limit": "3"}
    assert refused("POST", DYNAMO, "/", b"{}", head)
    assert refused("POST", DYNAMO, "/", gzip.compress(b"{}") * 2, head)
    assert refused("POST", DYNAMO, "/", b"{}", {**head, "Content-Encoding": "br"})


def test_host_prefixes_belong_to_their_operations() -> None:
    host = "eu-west-1.amazonaws.com"
    head = target("AWSStepFunctions.StartSyncExecution")
    body = b'{"stateMachineArn":"arn:aws:states:eu-west-1:1:stateMachine:x"}'
    found = said("POST", f"sync-states.{host}", "/", body, head)
    assert found.operation == "StartSyncExecution"
    head = target("AWSStepFunctions.DeleteStateMachine")
    assert refused("POST", f"sync-states.{host}", "/", body, head)


def test_sensitive_values_are_not_shown() -> None:
    body = json.dumps({"Name": "n", "SecretString": "hunter2"}).encode()
    host = "secretsmanager.eu-west-1.amazonaws.com"
    found = said("POST", host, "/", body, target("secretsmanager.CreateSecret"))
    assert found.parameters["SecretString"] == "[sensitive]"
    assert "hunter2" not in repr(found)


def test_parameters_of_a_call_are_flattened_as_those_of_a_request() -> None:
    model = catalog().model("ec2").operation_model("DescribeInstances")
    call = flat_parameters(model, {"Filters": [{"Name": "x", "Values": ["a", "y"]}]})
    form = (
        b"Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=x&Filter.1.Value.1=a"
        b"&Filter.1.Value.2=y"
    )
    assert said("POST", "ec2.eu-west-1.amazonaws.com", "/", form, FORM).parameters == call
    with pytest.raises(IdentifyError):
        flat_parameters(model, {"Nope": 1})


@pytest.mark.parametrize(
    ("service", "operation", "name"),
    [
        ("docdb", "DescribeDBClusters", ("rds", "DescribeDBClusters")),
        ("neptune", "DescribeDBClusters", ("rds", "DescribeDBClusters")),
        ("s3", "PutBucketLifecycle", ("s3", "PutBucketLifecycleConfiguration")),
        ("greengrassv2", "TagResource", ("greengrass", "TagResource")),
        ("greengrassv2", "CreateDeployment", ("greengrassv2", "CreateDeployment")),
        ("lambda", "Invoke", ("lambda", "Invoke")),
    ],
)
def test_one_name_for_what_looks_alike(service: str, operation: str, name: tuple[str, str]) -> None:
    assert canonical(catalog(), service, operation) == name
