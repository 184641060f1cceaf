"""The local AWS with Secrets Manager and Parameter Store, which speak AWS's JSON protocol."""

from __future__ import annotations

from typing import Any
from unittest import mock

from keyless.localaws import LocalAws, operations, server
from keyless.localaws.faults import Fault, Refusal
from keyless.localaws.http import HttpRequest
from keyless.localaws.operations import Access, Call, Catalogue

_MORE = {"secretsmanager": "secretsmanager", "ssm": "ssm"}


class _MoreCatalogue(Catalogue):
    """The operation stands in a header."""

    def __init__(self, account: str) -> None:
        with mock.patch.dict(operations.SERVICES, _MORE):
            super().__init__(account, tuple(operations.SERVICES))

    def identify(self, request: HttpRequest, service: str, region: str) -> Call:
        if service not in _MORE:
            return super().identify(request, service, region)
        operation = request.header("x-amz-target").partition(".")[2]
        if operation not in self._models[service].operation_names:
            raise Refusal(Fault.UNKNOWN_OPERATION, f"Could not find operation {operation!r}.")
        return Call(service, operation, (Access(f"{service}:{operation}", "*"),))


class MoreAws(LocalAws):
    """A context manager, as its base."""

    def start(self) -> None:
        with mock.patch.object(server, "Catalogue", _MoreCatalogue):
            super().start()


def keys_of(aws: LocalAws) -> dict[str, Any]:
    """What ``boto3.client`` needs to speak to it."""
    return {
        "endpoint_url": aws.endpoint,
        "region_name": "us-east-1",
        "aws_access_key_id": aws.access_key_id,
        "aws_secret_access_key": aws.secret_access_key,
    }
