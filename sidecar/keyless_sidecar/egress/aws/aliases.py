"""Operations that look alike on the wire, and the one name that policy knows each by.

Amazon DocumentDB and Neptune are managed by RDS's own API: the same host, version and action.  The
name that a client used can't be told from the request, so there is one for all; whoever names an
operation (a command line, a call, a request) puts it through :func:`canonical` first.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from keyless_sidecar.egress.aws.catalog import Catalog

__all__ = ["PREFERRED", "canonical"]

#: A service, and the one at the same place that has operations in common with it.
PREFERRED: Mapping[str, str] = {
    "docdb": "rds",
    "greengrassv2": "greengrass",
    "lambda-core": "lambda",
    "lambda-microvms": "lambda",
    "lambda-web": "lambda",
    "neptune": "rds",
    "pinpoint-sms-voice": "sms-voice",
    "signer-data": "signer",
    "wisdom": "qconnect",
}
#: Older operations whose requests can't be told from those that took their place.
_REPLACED: Mapping[tuple[str, str], str] = {
    ("s3", "GetBucketLifecycle"): "GetBucketLifecycleConfiguration",
    ("s3", "GetBucketNotification"): "GetBucketNotificationConfiguration",
    ("s3", "PutBucketLifecycle"): "PutBucketLifecycleConfiguration",
    ("s3", "PutBucketNotification"): "PutBucketNotificationConfiguration",
}


@functools.lru_cache(maxsize=4096)
def canonical(catalog: Catalog, service: str, operation: str) -> tuple[str, str]:
    """The service and operation that policy knows an operation by."""
    operation = _REPLACED.get((service, operation), operation)
    other = PREFERRED.get(service, "")
    if other in catalog.heads and operation in catalog.model(other).operation_names:
        ours, theirs = (
            catalog.model(name).operation_model(operation).http for name in (service, other)
        )
        if ours["method"] == theirs["method"] and _place(ours) == _place(theirs):
            return other, operation
    return service, operation


def _place(http: Mapping[str, str]) -> str:
    """The path, whatever its labels are called."""
    return re.sub(r"\{[^}]*\}", "{}", http["requestUri"])
