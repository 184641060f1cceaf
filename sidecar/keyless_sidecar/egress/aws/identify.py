"""What a request does: service, operation, parameters, resource; one answer, or none.

The canonical name (``aws:lambda:UpdateFunctionCode``) is made of the names in botocore's model, as
``tools.aws_operations`` makes it of a command line, so policy sees the same act by either way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from botocore.model import OperationModel

from keyless_sidecar.egress.aws.aliases import canonical
from keyless_sidecar.egress.aws.catalog import Catalog, Head, catalog
from keyless_sidecar.egress.aws.endpoints import Endpoint
from keyless_sidecar.egress.aws.found import Found
from keyless_sidecar.egress.aws.parts import Parts, decoded
from keyless_sidecar.egress.aws.refusal import IdentifyError
from keyless_sidecar.egress.aws.resource import resource_of
from keyless_sidecar.egress.aws.rest_operations import rest_fits, rest_operation
from keyless_sidecar.egress.aws.rpc import CBOR, named_operation
from keyless_sidecar.tools.aws_operations import is_mutating

__all__ = ["Identified", "identify", "protocol_of", "wants_body"]

_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Identified:
    """What a request does.

    Attributes:
        service: name of the service model.
        operation: ``UpdateFunctionCode``.
        protocol: that the request speaks, ``rest-json``; errors must be in it.
        parameters: flat; those in the body only where it was given.
        resource: ARN, empty where it can't be told.
        mutating: whether it changes something.
        model: botocore's model of the operation.
    """

    service: str
    operation: str
    protocol: str
    region: str
    partition: str
    account: str
    parameters: Mapping[str, str] = field(repr=False)
    resource: str
    mutating: bool
    model: OperationModel = field(repr=False)

    @property
    def name(self) -> str:
        """``aws:lambda:UpdateFunctionCode``."""
        return f"aws:{self.service}:{self.operation}"


def identify(
    parts: Parts,
    endpoint: Endpoint,
    body: bytes | None,
    region: str = "",
    *,
    models: Catalog | None = None,
    account: str = "",
) -> Identified:
    """Say what a request does.

    Args:
        parts: the request.
        endpoint: where it goes.
        body: its body; None where it isn't known, which only REST services allow.
        region: that it is signed for; that of the host without it.
        models: the service models; those of the installed botocore without it.
        account: the account of the keys, where it is known.

    Raises:
        IdentifyError: it can't be said for certain.
    """
    models = models or catalog()
    found = _find(parts, endpoint, body, models)
    # By the canonical name, and by its model.
    service, operation = canonical(models, found.service, found.model.name)
    model = found.model
    if (service, operation) != (found.service, found.model.name):
        model = models.model(service).operation_model(operation)
    region = region or endpoint.region
    account = endpoint.account or account
    return Identified(
        service=service,
        operation=operation,
        protocol=found.protocol,
        region=region,
        partition=endpoint.partition,
        account=account,
        parameters=found.parameters,
        resource=resource_of(model, found.parameters, endpoint, region, account),
        mutating=is_mutating(model),
        model=model,
    )


def wants_body(parts: Parts, endpoint: Endpoint, models: Catalog | None = None) -> bool:
    """Whether the body says something of what the request does; else it may stream.

    Raises:
        IdentifyError: what the request does can't be said, whatever the body.
    """
    models = models or catalog()
    if protocol_of(parts, endpoint, models) != "rest":
        return True
    if endpoint.services == ("cloudsearchdomain",):
        return True
    return not all(f.route.model.has_streaming_input for f in rest_fits(parts, endpoint, models))


def protocol_of(parts: Parts, endpoint: Endpoint, models: Catalog | None = None) -> str:
    """``rest``, ``query`` (with EC2's), ``json`` or CBOR's, by what marks the request.

    Raises:
        IdentifyError: two marks contradict each other, or no service there speaks it.
    """
    content = parts.header("content-type").partition(";")[0].strip().lower()
    action = any(decoded(name) == "Action" for name, _ in parts.pairs())
    marks = []
    if parts.all("smithy-protocol"):
        marks.append(CBOR)
    if parts.all("x-amz-target"):
        marks.append("json")
    if action or (content == _FORM and parts.method == "POST" and parts.path == "/"):
        marks.append("query")
    if len(marks) > 1:
        raise IdentifyError("The request speaks two protocols at once.")
    protocol = marks[0] if marks else "rest"
    models = models or catalog()
    heads = [models.heads[service] for service in endpoint.services]
    if not any(_speaks(head, protocol) for head in heads):
        raise IdentifyError(f"No service at {endpoint.host} speaks the protocol of this request.")
    return protocol


def _speaks(head: Head, protocol: str) -> bool:
    if protocol == "query" and (head.query_compatible or "ec2" in head.protocols):
        return True
    return any(one == protocol or one.startswith(f"{protocol}-") for one in head.protocols)


def _find(parts: Parts, endpoint: Endpoint, body: bytes | None, models: Catalog) -> Found:
    protocol = protocol_of(parts, endpoint, models)
    if protocol == "rest":
        return rest_operation(parts, endpoint, body, models)
    if body is None:
        raise IdentifyError("What the request does stands in its body, which was not read.")
    return named_operation(parts, endpoint, protocol, body, models)
