"""Which resource an AWS operation acts on, as an ARN, as far as its parameters tell.

A wrong answer would carry an act past a forbid, so there is none where it isn't certain: None means
that it isn't known, ``""`` that the operation acts on nothing in particular.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["bare_name", "members_naming", "partition_of", "resource_of"]

_ARN = re.compile(r"arn:aws[a-z-]*:[a-z0-9-]*:[a-z0-9-]*:[0-9]*:.+", re.DOTALL)
_PARTIAL_FUNCTION = re.compile(r"(?P<account>\d{12}):function:(?P<rest>.+)", re.DOTALL)

#: (service, member) → what stands before the name in an ARN.  AWS takes a name or an ARN there.
_NAMED: Mapping[tuple[str, str], str] = {
    ("lambda", "FunctionName"): "function:",
    ("dynamodb", "TableName"): "table/",
    ("ecs", "cluster"): "cluster/",
    ("kms", "KeyId"): "key/",
    ("ecr", "repositoryName"): "repository/",
    ("logs", "logGroupName"): "log-group:",
    ("logs", "logGroupIdentifier"): "log-group:",
    ("kinesis", "StreamName"): "stream/",
}
#: Members that hold the ARN of what is acted on.
_WHOLE = frozenset(
    {
        ("acm", "CertificateArn"),
        ("elbv2", "ListenerArn"),
        ("elbv2", "LoadBalancerArn"),
        ("elbv2", "TargetGroupArn"),
        ("iam", "PolicyArn"),
        ("kinesis", "StreamARN"),
        ("secretsmanager", "SecretId"),
        ("sns", "TargetArn"),
        ("sns", "TopicArn"),
        ("stepfunctions", "executionArn"),
        ("stepfunctions", "stateMachineArn"),
    }
)
#: Ends of names that look like a bucket's and stand for an access point.
_OTHER_NAMES = ("-s3alias", "--ol-s3")
_ANY_SERVICE = frozenset({"ResourceArn", "ResourceARN", "resourceArn", "resourceARN"})


def partition_of(region: str) -> str:
    """The partition that a region is in."""
    for start, partition in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov")):
        if region.startswith(start):
            return partition
    return "aws"


def bare_name(service: str, member: str, value: str) -> tuple[str | None, str]:
    """A parameter's value as a name, where AWS takes a name, an ARN, or a part of one.

    Returns:
        The name (None where the ARN doesn't tell it), and Lambda's qualifier.
    """
    if (service, member) == ("secretsmanager", "SecretId") and value.startswith("arn:"):
        return None, ""  # it ends in random letters, or in none
    before = _NAMED.get((service, member))
    if before is None:
        return value, ""
    if service == "lambda":
        return _function(value)
    if not _ARN.fullmatch(value):
        return value, ""
    rest = value.split(":", 5)[5]
    if not rest.startswith(before):
        return None, ""
    return rest.removeprefix(before).removesuffix(":*"), ""


def resource_of(
    service: str,
    given: Mapping[str, str],
    unknown: frozenset[str],
    *,
    members: frozenset[str],
    region: str,
    account: str,
) -> str | None:
    """The ARN of what an operation acts on.

    Args:
        service: name of the service model.
        given: the parameters that are known, as they were given.
        unknown: those that are given and not known.
        members: all that the operation takes.
        region: where it is called.
        account: whose it is, ``""`` where that isn't known.
    """
    if "*" in unknown:
        return None
    if service == "s3":
        return _s3(given, members, partition_of(region))
    whole = {
        value
        for member, value in given.items()
        if member in _ANY_SERVICE or (service, member) in _WHOLE
    }
    named = [member for name, member in _NAMED if name == service and member in given]
    if whole or len(named) != 1:
        only = next(iter(whole)) if len(whole) == 1 and not named else ""
        return only if _ARN.fullmatch(only) else None
    return _named(service, named[0], given[named[0]], region, account, given.get("registryId", ""))


def members_naming(service: str, arn: str, members: frozenset[str]) -> dict[str, str]:
    """The parameters that an operation is given to act on a resource, as far as that is certain."""
    if service == "s3" and arn.startswith("arn:") and arn.count(":") >= 5:
        bucket, _, key = arn.split(":", 5)[5].partition("/")
        return {
            name: value
            for name, value in (("Bucket", bucket), ("Key", key))
            if name in members and value
        }
    named = [member for name, member in _NAMED if name == service and member in members]
    return {named[0]: arn} if len(named) == 1 and _ARN.fullmatch(arn) else {}


def _named(
    service: str, member: str, value: str, region: str, account: str, registry: str
) -> str | None:
    before = _NAMED[service, member]
    name, _ = bare_name(service, member, value)
    if name is None or name.startswith("alias/"):
        return None
    if _ARN.fullmatch(value):
        return f"{':'.join(value.split(':', 5)[:5])}:{before}{name}"
    partial = _PARTIAL_FUNCTION.fullmatch(value) if service == "lambda" else None
    owner = partial["account"] if partial else registry or account
    if not (region and owner):
        return None
    return f"arn:{partition_of(region)}:{service}:{region}:{owner}:{before}{name}"


def _function(value: str) -> tuple[str, str]:
    """A Lambda function's name and qualifier, from any of the forms that Lambda takes."""
    rest = value
    match = _PARTIAL_FUNCTION.fullmatch(value)
    if match is not None:
        rest = match["rest"]
    elif _ARN.fullmatch(value):
        rest = value.split(":", 5)[5]
    name, _, qualifier = rest.removeprefix("function:").partition(":")
    return name, qualifier


def _s3(given: Mapping[str, str], members: frozenset[str], partition: str) -> str | None:
    if "Bucket" not in members:
        return ""
    bucket = given.get("Bucket")
    # Keys may also stand within a structure (DeleteObjects).
    if bucket is None or ("Key" in members and "Key" not in given) or "Delete" in members:
        return None
    if bucket.startswith("arn:") or bucket.endswith(_OTHER_NAMES):
        return None  # an access point, and of which bucket isn't known
    base = f"arn:{partition}:s3:::{bucket}"
    return f"{base}/{given['Key']}" if "Key" in members else base
