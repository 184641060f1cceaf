"""The parameters of an AWS operation as rules see them: the same from a command as from a call.

Only texts, numbers and flags at the top level count, and lists of them (joined by commas).  What
has more structure, is content, is marked sensitive in the model, or is read from a file by the tool
counts as *given but not known*.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore import xform_name
from botocore.model import OperationModel, Shape
from botocore.utils import percent_encode

from keyless_sidecar.policy.aws_resources import bare_name
from keyless_sidecar.tools.aws_line import Given

__all__ = ["NotInModel", "Parameters", "by_name", "from_call", "from_options"]

#: Longest value that rules see.
_LONGEST = 2048
_MOST = 256
_NUMBERS = frozenset({"integer", "long", "float", "double"})
#: Options that say how the CLI pages or prints, where the operation has no such member.
_PAGING = frozenset({"starting-token", "page-size", "max-items", "generate-cli-skeleton"})
#: Options that the CLI adds in place of a member: (operation, option) → member.
_IN_PLACE_OF: Mapping[tuple[str, str], str] = {
    ("CreateFunction", "zip-file"): "Code",
    ("PublishLayerVersion", "zip-file"): "Content",
}


class NotInModel(Exception):
    """AWS has no such operation or parameter; the message is one sentence."""


@dataclass
class Parameters:
    """What is known of an operation's parameters.

    Attributes:
        values: flat, by the member's name.
        unknown: members that are given and not known; ``*``: any that isn't in ``values``.
    """

    values: dict[str, str] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    def put(self, name: str, value: str | None) -> None:
        """Note a member; None where its value isn't known."""
        if value is None or len(value) > _LONGEST:
            self.values.pop(name, None)
            self.unknown.add(name)
        else:
            self.unknown.discard(name)
            self.values[name] = value


def from_call(model: OperationModel, parameters: Mapping[str, Any]) -> Parameters:
    """Parameters as boto3 takes them, or as they were parsed from a request.

    Raises:
        NotInModel: one isn't in the model.
    """
    members = _members(model)
    found = Parameters()
    for name, value in parameters.items():
        if name not in members:
            near = difflib.get_close_matches(name[:80], list(members), 1, 0.6)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            full = f"{model.service_model.service_name}:{model.name}"
            raise NotInModel(f"{full} has no parameter {name[:80]!r}{hint}")
        if name == "CopySource" and isinstance(value, Mapping):
            value = _copy_source(value)
        if value is not None:
            found.put(name, _text(members[name], value))
    return found


def from_options(model: OperationModel, options: Sequence[Given]) -> Parameters:
    """Parameters as the options of a command line, checked by the rules of the AWS CLI."""
    members = _members(model)
    by_option = {xform_name(name, "-"): name for name in members}
    found = Parameters()
    # The CLI takes its JSON first, and lets options replace what stands in it.
    for option in sorted(options, key=lambda given: given.name != "cli-input-json"):
        if option.name == "cli-input-json":
            _from_json(found, members, option.values[0])
        elif option.name in by_option:
            name = by_option[option.name]
            found.put(name, _option_text(members[name], option.values))
        elif option.name.removeprefix("no-") in by_option:
            found.put(by_option[option.name.removeprefix("no-")], "false")
        elif (model.name, option.name) in _IN_PLACE_OF:
            found.put(_IN_PLACE_OF[model.name, option.name], None)
        elif option.name not in _PAGING:
            found.unknown.add("*")
    return found


def _members(model: OperationModel) -> Mapping[str, Shape]:
    members: Mapping[str, Shape] = model.input_shape.members if model.input_shape else {}
    return members


def by_name(model: OperationModel, given: Parameters) -> Parameters:
    """The same with names instead of ARNs, so that a rule about a name doesn't miss its ARN."""
    service = model.service_model.service_name
    found = Parameters(unknown=set(given.unknown))
    for name, value in given.values.items():
        bare, qualifier = bare_name(service, name, value)
        found.put(name, bare)
        if qualifier and "Qualifier" in _members(model) and "Qualifier" not in given.values:
            found.put("Qualifier", qualifier)
    return found


def _copy_source(value: Mapping[str, Any]) -> str:
    """boto3 also takes S3's source in parts, and sends it quoted."""
    whole = percent_encode(f"{value.get('Bucket', '')}/{value.get('Key', '')}", safe="/-._~")
    return f"{whole}?versionId={value['VersionId']}" if value.get("VersionId") else whole


def _text(shape: Shape, value: Any) -> str | None:
    """A value as text; None where it has no plain one."""
    if shape.metadata.get("sensitive"):
        return None
    if shape.type_name == "list":
        return _list_text(shape, value)
    return _scalar_text(shape, value)


def _list_text(shape: Shape, value: Any) -> str | None:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) > _MOST:
        return None
    texts = [_text(shape.member, item) for item in value if shape.member.type_name != "list"]
    if len(texts) != len(value) or None in texts:
        return None
    return ",".join(text for text in texts if text is not None)


def _scalar_text(shape: Shape, value: Any) -> str | None:
    kind = shape.type_name
    if kind == "string" and isinstance(value, str):
        return value
    if kind == "boolean":
        if isinstance(value, bool):
            return str(value).lower()
        return value.lower() if str(value).lower() in ("true", "false") else None
    if kind in _NUMBERS and not isinstance(value, bool) and isinstance(value, (int, float, str)):
        try:
            number = float(value)
            return str(int(value)) if number.is_integer() else repr(number)
        except (ValueError, OverflowError):
            return None
    return None  # timestamps have many forms; blobs, maps and structures have no plain one


def _option_text(shape: Shape, values: tuple[str, ...]) -> str | None:
    if any(value.startswith(("file://", "fileb://")) for value in values):
        return None
    if shape.type_name == "boolean":
        return "true" if not values else _text(shape, values[0])
    if shape.type_name != "list":
        return _text(shape, values[0]) if values else None
    if len(values) == 1 and values[0].lstrip().startswith("["):
        return _text(shape, _parsed(values[0]))
    return _text(shape, list(values))


def _from_json(found: Parameters, members: Mapping[str, Shape], text: str) -> None:
    given = _parsed(text)
    if not isinstance(given, dict) or text.startswith(("file://", "fileb://")):
        found.unknown.add("*")
        return
    for name, value in given.items():
        if name in members and value is not None:
            found.put(name, _text(members[name], value))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
