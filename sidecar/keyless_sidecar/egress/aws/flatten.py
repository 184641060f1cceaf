"""Parameters as one flat table of text, the same whatever protocol they came by.

``{"Filters": [{"Name": "x"}]}`` becomes ``{"Filters.0.Name": "x"}``, with the names of botocore's
model.  What the model doesn't know is refused.  Bytes are shown as ``[bytes]`` and what the model
calls sensitive as ``[sensitive]``: neither decides anything, and both could be secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.model import OperationModel, Shape

from keyless_sidecar.egress.aws.refusal import IdentifyError

__all__ = ["flat_parameters", "flatten", "leaf", "wire_name"]

_MAX_DEPTH = 64


def flat_parameters(model: OperationModel, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as boto3 takes them, for a call that the sidecar makes itself.

    Raises:
        IdentifyError: one is not in the model.
    """
    out: dict[str, str] = {}
    if model.input_shape is not None:
        flatten(model.input_shape, parameters, "", out, wire=False)
    elif parameters:
        raise IdentifyError(f"{model.name} takes no parameters; leave them out.")
    return out


def flatten(
    shape: Shape, value: Any, path: str, out: dict[str, str], *, wire: bool = True, depth: int = 0
) -> None:
    """Add a value and everything in it.

    Args:
        shape: the model of the value.
        value: as JSON or CBOR gave it.
        path: its place; empty at the top.
        out: receives the leaves.
        wire: members have the names that they have on the wire, not those of the model.
        depth: how deep the value lies.

    Raises:
        IdentifyError: something in it is not in the model.
    """
    if value is None:
        return
    if depth > _MAX_DEPTH:
        raise IdentifyError("The parameters are nested too deep.")
    if _is_document(shape):
        _free(value, path, out, depth)
    elif shape.type_name == "structure":
        _structure(shape, value, path, out, wire, depth)
    elif shape.type_name == "list":
        if not isinstance(value, (list, tuple)):
            raise _mismatch(path, "a list")
        for index, item in enumerate(value):
            flatten(shape.member, item, f"{path}.{index}", out, wire=wire, depth=depth + 1)
    elif shape.type_name == "map":
        if not isinstance(value, Mapping):
            raise _mismatch(path, "a map")
        for key, item in value.items():
            flatten(shape.value, item, f"{path}.{key}", out, wire=wire, depth=depth + 1)
    elif isinstance(value, (Mapping, list, tuple)):
        raise _mismatch(path, "a single value")
    else:
        out[path] = leaf(shape, value)


def leaf(shape: Shape, value: Any) -> str:
    """A single value as text."""
    if shape.metadata.get("sensitive"):
        return "[sensitive]"
    if shape.type_name == "blob" or isinstance(value, (bytes, bytearray)):
        return "[bytes]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def wire_name(shape: Shape, member: str) -> str:
    """The name of a structure's member on the wire."""
    name: str = shape.members[member].serialization.get("name", member)
    return name


def _structure(
    shape: Shape, value: Any, path: str, out: dict[str, str], wire: bool, depth: int
) -> None:
    if not isinstance(value, Mapping):
        raise _mismatch(path, "a structure")
    members = {(wire_name(shape, name) if wire else name): name for name in shape.members}
    for key, item in value.items():
        name = members.get(key)
        if name is None:
            if key == "__type":  # JSON clients may say which shape they mean
                continue
            raise IdentifyError(
                f"The parameter {_shown(f'{path}.{key}' if path else str(key))} is not in the "
                "service's model; leave it out."
            )
        place = f"{path}.{name}" if path else name
        flatten(shape.members[name], item, place, out, wire=wire, depth=depth + 1)


def _free(value: Any, path: str, out: dict[str, str], depth: int) -> None:
    """A document: anything may be in it."""
    if depth > _MAX_DEPTH:
        raise IdentifyError("The parameters are nested too deep.")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _free(item, f"{path}.{key}", out, depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _free(item, f"{path}.{index}", out, depth + 1)
    elif isinstance(value, (bytes, bytearray)):
        out[path] = "[bytes]"
    else:
        out[path] = str(value).lower() if isinstance(value, bool) else str(value)


def _is_document(shape: Shape) -> bool:
    return bool(getattr(shape, "is_document_type", False))


def _mismatch(path: str, wanted: str) -> IdentifyError:
    return IdentifyError(f"The parameter {_shown(path)} must be {wanted}.")


def _shown(text: str) -> str:
    """A name that came from outside, safe in a sentence."""
    return "".join(c if c.isprintable() else "?" for c in text[:80])
