"""What a request asks for: operation, IAM actions and resources, from botocore's service model.

The front asks :class:`Catalogue` before it decides.  A request that fits no operation of the model,
or that carries a sub-resource which the chosen operation doesn't know, is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import unquote

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

from keyless.localaws.faults import Fault, Refusal
from keyless.localaws.http import HttpRequest

#: Signing names that the local AWS answers to, and botocore's names of their models.
SERVICES = {"sts": "sts", "iam": "iam", "lambda": "lambda", "s3": "s3", "ec2": "ec2"}

#: IAM's action where it isn't called like the operation.
_ACTIONS = {
    ("lambda", "Invoke"): ("InvokeFunction",),
    ("lambda", "InvokeAsync"): ("InvokeFunction",),
    ("lambda", "InvokeWithResponseStream"): ("InvokeFunction",),
    ("s3", "ListBuckets"): ("ListAllMyBuckets",),
    ("s3", "ListObjects"): ("ListBucket",),
    ("s3", "ListObjectsV2"): ("ListBucket",),
    ("s3", "ListObjectVersions"): ("ListBucketVersions",),
    ("s3", "HeadBucket"): ("ListBucket",),
    ("s3", "HeadObject"): ("GetObject",),
    ("s3", "CopyObject"): ("PutObject",),
    ("s3", "CreateMultipartUpload"): ("PutObject",),
    ("s3", "UploadPart"): ("PutObject",),
    ("s3", "UploadPartCopy"): ("PutObject",),
    ("s3", "CompleteMultipartUpload"): ("PutObject",),
    ("s3", "ListParts"): ("ListMultipartUploadParts",),
    ("s3", "ListMultipartUploads"): ("ListBucketMultipartUploads",),
    ("s3", "DeleteObjects"): ("DeleteObject",),
}


@dataclass(frozen=True)
class Access:
    """One thing that a policy must allow."""

    action: str
    resource: str


@dataclass(frozen=True)
class Call:
    """A request, understood."""

    service: str
    operation: str
    accesses: tuple[Access, ...]
    #: The form of a query-protocol call; empty for the others.
    form: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Route:
    """How one operation of a REST service looks on the wire."""

    operation: str
    method: str
    path: re.Pattern[str]
    literal_query: frozenset[tuple[str, str]]
    needed_query: frozenset[str]
    needed_headers: frozenset[str]
    weight: int


class Catalogue:
    """The models of the services that the local AWS knows; read once, then immutable."""

    def __init__(self, account: str, services: Iterable[str] = tuple(SERVICES)) -> None:
        loader = Loader()
        self._account = account
        self._models = {
            name: ServiceModel(loader.load_service_model(SERVICES[name], "service-2"), name)
            for name in services
        }
        self._routes = {
            name: _routes(model)
            for name, model in self._models.items()
            if self.protocol(name).startswith("rest-")
        }

    def protocol(self, service: str) -> str:
        """The protocol of a signing name (``rest-json``, …), empty for an unknown one."""
        model = self._models.get(service)
        return str(model.metadata["protocol"]) if model else ""

    def identify(self, request: HttpRequest, service: str, region: str) -> Call:
        """The call that a request makes.

        Raises:
            Refusal: no such service or operation.
        """
        protocol = self.protocol(service)
        if not protocol:
            raise Refusal(Fault.UNKNOWN_OPERATION, f"The local AWS has no service {service!r}.")
        if service == "s3":
            request = _path_style(request)
        if protocol.startswith("rest-"):
            operation, names = self._rest(request, service)
            form: dict[str, str] = {}
        else:
            form = dict(request.form if request.method == "POST" else request.query)
            operation, names = form.get("Action", ""), {}
            if operation not in self._models[service].operation_names:
                raise Refusal(Fault.UNKNOWN_OPERATION, f"Could not find operation {operation!r}.")
        accesses = tuple(self._accesses(request, service, region, operation, names, form))
        return Call(service, operation, accesses, form)

    def _rest(self, request: HttpRequest, service: str) -> tuple[str, dict[str, str]]:
        query = dict(request.query)
        headers = {name.lower() for name, _ in request.headers}
        fits = [
            (route.weight, route, found)
            for route in self._routes[service]
            if route.method == request.method
            and (found := route.path.fullmatch(request.path))
            and route.literal_query <= set(query.items())
            and route.needed_query <= set(query)
            and route.needed_headers <= headers
        ]
        if not fits:
            raise Refusal(
                Fault.UNKNOWN_OPERATION, f"No operation for {request.method} {request.path!r}."
            )
        _, route, found = max(fits, key=lambda fit: fit[0])
        known = {name for name, _ in route.literal_query} | route.needed_query
        for name in set(query) & self._subresources - known:
            if service == "s3":
                raise Refusal(
                    Fault.UNKNOWN_OPERATION, f"{route.operation} has no sub-resource {name!r}."
                )
        return route.operation, {k: unquote(v) for k, v in found.groupdict().items()}

    @cached_property
    def _subresources(self) -> frozenset[str]:
        """Every literal name that some S3 operation has in its query."""
        return frozenset(
            name for route in self._routes.get("s3", []) for name, _ in route.literal_query
        )

    def _accesses(
        self,
        request: HttpRequest,
        service: str,
        region: str,
        operation: str,
        names: dict[str, str],
        form: dict[str, str],
    ) -> Iterable[Access]:
        resource = "*"
        match service:
            case "s3":
                bucket, key = names.get("Bucket", ""), names.get("Key", "")
                resource = f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else "")
                if operation == "DeleteObjects":
                    resource += "/*"
                source = request.header("x-amz-copy-source")
                if source:
                    path = unquote(source).lstrip("/").partition("?")[0]
                    yield Access("s3:GetObject", f"arn:aws:s3:::{path}")
            case "lambda":
                name = names.get("FunctionName", "") or _json_field(request, "FunctionName")
                if name:
                    name = name.removeprefix(f"arn:aws:lambda:{region}:{self._account}:function:")
                    resource = f"arn:aws:lambda:{region}:{self._account}:function:{name}"
            case "sts" if "RoleArn" in form:
                resource = form["RoleArn"]
            case "iam" if "UserName" in form:
                resource = f"arn:aws:iam::{self._account}:user/{form['UserName']}"
            case "iam" if "RoleName" in form:
                resource = f"arn:aws:iam::{self._account}:role/{form['RoleName']}"
        if service == "sts" and form.get("SourceIdentity"):
            yield Access("sts:SetSourceIdentity", resource)
        for action in _ACTIONS.get((service, operation), (operation,)):
            yield Access(f"{service}:{action}", resource)


def _path_style(request: HttpRequest) -> HttpRequest:
    """``bucket.s3.REGION.amazonaws.com/key`` as ``/bucket/key``."""
    found = re.fullmatch(r"(.+?)\.s3[.-](?:[a-z0-9.-]+\.)?amazonaws\.com", request.host)
    if not found:
        return request
    return HttpRequest(
        request.method, f"/{found[1]}{request.target}", request.headers, request.body
    )


def path_style(request: HttpRequest, service: str) -> HttpRequest:
    """The request as moto must see it: S3's buckets in the path."""
    return _path_style(request) if service == "s3" else request


