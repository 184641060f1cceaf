"""Which operation of a REST service a request is: method, path, query and headers, all of them.

A route fits only where it knows every name in the query and every ``x-amz-*`` header, so that
nothing is sent that would make another operation of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from botocore.model import Shape

from keyless_sidecar.egress.aws.endpoints import Endpoint
from keyless_sidecar.egress.aws.flatten import leaf
from keyless_sidecar.egress.aws.parts import Parts, decoded
from keyless_sidecar.egress.aws.refusal import IdentifyError
from keyless_sidecar.egress.aws.routes import Route

__all__ = ["Fit", "fits"]

#: In every service's requests, and no parameters of them.
_COMMON_HEADERS = frozenset(
    {
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-decoded-content-length",
        "x-amz-s3session-token",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-security-token",
        "x-amz-te",
        "x-amz-trailer",
        "x-amz-user-agent",
    }
)
_AUTH_QUERY = frozenset(
    {
        "x-amz-algorithm",
        "x-amz-content-sha256",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-s3session-token",
        "x-amz-security-token",
        "x-amz-signature",
        "x-amz-signedheaders",
    }
)
_CHECKSUM = re.compile(r"x-amz-checksum-[a-z0-9]+")
_GLACIER = frozenset({"x-amz-glacier-version", "x-amz-sha256-tree-hash"})
_S3 = frozenset({"s3", "s3control"})


@dataclass(frozen=True)
class Fit:
    """A route that a request fits, and the parameters outside its body."""

    route: Route
    parameters: Mapping[str, str]
    score: tuple[tuple[int, ...], int, int]


@dataclass(frozen=True)
class _Request:
    """A request as the routes see it."""

    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]


def fits(parts: Parts, endpoint: Endpoint, routes: Iterable[Route]) -> list[Fit]:
    """The best of the routes that a request fits; several where they fit equally well.

    Raises:
        IdentifyError: the request can't be read in one way.
    """
    found: list[Fit] = []
    read: dict[bool, _Request] = {}
    for route in routes:
        s3 = route.service in _S3
        if s3 not in read:
            read[s3] = _read(parts, endpoint, s3)
        fit = _fit(parts, endpoint, route, read[s3])
        if fit is not None:
            found.append(fit)
    best = max((fit.score for fit in found), default=None)
    return [fit for fit in found if fit.score == best]


def _read(parts: Parts, endpoint: Endpoint, s3: bool) -> _Request:
    path = parts.path
    query: dict[str, list[str]] = {}
    headers: dict[str, str] = {}
    for name, value in parts.headers:
        if name.lower() in headers and name.lower().startswith("x-amz-"):
            raise IdentifyError(f"The header {name} appears twice; send it once.")
        headers[name.lower()] = value
    for raw, value in parts.pairs():
        name = decoded(raw)
        if name.lower() in _AUTH_QUERY:
            continue
        if s3 and name.lower().startswith("x-amz-"):
            # S3 reads such a name as the header of that name.
            if name.lower() in headers:
                raise IdentifyError(f"{name} is given twice; give it once.")
            headers[name.lower()] = decoded(value)
            continue
        query.setdefault(name, []).append(decoded(value))
    if s3:
        path = _s3_path(path, endpoint)
    else:
        segments = [decoded(segment) for segment in path.split("/")]
        if any(segment in (".", "..") for segment in segments):
            raise IdentifyError("The path has dot segments, which servers read in different ways.")
        if "" in segments[1:-1]:
            raise IdentifyError("The path has empty segments, which servers read in two ways.")
    if "apigatewaymanagementapi" in endpoint.services:
        path = re.sub(r"^/[^/@]+(?=/@connections/)", "", path)  # the stage
    return _Request(path, query, headers)


def _s3_path(path: str, endpoint: Endpoint) -> str:
    """The path with the bucket in it, wherever the request has it."""
    if endpoint.kind == "control":
        return path
    if path == "/WriteGetObjectResponse" and endpoint.kind == "object-lambda":
        return path
    if endpoint.bucket:
        return f"/{endpoint.bucket}{path}" if path != "/" else f"/{endpoint.bucket}"
    bucket, slash, key = path[1:].partition("/")
    if slash and not bucket:
        raise IdentifyError("The path has no bucket.")
    return f"/{bucket}/{key}" if key else f"/{bucket}"


def _fit(parts: Parts, endpoint: Endpoint, route: Route, request: _Request) -> Fit | None:
    if parts.method != route.method:
        return None
    if route.service == "s3" and not _s3_host_fits(route, endpoint, request.path):
        return None
    match = route.path.fullmatch(request.path)
    if match is None:
        return None
    members: Mapping[str, Shape] = route.model.input_shape.members if route.labels else {}
    in_host = endpoint.prefix_fits(route.service, route.host_prefix)
    if in_host is None:
        return None
    parameters: dict[str, str] = dict(in_host)
    if not _query_fits(route, request.query, parameters):
        return None
    if not _headers_fit(route, request.headers, parameters):
        return None
    for label, value in zip(route.labels, match.groups(), strict=True):
        parameters[label] = leaf(members[label], decoded(value))
    present = len(route.required_query) + len(route.required_headers)
    return Fit(route, parameters, (route.exact, len(route.literals), present))


def _query_fits(route: Route, query: Mapping[str, list[str]], parameters: dict[str, str]) -> bool:
    if not route.required_query <= query.keys():
        return False
    for name, value in route.literals.items():
        if len(query.get(name, ())) != 1 or (value and query[name] != [value]):
            return False
    for name, values in query.items():
        if name in route.query:
            member = route.query[name]
            shape = route.model.input_shape.members[member]
            if shape.type_name == "list":
                parameters |= {f"{member}.{i}": leaf(shape.member, v) for i, v in enumerate(values)}
                continue
            parameters[member] = leaf(shape, values[0])
        elif name in route.literals:
            pass
        elif name == "x-id" and values == [route.model.name]:
            continue
        elif route.query_map:
            parameters |= {f"{route.query_map}.{name}": values[0]}
            if _takes_lists(route):
                continue
        else:
            return False
        if len(values) > 1:
            return False
    return True


def _headers_fit(route: Route, headers: Mapping[str, str], parameters: dict[str, str]) -> bool:
    in_host = {name for name, member in route.headers.items() if member in parameters}
    if not route.required_headers <= headers.keys() | in_host:
        return False
    for name, value in headers.items():
        if name in route.headers:
            member = route.headers[name]
            if parameters.get(member, value) != value:
                return False
            parameters[member] = leaf(route.model.input_shape.members[member], value)
            continue
        prefix = next((p for p in route.header_maps if name.startswith(p)), "")
        if prefix:
            parameters[f"{route.header_maps[prefix]}.{name.removeprefix(prefix)}"] = value
        elif name.startswith("x-amz-") and not _is_common(name, route):
            return False
    return True


def _is_common(name: str, route: Route) -> bool:
    if name in _COMMON_HEADERS:
        return True
    if _CHECKSUM.fullmatch(name):
        return route.service in _S3 or bool(route.model.http_checksum)
    return route.service == "glacier" and name in _GLACIER


def _takes_lists(route: Route) -> bool:
    shape = route.model.input_shape.members[route.query_map]
    return bool(shape.value.type_name == "list")


def _s3_host_fits(route: Route, endpoint: Endpoint, path: str) -> bool:
    """Operations that only some hosts have."""
    name = route.model.name
    in_path = endpoint.kind == "express" and not endpoint.bucket and path != "/"
    if in_path and not path.split("/")[1].endswith(("--x-s3", "--xa-s3")):
        return False  # s3control is at the same host, and its paths are no buckets
    if name == "ListDirectoryBuckets":
        return endpoint.kind == "express"
    if name == "ListBuckets":
        return endpoint.kind == "bucket" and not endpoint.bucket
    if name == "WriteGetObjectResponse":
        return endpoint.kind == "object-lambda"
    return True
