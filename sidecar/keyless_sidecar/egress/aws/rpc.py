"""Operations that a request names: by a header, by its path, or by its parameter ``Action``."""

from __future__ import annotations

from botocore.model import OperationModel

from keyless_sidecar.egress.aws.aliases import PREFERRED, canonical
from keyless_sidecar.egress.aws.bodies import read_cbor, read_encoded, read_form, read_json
from keyless_sidecar.egress.aws.catalog import Catalog
from keyless_sidecar.egress.aws.endpoints import Endpoint
from keyless_sidecar.egress.aws.flatten import flatten
from keyless_sidecar.egress.aws.found import Found, ambiguous
from keyless_sidecar.egress.aws.parts import Parts, decoded
from keyless_sidecar.egress.aws.query_names import query_parameters
from keyless_sidecar.egress.aws.refusal import IdentifyError

__all__ = ["CBOR", "named_operation"]

CBOR = "smithy-rpc-v2-cbor"


def named_operation(
    parts: Parts, endpoint: Endpoint, protocol: str, body: bytes, models: Catalog
) -> Found:
    """The operation that a request names.

    Raises:
        IdentifyError: none that is known, or it can't be said for certain.
    """
    ways = {"json": _json, CBOR: _cbor, "query": _query}
    body = read_encoded(body, parts.header("content-encoding"))
    found = ways[protocol](parts, endpoint, body, models)
    names = {canonical(models, one.service, one.model.name) for one in found}
    if not names:
        raise IdentifyError(
            f"No operation of {' or '.join(endpoint.services)} is known that this request is."
        )
    if len(names) > 1:
        raise ambiguous(names)
    one = found[0]
    template = (one.model.endpoint or {}).get("hostPrefix", "")
    if endpoint.prefix_fits(one.service, template) is None:
        raise IdentifyError(f"{endpoint.host} is not a host of {one.model.name}.")
    return one


def _json(parts: Parts, endpoint: Endpoint, body: bytes, models: Catalog) -> list[Found]:
    target, _, operation = parts.header("x-amz-target").rpartition(".")
    content = parts.header("content-type").partition(";")[0].strip().lower()
    if not content.startswith("application/x-amz-json-1."):
        raise IdentifyError("A request with X-Amz-Target must be application/x-amz-json-1.x.")
    _plain_post(parts)
    found = []
    for service in endpoint.services:
        head = models.heads[service]
        if head.target != target or "json" not in head.protocols:
            continue
        if operation in models.model(service).operation_names:
            model = models.model(service).operation_model(operation)
            found.append(Found(service, model, "json", _members(model, read_json(body))))
    return found


def _cbor(parts: Parts, endpoint: Endpoint, body: bytes, models: Catalog) -> list[Found]:
    pieces = parts.path.split("/")
    if parts.header("smithy-protocol") != "rpc-v2-cbor" or len(pieces) != 5:
        raise IdentifyError("The request speaks a Smithy protocol that is not known here.")
    empty, kind, target, also, operation = pieces
    if (empty, kind, also) != ("", "service", "operation"):
        raise IdentifyError("The path is not /service/NAME/operation/NAME.")
    _plain_post(parts, parts.path)
    found = []
    for service in endpoint.services:
        head = models.heads[service]
        if head.target != target or CBOR not in head.protocols:
            continue
        if operation in models.model(service).operation_names:
            model = models.model(service).operation_model(operation)
            found.append(Found(service, model, CBOR, _members(model, read_cbor(body))))
    return found


def _query(parts: Parts, endpoint: Endpoint, body: bytes, models: Catalog) -> list[Found]:
    if parts.path != "/":
        raise IdentifyError("A request with Action must have the path /.")
    pairs = [pair for pair in parts.query.split("&") if pair and not _is_auth(pair)]
    if pairs and body:
        raise IdentifyError("Parameters stand in the query and in the body; use one of them.")
    if body and parts.method != "POST":
        raise IdentifyError("A request with a body must be a POST.")
    try:
        form = read_form(body.decode("ascii") if body else "&".join(pairs))
    except UnicodeDecodeError:
        raise IdentifyError("The form is malformed.") from None
    action, version = form.pop("Action", ""), form.pop("Version", "")
    found: dict[tuple[str, str], Found] = {}
    refused: list[IdentifyError] = []
    for service in sorted(endpoint.services, key=lambda one: one in PREFERRED):
        head = models.heads[service]
        kinds = {"query", "ec2"} & set(head.protocols)
        if not (kinds or head.query_compatible) or head.version != version:
            continue
        if action in models.model(service).operation_names:
            model = models.model(service).operation_model(action)
            ec2 = "ec2" in kinds
            try:
                parameters = query_parameters(model, form, ec2=ec2, older=not kinds)
            except IdentifyError as error:
                refused.append(error)
                continue
            one = Found(service, model, "ec2" if ec2 else "query", parameters)
            found.setdefault(canonical(models, service, action), one)
    if refused and not found:
        raise refused[0]
    return list(found.values())


def _members(model: OperationModel, value: object) -> dict[str, str]:
    out: dict[str, str] = {}
    if model.input_shape is not None:
        flatten(model.input_shape, value, "", out)
    elif value != {}:
        raise IdentifyError(f"{model.name} takes no parameters; leave them out.")
    return out


def _plain_post(parts: Parts, path: str = "/") -> None:
    rest = [pair for pair in parts.query.split("&") if pair and not _is_auth(pair)]
    if parts.method != "POST" or parts.path != path or rest:
        raise IdentifyError("The request must be a POST to / without a query.")


def _is_auth(pair: str) -> bool:
    return decoded(pair.partition("=")[0]).lower().startswith("x-amz-")