def _routes(model: ServiceModel) -> list[_Route]:
    return [_route(model.operation_model(name)) for name in model.operation_names]


def _route(operation: OperationModel) -> _Route:
    template, _, query = str(operation.http["requestUri"]).partition("?")
    pieces = re.split(r"(\{[^}]+\})", template.rstrip("/") or "/")
    pattern = "".join(_piece(piece) for piece in pieces)
    literal = {
        (name, value)
        for name, _, value in (part.partition("=") for part in query.split("&") if part)
    }
    needed_query, needed_headers = set(), set()
    shape = operation.input_shape
    for name in shape.required_members if shape else ():
        where = shape.members[name].serialization
        if where.get("location") == "querystring":
            needed_query.add(str(where["name"]))
        elif where.get("location") == "header":
            needed_headers.add(str(where["name"]).lower())
    fixed = sum(len(piece) for piece in pieces if not piece.startswith("{"))
    return _Route(
        operation=operation.name,
        method=str(operation.http["method"]),
        path=re.compile(pattern + "/?" if "+}" not in template else pattern, re.DOTALL),
        literal_query=frozenset(literal),
        needed_query=frozenset(needed_query),
        needed_headers=frozenset(needed_headers),
        weight=1000 * len(literal) + 100 * (len(needed_query) + len(needed_headers)) + fixed,
    )


def _piece(piece: str) -> str:
    if not piece.startswith("{"):
        return re.escape(piece)
    name = re.sub(r"\W", "_", piece.strip("{}+"))
    return f"(?P<{name}>.+)" if piece.endswith("+}") else f"(?P<{name}>[^/]+)"


def _json_field(request: HttpRequest, name: str) -> str:
    """A text field of a JSON body, empty where there is none."""
    try:
        body = json.loads(request.body or b"{}")
    except ValueError:
        return ""
    value = body.get(name, "") if isinstance(body, dict) else ""
    return value if isinstance(value, str) else ""
