"""The operations of a REST service as routes: method, path template, query and headers.

``rest`` matches requests against them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from botocore.model import OperationModel, Shape

from keyless_sidecar.egress.aws.catalog import Catalog

__all__ = ["Route", "routes"]


@dataclass(frozen=True)
class Route:
    """An operation of a REST service.

    Attributes:
        path: matches a raw path, its groups being the labels in the order of ``labels``.
        labels: members that stand in the path.
        exact: for each segment of the template how exact it is, greedy to literal.
        literals: names in the query that make the operation, with their values.
        query: other names in the query, with their members.
        query_map: the member that takes any further names, empty where there is none.
        headers: names of headers in lower case, with their members.
        header_maps: prefixes of headers, with their members.
        required: names in query and headers that must be there.
    """

    service: str
    model: OperationModel = field(repr=False)
    method: str
    path: re.Pattern[str]
    labels: tuple[str, ...]
    exact: tuple[int, ...]
    literals: Mapping[str, str]
    query: Mapping[str, str]
    query_map: str
    headers: Mapping[str, str]
    header_maps: Mapping[str, str]
    required_query: frozenset[str]
    required_headers: frozenset[str]

    @property
    def host_prefix(self) -> str:
        """The template of what it puts before the host, ``api.``; empty for nothing."""
        return str((self.model.endpoint or {}).get("hostPrefix", ""))


@functools.lru_cache(maxsize=256)
def routes(catalog: Catalog, service: str) -> tuple[Route, ...]:
    """All operations of a REST service."""
    model = catalog.model(service)
    return tuple(_route(service, model.operation_model(name)) for name in model.operation_names)


def _route(service: str, model: OperationModel) -> Route:
    uri = model.http["requestUri"]
    template, _, literal = uri.partition("?")
    members: Mapping[str, Shape] = model.input_shape.members if model.input_shape else {}
    required = set(model.input_shape.required_members) if model.input_shape else set()
    by_place: dict[str, dict[str, str]] = {
        "uri": {},
        "querystring": {},
        "header": {},
        "headers": {},
    }
    query_map = ""
    for name, shape in members.items():
        place = shape.serialization.get("location")
        if place == "querystring" and shape.type_name == "map":
            query_map = name
        elif place in by_place:
            by_place[place][shape.serialization.get("name", name)] = name
    pattern, labels, exact = _compile(template, by_place["uri"])
    return Route(
        service=service,
        model=model,
        method=model.http["method"],
        path=pattern,
        labels=labels,
        exact=exact,
        literals=dict(parse_qsl(literal, keep_blank_values=True)),
        query=by_place["querystring"],
        query_map=query_map,
        headers={wire.lower(): name for wire, name in by_place["header"].items()},
        header_maps={wire.lower(): name for wire, name in by_place["headers"].items()},
        required_query=frozenset(w for w, n in by_place["querystring"].items() if n in required),
        required_headers=frozenset(
            wire.lower() for wire, name in by_place["header"].items() if name in required
        ),
    )


def _compile(
    template: str, members: Mapping[str, str]
) -> tuple[re.Pattern[str], tuple[str, ...], tuple[int, ...]]:
    """A path template as a pattern over raw paths."""
    labels: list[str] = []
    exact: list[int] = []
    out = ""
    for index, segment in enumerate(template.split("/")):
        out += "/" if index else ""
        pieces = re.split(r"\{([^}]+)\}", segment)
        for place, piece in enumerate(pieces):
            if place % 2:
                labels.append(members[piece.removesuffix("+")])
                out += "(.+)" if piece.endswith("+") else "([^/]+)"
            else:
                out += re.escape(piece)
        greedy = segment.endswith("+}")
        exact.append(0 if greedy else 3 if len(pieces) == 1 else 1 if not any(pieces[::2]) else 2)
    return re.compile(out, re.DOTALL), tuple(labels), tuple(exact)
