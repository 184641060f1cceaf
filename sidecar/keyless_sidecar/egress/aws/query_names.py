"""The dotted names of the query protocols, read back to the members that they stand for.

``Filter.1.Value.2`` of EC2 is ``Filters.0.Values.1`` of the model; a name that no member could have
is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from botocore.model import OperationModel, Shape

from keyless_sidecar.egress.aws.flatten import leaf
from keyless_sidecar.egress.aws.refusal import IdentifyError

__all__ = ["query_parameters"]

_NUMBER = re.compile(r"[1-9]\d{0,6}", re.ASCII)
#: SQS spoke the query protocol once and older clients still do; its model no longer has the names.
_SQS_NAMES: Mapping[str, str] = {
    "AWSAccountId": "AWSAccountIds",
    "ActionName": "Actions",
    "Attribute": "Attributes",
    "AttributeName": "AttributeNames",
    "ChangeMessageVisibilityBatchRequestEntry": "Entries",
    "DeleteMessageBatchRequestEntry": "Entries",
    "MessageAttribute": "MessageAttributes",
    "MessageAttributeName": "MessageAttributeNames",
    "MessageSystemAttribute": "MessageSystemAttributes",
    "MessageSystemAttributeName": "MessageSystemAttributeNames",
    "SendMessageBatchRequestEntry": "Entries",
    "Tag": "Tags",
    "TagKey": "TagKeys",
}


def query_parameters(
    model: OperationModel, names: Mapping[str, str], *, ec2: bool, older: bool = False
) -> dict[str, str]:
    """Flat parameters by the model's names.

    Args:
        model: the operation.
        names: the form without ``Action`` and ``Version``.
        ec2: names are made as in EC2's protocol.
        older: the service's model is for another protocol; only a name's first part is checked.

    Raises:
        IdentifyError: a name is not in the model.
    """
    out: dict[str, str] = {}
    for name, value in names.items():
        found: tuple[str, Shape] | None = None
        if model.input_shape is not None:
            if older:
                found = _by_first(model.input_shape, name)
            else:
                found = _member(model.input_shape, name.split("."), "", ec2)
        if found is None and name == "DestinationRegion" and _copies(model):
            found = (name, _PLAIN)
        if found is None:
            shown = "".join(c if c.isprintable() else "?" for c in name[:80])
            raise IdentifyError(
                f"The parameter {shown} of {model.name} is not in the service's model; leave it "
                "out."
            )
        path, shape = found
        if path in out:
            raise IdentifyError(f"The parameter {path} is given in two ways; give it once.")
        out[path] = leaf(shape, value)
    return out


def _copies(model: OperationModel) -> bool:
    """Whether it copies between regions: RDS's presigned URL for it says where to."""
    return model.input_shape is not None and "PreSignedUrl" in model.input_shape.members


def _find(shape: Shape, parts: Sequence[str], path: str, ec2: bool) -> tuple[str, Shape] | None:
    """Where the rest of a name leads in a shape; None where it leads nowhere."""
    if shape.type_name == "structure":
        return _member(shape, parts, path, ec2)
    if shape.type_name == "list":
        return _list(shape, parts, path, ec2)
    if shape.type_name == "map":
        return _map(shape, parts, path, ec2)
    return None if parts else (path, shape)


def _member(shape: Shape, parts: Sequence[str], path: str, ec2: bool) -> tuple[str, Shape] | None:
    if not parts:
        return None
    for name, member in shape.members.items():
        if parts[0] == _name(member, name, ec2):
            found = _find(member, parts[1:], f"{path}.{name}" if path else name, ec2)
            if found is not None:
                return found
    return None


def _list(shape: Shape, parts: Sequence[str], path: str, ec2: bool) -> tuple[str, Shape] | None:
    if not parts:  # an empty list
        return path, shape
    if not ec2 and not shape.serialization.get("flattened"):
        if parts[0] != shape.member.serialization.get("name", "member"):
            return None
        parts = parts[1:]
    if not parts or not _NUMBER.fullmatch(parts[0]):
        return None
    return _find(shape.member, parts[1:], f"{path}.{int(parts[0]) - 1}", ec2)


def _map(shape: Shape, parts: Sequence[str], path: str, ec2: bool) -> tuple[str, Shape] | None:
    if not parts:
        return path, shape
    if not shape.serialization.get("flattened"):
        if parts[0] != "entry":
            return None
        parts = parts[1:]
    if len(parts) < 2 or not _NUMBER.fullmatch(parts[0]):
        return None
    place = f"{path}.{int(parts[0]) - 1}"
    if parts[1] == shape.key.serialization.get("name", "key"):
        return _find(shape.key, parts[2:], f"{place}.key", ec2)
    if parts[1] == shape.value.serialization.get("name", "value"):
        return _find(shape.value, parts[2:], f"{place}.value", ec2)
    return None


def _name(member: Shape, name: str, ec2: bool) -> str:
    """The name of a member in a form."""
    said = member.serialization
    if ec2:
        if "queryName" in said:
            return str(said["queryName"])
        if "name" in said:
            return str(said["name"][0].upper() + said["name"][1:])
        return name
    if member.type_name == "list" and said.get("flattened"):
        inner = member.member.serialization.get("name")
        if inner:
            return str(inner)
    return str(said.get("name", name))


def _by_first(shape: Shape, name: str) -> tuple[str, Shape] | None:
    first, dot, rest = name.partition(".")
    first = _SQS_NAMES.get(first, first)
    if first not in shape.members:
        return None
    return f"{first}{dot}{rest}", shape.members[first] if not dot else _PLAIN


_PLAIN = Shape("Text", {"type": "string"})
