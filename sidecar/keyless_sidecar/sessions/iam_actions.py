"""Which of IAM's actions an operation needs, and which operations an action opens.

IAM's names are the API's, but for the services and operations in these tables.  Where a line is
missing, the action that is made of the name doesn't exist or is another operation's own: AWS then
denies what the session was for, and never allows more than was asked of the policy.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

from keyless_sidecar.egress.aws.catalog import catalog
from keyless_sidecar.policy.actions import canonical
from keyless_sidecar.policy.acts_from import operation_model
from keyless_sidecar.policy.aws_parameters import NotInModel

__all__ = ["actions_for", "operations_opened"]

#: Service model → IAM's prefix, where that isn't the name that it is signed for.
_PREFIXES: Mapping[str, str] = {
    "cloudwatch": "cloudwatch",
    "iot-data": "iot",
    "resourcegroupstaggingapi": "tag",
}
#: Operation → IAM's actions.
_ACTIONS: Mapping[str, tuple[str, ...]] = {
    "lambda:Invoke": ("lambda:InvokeFunction",),
    "lambda:InvokeAsync": ("lambda:InvokeFunction",),
    "lambda:InvokeWithResponseStream": ("lambda:InvokeFunction",),
    "s3:CompleteMultipartUpload": ("s3:PutObject",),
    "s3:CopyObject": ("s3:GetObject", "s3:PutObject"),
    "s3:CreateMultipartUpload": ("s3:PutObject",),
    "s3:DeleteObjects": ("s3:DeleteObject",),
    "s3:GetBucketAccelerateConfiguration": ("s3:GetAccelerateConfiguration",),
    "s3:GetBucketCors": ("s3:GetBucketCORS",),
    "s3:GetBucketEncryption": ("s3:GetEncryptionConfiguration",),
    "s3:GetBucketLifecycleConfiguration": ("s3:GetLifecycleConfiguration",),
    "s3:GetBucketNotificationConfiguration": ("s3:GetBucketNotification",),
    "s3:GetBucketReplication": ("s3:GetReplicationConfiguration",),
    "s3:GetObjectAttributes": ("s3:GetObject", "s3:GetObjectAttributes"),
    "s3:GetPublicAccessBlock": ("s3:GetBucketPublicAccessBlock",),
    "s3:HeadBucket": ("s3:ListBucket",),
    "s3:HeadObject": ("s3:GetObject",),
    "s3:ListBuckets": ("s3:ListAllMyBuckets",),
    "s3:ListMultipartUploads": ("s3:ListBucketMultipartUploads",),
    "s3:ListObjectVersions": ("s3:ListBucketVersions",),
    "s3:ListObjects": ("s3:ListBucket",),
    "s3:ListObjectsV2": ("s3:ListBucket",),
    "s3:ListParts": ("s3:ListMultipartUploadParts",),
    "s3:PutBucketCors": ("s3:PutBucketCORS",),
    "s3:PutBucketEncryption": ("s3:PutEncryptionConfiguration",),
    "s3:PutBucketLifecycleConfiguration": ("s3:PutLifecycleConfiguration",),
    "s3:PutBucketNotificationConfiguration": ("s3:PutBucketNotification",),
    "s3:UploadPart": ("s3:PutObject",),
    "s3:UploadPartCopy": ("s3:GetObject", "s3:PutObject"),
    "dynamodb:BatchExecuteStatement": ("dynamodb:PartiQLSelect",),
    "dynamodb:ExecuteStatement": ("dynamodb:PartiQLSelect",),
    "dynamodb:TransactGetItems": ("dynamodb:GetItem",),
    "dynamodb:TransactWriteItems": (
        "dynamodb:ConditionCheckItem",
        "dynamodb:DeleteItem",
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
    ),
}
#: Does what lambda:Invoke does, with an answer in pieces.
_STREAMED_INVOKE = "aws:lambda:InvokeWithResponseStream"


def actions_for(service: str, operation: str) -> tuple[str, ...]:
    """What a session needs for an operation.

    Args:
        service: name of the service model, ``lambda``.
        operation: as the API calls it, ``UpdateFunctionCode``.

    Raises:
        NotInModel: there is none.
    """
    operation_model(service, operation)
    return _needed(service, operation)


def operations_opened(action: str) -> tuple[tuple[str, str], ...]:
    """The operations that an action opens, as (service, operation).

    Of those that a policy decides under one name (the parts of an upload) only that one; and no
    operation that needs further actions, such as a copy: it does nothing that its parts don't.

    Args:
        action: as IAM has it, ``s3:PutObject``.

    Raises:
        NotInModel: there is no operation that needs it.
    """
    prefix, _, _ = action.partition(":")
    needing = [each for name in _services(prefix) for each in _needing(name, action)]
    alone = [each for each in needing if len(actions_for(*each)) == 1]
    found = tuple(each for each in alone or needing if not _part_of_another(*each))
    if not found:
        raise NotInModel(f"No operation of AWS is known that needs {action[:100]!r}.")
    return found


def _part_of_another(service: str, operation: str) -> bool:
    name = f"aws:{service}:{operation}"
    return canonical(name) != name or name == _STREAMED_INVOKE


def _needing(service: str, action: str) -> Iterator[tuple[str, str]]:
    for operation in catalog().model(service).operation_names:
        if action in _needed(service, operation):
            yield service, operation


def _needed(service: str, operation: str) -> tuple[str, ...]:
    return _ACTIONS.get(f"{service}:{operation}") or (f"{_prefix(service)}:{operation}",)


def _prefix(service: str) -> str:
    return _PREFIXES.get(service) or catalog().heads[service].signing_name


@functools.cache
def _services(prefix: str) -> tuple[str, ...]:
    """The service models that share a prefix (Neptune is called as RDS is)."""
    return tuple(name for name in catalog().heads if _prefix(name) == prefix)
