"""Hosts: AWS's own endpoints only, for the service and region that a request is signed for."""

from __future__ import annotations

import itertools
import json
from urllib.parse import urlsplit

import pytest
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError
from tests.support.aws_signing import signed

from keyless_sidecar.egress.aws.catalog import catalog
from keyless_sidecar.egress.aws.endpoints import endpoints
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.aws.signature import parse

KNOWN = [
    # host, service, region, bucket or account
    ("sts.amazonaws.com", "sts", "us-east-1", ""),
    ("sts.eu-west-1.amazonaws.com", "sts", "eu-west-1", ""),
    ("sts.cn-north-1.amazonaws.com.cn", "sts", "cn-north-1", ""),
    ("iam.amazonaws.com", "iam", "us-east-1", ""),
    ("route53.amazonaws.com", "route53", "us-east-1", ""),
    ("lambda.eu-west-1.api.aws", "lambda", "eu-west-1", ""),
    ("lambda-fips.us-gov-west-1.amazonaws.com", "lambda", "us-gov-west-1", ""),
    ("ec2.us-east-1.amazonaws.com", "ec2", "us-east-1", ""),
    ("eu-west-1.queue.amazonaws.com", "sqs", "eu-west-1", ""),
    ("123456789012.ddb.us-east-1.amazonaws.com", "dynamodb", "us-east-1", "123456789012"),
    ("123456789012.s3-control.us-east-1.amazonaws.com", "s3control", "us-east-1", "123456789012"),
    ("abc.execute-api.us-east-1.amazonaws.com", "apigatewaymanagementapi", "us-east-1", ""),
    ("ingest-cell1.timestream.us-east-1.amazonaws.com", "timestream-write", "us-east-1", ""),
    ("query-cell2.timestream-fips.us-west-2.amazonaws.com", "timestream-query", "us-west-2", ""),
    ("s3.amazonaws.com", "s3", "", ""),
    ("s3.eu-west-1.amazonaws.com", "s3", "eu-west-1", ""),
    ("s3-eu-west-1.amazonaws.com", "s3", "eu-west-1", ""),
    ("a.b.c.s3.amazonaws.com", "s3", "", "a.b.c"),
    ("b-1.s3.eu-west-1.amazonaws.com", "s3", "eu-west-1", "b-1"),
    ("b-1.s3.dualstack.eu-west-1.amazonaws.com", "s3", "eu-west-1", "b-1"),
    ("b-1.s3-accelerate.amazonaws.com", "s3", "", "b-1"),
    ("ap-123456789012.s3-accesspoint.eu-west-1.amazonaws.com", "s3", "eu-west-1",
     "ap-123456789012"),
    ("b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com", "s3", "us-east-1",
     "b--use1-az4--x-s3"),
]  # fmt: skip
FOREIGN = [
    "evil.amazonaws.com",
    "lambda.us-east-1.amazonaws.com.evil.com",
    "lambda.us-east-1.amazonaws.comx",
    "xlambda.us-east-1.amazonaws.com",
    "x.lambda.us-east-1.amazonaws.com",
    "lambda.us-east-1.evil.amazonaws.com",
    "lambda.nowhere-1.amazonaws.com",
    "iam.eu-west-1.amazonaws.com",
    "ec2.us-east-1.amazonaws.com.cn",
    "ec2.cn-north-1.amazonaws.com",
    "f.lambda-url.us-east-1.on.aws",
    "b.s3-website.eu-west-1.amazonaws.com",
    "b.s3-website-us-east-1.amazonaws.com",
    "d.accesspoint.s3-global.amazonaws.com",
    "vpce-1.s3.us-east-1.vpce.amazonaws.com",
    "ec2-1-2-3-4.compute-1.amazonaws.com",
    "x.us-east-1.elb.amazonaws.com",
    "search-d.us-east-1.es.amazonaws.com",
    "us-east-1.signin.aws.amazon.com",
    "169.254.169.254",
    "127.0.0.1",
    "localhost",
    "amazonaws.com",
    "lambda..us-east-1.amazonaws.com",
    "lambda.us-east-1.amazonaws.com.",
    "LAMBDA.us-east-1.amazonaws.com",
    "lambda.us-east-1.amazonaws.com:443",
    "l\u0430mbda.us-east-1.amazonaws.com",
    "",
]


