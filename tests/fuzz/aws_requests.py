"""Random AWS requests, signed by botocore as a tool would sign them.

For each service of botocore's model and random parameters made from the shapes.  The same call is
made twice, with the placeholder and with the real keys, at the same moment; nothing is sent.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import botocore.auth
import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.client import BaseClient
from botocore.config import Config
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from tests.fuzz.aws_parameters import parameters
from urllib3.util import url as urllib3_url

from keyless_sidecar.egress.aws.parts import Parts

__all__ = ["KEYS", "NOW", "Keys", "Pair", "Sender", "forget", "frozen"]

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
_UUID = uuid.UUID("12345678-1234-4234-8234-123456789abc")
_REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-2", "us-west-2", "cn-north-1", "us-gov-west-1")
_SOURCES = {"cn-north-1": "cn-northwest-1", "us-gov-west-1": "us-gov-east-1"}
#: Shared by all clients, as the sessions are: reading AWS's endpoints took most of the time.
_LOADER = Loader()
_TOKEN = "IQoJb3JpZ2luX2VjE/+//" + "A1b2+/=" * 20


@dataclass(frozen=True)
class Keys:
    """Keys as the sidecar has them."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""


#: Placeholder and real keys, with and without session tokens.
KEYS: Sequence[tuple[Keys, Keys]] = tuple(
    (
        Keys("AKIAKEYLESSAAAAAAAAA", "keyless0" + "p" * 32, theirs),
        Keys("AKIAREALREALREALREAL", "r/+" * 13 + "r", ours),
    )
    for theirs, ours in (
        ("", ""),
        ("keylessplaceholder/" + "p" * 60, _TOKEN),
        ("keylessplaceholder/" + "q" * 60, ""),
        ("", _TOKEN),
    )
)


@dataclass(frozen=True)
class Pair:
    """The same call, signed with the placeholder and with the real keys."""

    service: str
    operation: str
    presigned: bool
    placeholder: Parts
    real: Parts
    body: bytes
    real_body: bytes


class _Raw(io.BytesIO):
    """A body as botocore reads it."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


class _Captured(Exception):
    """Ends a call before it is sent."""


@contextlib.contextmanager
def frozen() -> Iterator[None]:
    """One moment, and one identifier, for all calls."""
    with (
        mock.patch.object(botocore.auth, "get_current_datetime", return_value=NOW),
        mock.patch("uuid.uuid4", return_value=_UUID),
    ):
        yield


@functools.cache
def _session(express: bool) -> botocore.session.Session:
    session = botocore.session.Session()
    session.register_component("data_loader", _LOADER)
    if express:
        session.set_config_variable("s3_disable_express_session_auth", True)
    return session


def forget(service: str) -> None:
    """Let a service's model go: all at once would be gigabytes."""
    for key in [key for key in _LOADER._cache if any(service in str(part) for part in key)]:
        del _LOADER._cache[key]


class Sender:
    """Makes calls to one service with one configuration.

    Args:
        service: the model's name.
        rng: decides the configuration and the parameters.
    """

    def __init__(self, service: str, rng: random.Random) -> None:
        self._rng = rng
        self.service = service
        self.keys = rng.choice(KEYS)
        self._region = rng.choice(_REGIONS if rng.random() < 0.3 else _REGIONS[:4])
        self._express = service == "s3" and rng.random() < 0.15
        self._clients = [self._client(keys) for keys in self.keys]
        self.model: ServiceModel = self._clients[0].meta.service_model
        self._signed: list[Any] = []
        self._called = ""
        for client in self._clients:
            client.meta.events.register("before-send", self._capture)
            client.meta.events.register("before-sign", self._sign)

    def operations(self) -> list[OperationModel]:
        """The operations that botocore can call over HTTP/1.1."""
        return [
            model
            for model in map(self.model.operation_model, self.model.operation_names)
            if not model.has_event_stream_input
        ]

    def pair(self, model: OperationModel, presigned: bool) -> Pair:
        """One call, signed twice.

        Raises:
            Exception: botocore itself refuses the parameters or the configuration.
        """
        arguments = parameters(model, self._rng, self._express)
        if "SourceRegion" in arguments:  # botocore presigns a URL for it
            arguments["SourceRegion"] = _SOURCES.get(self._region, "eu-west-2")
        made = [self._make(client, model, arguments, presigned) for client in self._clients]
        (placeholder, body), (real, real_body) = made
        return Pair(self.service, model.name, presigned, placeholder, real, body, real_body)

    # ------------------------------------------------------------------ inside

    def _client(self, keys: Keys) -> BaseClient:
        state = random.Random(f"{self.service}{self._region}{self.keys}")
        config: dict[str, Any] = {
            "retries": {"total_max_attempts": 1},
            "use_fips_endpoint": state.random() < 0.1,
            "use_dualstack_endpoint": state.random() < 0.1,
            "request_checksum_calculation": state.choice(["when_supported", "when_required"]),
        }
        if self.service in ("s3", "s3control"):
            if not self._express:
                config["signature_version"] = "s3v4"
            config["s3"] = {
                "addressing_style": state.choice(["path", "virtual", "auto"]),
                **({"payload_signing_enabled": True} if state.random() < 0.3 else {}),
            }
        return _session(self._express).create_client(
            self.service,
            self._region,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            aws_session_token=keys.session_token or None,
            config=Config(**config),
        )

    def _make(
        self,
        client: BaseClient,
        model: OperationModel,
        arguments: Mapping[str, Any],
        presigned: bool,
    ) -> tuple[Parts, bytes]:
        method = next(
            name for name, api in client.meta.method_to_api_mapping.items() if api == model.name
        )
        self._signed.clear()
        if presigned:
            query = model.service_model.resolved_protocol in ("query", "ec2")
            client.generate_presigned_url(method, dict(arguments), 600, "GET" if query else None)
            request = self._signed[-1]
            return _parts(request.method, request.url, dict(request.headers.items())), b""
        try:
            self._called = model.name
            getattr(client, method)(**arguments)
        except _Captured as caught:
            request = caught.args[0]
        body = request.body or b""
        if hasattr(body, "read"):
            body = body.read()
        headers = {
            name: value.decode("latin-1") if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
        }
        content = body.encode() if isinstance(body, str) else bytes(body)
        return _parts(request.method, request.url, headers), content

    def _capture(self, request: Any, event_name: str, **_: Any) -> Any:
        if self._called != "DescribeEndpoints" and event_name.endswith(".DescribeEndpoints"):
            return self._discovered(request)
        raise _Captured(request)

    def _discovered(self, request: Any) -> Any:
        """The answer to botocore's own question for the endpoint of Timestream."""
        name = urlsplit(request.url).netloc.replace(".timestream", "-cell1.timestream", 1)
        answer = {"Endpoints": [{"Address": name, "CachePeriodInMinutes": 1440}]}
        return AWSResponse(request.url, 200, {}, _Raw(json.dumps(answer).encode()))

    def _sign(self, request: Any, **_: Any) -> None:
        self._signed.append(request)


def _parts(method: str, url: str, headers: Mapping[str, str]) -> Parts:
    """The request as it is on the wire, as the engine hands it on."""
    split = urlsplit(url)
    target = (split.path or "/") + (f"?{split.query}" if split.query else "")
    kept = {
        name: value
        for name, value in headers.items()
        if name.lower() not in ("content-length", "transfer-encoding", "expect")
    }
    length = headers.get("Content-Length")
    return Parts(
        method=method,
        host=split.netloc,
        target=urllib3_url._encode_target(target),
        headers=tuple(kept.items()),
        length=int(length) if length is not None else None,
    )
