"""What a request to a REST service is, with the parameters of its body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from botocore.model import OperationModel, Shape

from keyless_sidecar.egress.aws.aliases import canonical
from keyless_sidecar.egress.aws.bodies import read_encoded, read_json, read_xml
from keyless_sidecar.egress.aws.catalog import Catalog
from keyless_sidecar.egress.aws.endpoints import Endpoint
from keyless_sidecar.egress.aws.flatten import flatten, leaf, wire_name
from keyless_sidecar.egress.aws.found import Found, ambiguous
from keyless_sidecar.egress.aws.parts import Parts
from keyless_sidecar.egress.aws.refusal import IdentifyError
from keyless_sidecar.egress.aws.rest import Fit, fits
from keyless_sidecar.egress.aws.routes import routes
from keyless_sidecar.egress.aws.xml_names import xml_parameters

__all__ = ["rest_fits", "rest_operation"]

_FORM = "application/x-www-form-urlencoded"


def rest_operation(parts: Parts, endpoint: Endpoint, body: bytes | None, models: Catalog) -> Found:
    """The operation that a request is.

    Args:
        parts: the request.
        endpoint: where it goes.
        body: its body, None where it isn't known.
        models: the service models.

    Raises:
        IdentifyError: none that is known, or it can't be said for certain.
    """
    parts, body = _search_as_get(parts, endpoint, body)
    encoding = parts.header("content-encoding")
    refused: list[IdentifyError] = []
    for fit in rest_fits(parts, endpoint, models):
        protocols = models.heads[fit.route.service].protocols
        protocol = next(p for p in protocols if p.startswith("rest-"))
        try:
            parameters = {**fit.parameters, **_in_body(fit.route.model, protocol, body, encoding)}
        except IdentifyError as error:
            refused.append(error)
            continue
        return Found(fit.route.service, fit.route.model, protocol, parameters)
    raise refused[0]


def rest_fits(parts: Parts, endpoint: Endpoint, models: Catalog) -> list[Fit]:
    """The routes that a request fits, the canonical one first; all have one canonical name.

    Raises:
        IdentifyError: there is none, or they have several.
    """
    services = [
        service
        for service in endpoint.services
        if any(protocol.startswith("rest-") for protocol in models.heads[service].protocols)
    ]
    found = fits(parts, endpoint, (r for service in services for r in routes(models, service)))
    names = {canonical(models, fit.route.service, fit.route.model.name) for fit in found}
    if not names:
        raise IdentifyError(
            f"No operation of {' or '.join(endpoint.services)} is known that is {parts.method} "
            "with this path, query and headers."
        )
    if len(names) > 1:
        raise ambiguous(names)
    return sorted(found, key=lambda fit: (fit.route.service, fit.route.model.name) not in names)


def _in_body(
    model: OperationModel, protocol: str, body: bytes | None, encoding: str
) -> dict[str, str]:
    """The parameters in the body of a REST request."""
    out: dict[str, str] = {}
    if not body:
        return out
    shape = model.input_shape
    payload = (shape.serialization.get("payload") if shape is not None else None) or ""
    member = shape.members[payload] if payload else shape
    if payload and member.serialization.get("eventstream"):
        out[payload] = "[events]"
    elif payload and member.type_name in ("blob", "string"):
        out[payload] = leaf(member, body.decode("utf-8", "replace"))
    elif protocol == "rest-xml":
        element = read_xml(read_encoded(body, encoding))
        if element is not None:
            if member is None:
                raise IdentifyError(f"{model.name} has no body; leave it out.")
            xml_parameters(member, element, payload, out)
    else:
        value = read_json(read_encoded(body, encoding))
        if member is not None:
            if not payload and isinstance(value, dict):
                _only_body_members(model, member, value)
            flatten(member, value, payload, out)
        elif value != {}:
            raise IdentifyError(f"{model.name} has no body; leave it out.")
    return out


def _only_body_members(model: OperationModel, shape: Shape, value: Mapping[str, object]) -> None:
    """A member that belongs into path, query or headers must not stand in the body."""
    for name, member in shape.members.items():
        if member.serialization.get("location") and wire_name(shape, name) in value:
            raise IdentifyError(f"{name} of {model.name} doesn't belong into the body.")


def _search_as_get(
    parts: Parts, endpoint: Endpoint, body: bytes | None
) -> tuple[Parts, bytes | None]:
    """A search of CloudSearch, which botocore sends as a form where the model says a query."""
    form = parts.header("content-type").startswith(_FORM)
    if endpoint.services == ("cloudsearchdomain",) and parts.method == "POST" and form and body:
        text = body.decode("ascii", "replace").replace("+", "%20")
        return replace(parts, method="GET", target=f"{parts.path}?{text}").checked(), None
    return parts, body