@pytest.mark.parametrize(("host", "service", "region", "inside"), KNOWN)
def test_known(host: str, service: str, region: str, inside: str) -> None:
    found = endpoints().find(host)
    assert service in found.services
    assert found.region == region
    assert inside in (found.bucket, found.account)
    assert endpoints().is_aws(host)


@pytest.mark.parametrize("host", FOREIGN)
def test_anything_else_is_refused(host: str) -> None:
    with pytest.raises(AwsRefusal) as caught:
        endpoints().find(host)
    assert caught.value.code == "AccessDenied"
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize(
    ("host", "aws"),
    [
        ("evil.amazonaws.com", True),
        ("x.lambda-url.us-east-1.on.aws", True),
        ("amazonaws.com.evil.com", False),
        ("xamazonaws.com", False),
        ("example.com", False),
    ],
)
def test_the_handler_claims_all_of_awss_domains(host: str, aws: bool) -> None:
    assert endpoints().is_aws(host) is aws


@pytest.mark.parametrize(
    ("host", "service", "region"),
    [
        ("lambda.eu-west-1.amazonaws.com", "lambda", "us-east-1"),
        ("lambda.eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        ("s3.eu-west-1.amazonaws.com", "s3", "us-east-1"),
        ("s3.amazonaws.com", "s3", "cn-north-1"),
        ("sts.amazonaws.com", "sts", "eu-west-1"),
        ("iam.amazonaws.com", "iam", "us-west-2"),
    ],
)
def test_signed_for_another_service_or_region(host: str, service: str, region: str) -> None:
    parts = signed("/", host=host, service=service, region=region)
    with pytest.raises(AwsRefusal, match="signed for the"):
        endpoints().check(endpoints().find(host), parse(parts))


def test_the_signature_tells_services_at_one_host_apart() -> None:
    host = "maps.geo.us-east-1.amazonaws.com"
    assert endpoints().find(host).services == ("geo-maps", "location")
    for name, service in (("geo", "location"), ("geo-maps", "geo-maps")):
        claim = parse(signed("/", host=host, service=name, region="us-east-1"))
        assert endpoints().check(endpoints().find(host), claim).services == (service,)


def test_a_host_that_two_partitions_share_is_in_the_one_that_is_signed_for() -> None:
    found = endpoints().find("route53.amazonaws.com")
    assert (found.partition, found.region) == ("aws", "us-east-1")
    for region, partition in (("us-east-1", "aws"), ("us-gov-west-1", "aws-us-gov")):
        claim = parse(signed("/", host=found.host, service="route53", region=region))
        assert endpoints().check(found, claim).partition == partition


def test_prefixes_of_operations() -> None:
    found = endpoints().find("api.iotsitewise.us-east-1.amazonaws.com")
    assert found.prefix_fits("iotsitewise", "api.") == {}
    assert found.prefix_fits("iotsitewise", "data.") is None
    assert found.prefix_fits("iotsitewise", "") is None
    with pytest.raises(AwsRefusal):
        endpoints().find("other.iotsitewise.us-east-1.amazonaws.com")
    named = endpoints().find("123456789012.s3-control.us-east-1.amazonaws.com")
    assert named.prefix_fits("s3control", "{AccountId}.") == {"AccountId": "123456789012"}


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"])
def test_every_host_that_botocore_resolves_is_known(region: str) -> None:
    partitions = catalog().data("partitions")
    missing, count = [], 0
    for service in catalog().heads:
        provider = EndpointProvider(json.loads(catalog().rules(service)), partitions)
        for fips, dual in itertools.product([False, True], repeat=2):
            flags = {"Region": region, "UseFIPS": fips, "UseDualStack": dual}
            wanted = {k: v for k, v in flags.items() if k in provider.ruleset.parameters}
            try:
                host = urlsplit(provider.resolve_endpoint(**wanted).url).netloc
            except EndpointProviderError:
                continue  # it isn't there, or needs parameters of the operation
            if region.startswith("cn-") and not host.endswith(".cn"):
                continue  # some rules name one domain whatever the partition; it isn't theirs
            count += 1
            try:
                if service not in endpoints().find(host).services:
                    missing.append((service, host))
            except AwsRefusal:
                missing.append((service, host))
    assert count > 300
    assert [one for one in missing if one[0] != "signin"] == []
