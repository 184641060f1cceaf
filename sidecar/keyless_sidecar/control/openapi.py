"""The description of the control API, made from the table of routes and the types themselves."""

from __future__ import annotations

import functools
import re
from importlib.metadata import version
from typing import Any

import msgspec

from keyless_sidecar.control.routes import ALWAYS, ROUTES, Route
from keyless_sidecar.control.types import Failure

__all__ = ["document"]

_REASONS = {
    400: "It makes no sense.",
    401: "The token is missing or wrong.",
    403: "The policy or a person says no, or it came from a web page.",
    404: "There is no such thing.",
    408: "Time was over.",
    409: "It can't be done now.",
    413: "It is too large.",
    415: "The body is no JSON.",
    503: "Vault, audit or sandbox can't be used.",
}


@functools.cache
def document() -> bytes:
    """The OpenAPI 3.1 document as JSON."""
    types = [*(route.body for route in ROUTES if route.body), Failure]
    types += [route.answer for route in ROUTES if route.answer]
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    named = dict(zip(map(id, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, named)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Keyless control API",
                "version": version("keyless"),
                "description": "HTTP over the unix socket `control` of one kernel.",
            },
            "servers": [{"url": "http://localhost"}],
            "security": [{"token": []}],
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


def _operation(route: Route, named: dict[int, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}
    if route.answer is not None:
        content = {"application/json": {"schema": named[id(route.answer)]}}
    failure = {"application/json": {"schema": named[id(Failure)]}}
    responses: dict[str, Any] = {"200": {"description": "Done.", "content": content}}
    for status in sorted({*ALWAYS, *route.errors}):
        responses[str(status)] = {"description": _REASONS[status], "content": failure}
    operation: dict[str, Any] = {
        "operationId": route.handler,
        "summary": re.sub(r"\s+", " ", route.summary).strip(),
        "responses": responses,
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": named[id(route.body)]}},
        }
    if route.parameters:
        operation["parameters"] = [
            {"name": name, "in": place, "required": place == "path", "schema": schema}
            for name, place, schema in route.parameters
        ]
    return operation
