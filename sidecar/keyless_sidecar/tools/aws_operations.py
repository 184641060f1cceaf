"""AWS operations as the service models know them: names, options, what they change.

Reads model files only: no profile, no environment, no network.  ``aws_rules`` asks it for the
operation that a command line names.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from botocore import xform_name
from botocore.model import OperationModel, ServiceModel, Shape

from keyless_sidecar.egress.aws.catalog import catalog
from keyless_sidecar.tools.aws_names import EXTRA_OPTIONS, NOT_COMMANDS, SERVICES

__all__ = ["Models", "Operation", "OptionSpec", "is_mutating", "models"]

_Takes = Literal["value", "list", "flag", "maybe"]
_TAKES: Mapping[str, _Takes] = {"": "value", "list": "list", "flag": "flag"}
#: Of the options that the CLI adds, those that are read as shorthand.
_SHORTHAND_EXTRAS = frozenset({"stream-processor-output"})
_READS = ("Get", "List", "Describe", "Head", "BatchGet")


@dataclass(frozen=True)
class OptionSpec:
    """What follows an option.

    Attributes:
        takes: one value, any number of them, none, or one that may be missing.
        complex: the CLI also reads its shorthand (``Key=value``) here, file references within.
        path: the value is itself the path of a file that is uploaded.
    """

    takes: _Takes = "value"
    complex: bool = False
    path: bool = False


@dataclass(frozen=True)
class Operation:
    """An operation that a command line names.

    Attributes:
        service: name of the service model (``s3`` for ``s3api``).
        name: as the API calls it, ``UpdateFunctionCode``.
        options: by name, without dashes; exact names only.
        outfile: one further word names the file for the answer's content.
        model: botocore's model of it.
        waits: it is polled until a state is reached, and nothing is printed.
    """

    service: str
    name: str
    options: Mapping[str, OptionSpec]
    outfile: bool
    model: OperationModel
    waits: bool = False


class Models:
    """The service models in a folder.

    Args:
        data_path: the folder; empty for that of the installed botocore.
    """

    def __init__(self, data_path: str = "") -> None:
        # Neither ~/.aws/models nor AWS_DATA_PATH count.
        self._catalog = catalog(data_path)
        self._available = frozenset(self._catalog.heads)

    def commands(self) -> frozenset[str]:
        """The CLI commands that are services."""
        return (self._available - NOT_COMMANDS) | frozenset(SERVICES)

    def operation(self, command: str, name: str) -> Operation | None:
        """The operation that ``aws <command> <name>`` calls; None where there is none."""
        service = self._service(command)
        if service is None:
            return None
        api = self._api_names(service).get(name)
        if api is None:
            return None
        return self._describe(command, name, service, service.operation_model(api))

    def waiter(self, command: str, name: str) -> Operation | None:
        """The operation that ``aws <command> wait <name>`` polls; None where there is none."""
        service = self._service(command)
        if service is None:
            return None
        for waiter, config in self._extra(service, "waiters-2", "waiters").items():
            if xform_name(waiter, "-") == name:
                api = config["operation"]
                found = self._describe(
                    command, xform_name(api, "-"), service, service.operation_model(api)
                )
                return Operation(found.service, api, found.options, False, found.model, waits=True)
        return None

    def similar(self, command: str, name: str = "") -> str:
        """The nearest command, or the nearest operation of one; empty where none is near."""
        service = self._service(command) if name else None
        known: Iterable[str] = self.commands() | {"s3"}
        if service is not None:
            known = self._api_names(service)
        found = difflib.get_close_matches((name or command)[:64], list(known), 1, 0.6)
        return found[0] if found else ""

    def has_service(self, command: str) -> bool:
        """Whether ``aws <command>`` is a service."""
        return self._service(command) is not None

    # ------------------------------------------------------------------ inside

    def _service(self, command: str) -> ServiceModel | None:
        if command not in self.commands():
            return None
        name = SERVICES.get(command, command)
        return self._catalog.model(name) if name in self._available else None

    def _api_names(self, service: ServiceModel) -> dict[str, str]:
        return {xform_name(api, "-"): api for api in service.operation_names}

    def _extra(self, service: ServiceModel, kind: str, key: str) -> Mapping[str, Any]:
        content: Mapping[str, Any] = self._catalog.beside(service.service_name, kind).get(key, {})
        return content

    def _describe(
        self, command: str, name: str, service: ServiceModel, model: OperationModel
    ) -> Operation:
        options: dict[str, OptionSpec] = {}
        members: Mapping[str, Shape] = model.input_shape.members if model.input_shape else {}
        for member, shape in members.items():
            options.update(_options(xform_name(member, "-"), shape))
        for extra in EXTRA_OPTIONS.get(f"{command} {name}", "").split():
            option, _, takes = extra.partition(":")
            shorthand = option in _SHORTHAND_EXTRAS
            options[option] = OptionSpec(_TAKES[takes], shorthand)
        if model.name in self._extra(service, "paginators-1", "pagination"):
            for option in ("starting-token", "page-size", "max-items"):
                options.setdefault(option, OptionSpec())
        outfile = model.has_streaming_output or model.has_event_stream_output
        if not outfile:
            options["cli-input-json"] = OptionSpec(complex=True)
        options["generate-cli-skeleton"] = OptionSpec("maybe")
        return Operation(service.service_name, model.name, options, outfile, model)


@functools.cache
def models(data_path: str = "") -> Models:
    """The models in a folder, loaded once."""
    return Models(data_path)


def is_mutating(model: OperationModel) -> bool:
    """Whether an operation changes something, by the HTTP method and the name in its model."""
    return model.http.get("method") not in ("GET", "HEAD") and not model.name.startswith(_READS)


def _options(name: str, shape: Shape) -> dict[str, OptionSpec]:
    """The options that the CLI makes of an input member."""
    if shape.type_name == "boolean":
        return {name: OptionSpec("flag"), f"no-{name}": OptionSpec("flag")}
    if shape.type_name == "list":
        return {name: OptionSpec("list", complex=True)}
    if shape.type_name == "structure" and _is_boolean_value(shape):
        return {name: OptionSpec("maybe", complex=True), f"no-{name}": OptionSpec("flag")}
    if shape.type_name in ("structure", "map"):
        return {name: OptionSpec(complex=True)}
    streaming = bool(shape.serialization.get("streaming"))
    return {name: OptionSpec(path=shape.type_name == "blob" and streaming)}


def _is_boolean_value(shape: Shape) -> bool:
    """EC2's ``{"Value": true}``, which the CLI turns into a flag."""
    members = shape.members
    return list(members) == ["Value"] and members["Value"].type_name == "boolean"
