"""XML bodies, read back to the members that their elements stand for."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from botocore.model import Shape

from keyless_sidecar.egress.aws.flatten import leaf
from keyless_sidecar.egress.aws.refusal import IdentifyError

__all__ = ["xml_parameters"]

_MAX_DEPTH = 64


def xml_parameters(
    shape: Shape, element: Element, path: str, out: dict[str, str], depth: int = 0
) -> None:
    """Add what an element holds.

    Args:
        shape: the model of the value.
        element: its element.
        path: its place; empty at the top.
        out: receives the leaves.
        depth: how deep it lies.

    Raises:
        IdentifyError: something in it is not in the model.
    """
    if depth > _MAX_DEPTH:
        raise IdentifyError("The parameters are nested too deep.")
    if shape.type_name == "structure":
        _structure(shape, element, path, out, depth)
    elif shape.type_name == "list":
        name = shape.member.serialization.get("name", "member")
        for index, child in enumerate(element):
            if _tag(child.tag) != name:
                raise _unknown(path, child.tag)
            xml_parameters(shape.member, child, f"{path}.{index}", out, depth + 1)
    elif shape.type_name == "map":
        for index, child in enumerate(element):
            _entry(shape, child, f"{path}.{index}", out, depth)
    elif len(element):
        raise _unknown(path, element[0].tag)
    else:
        out[path] = leaf(shape, element.text or "")


def _structure(shape: Shape, element: Element, path: str, out: dict[str, str], depth: int) -> None:
    members: dict[str, str] = {}
    attributes: dict[str, str] = {}
    for name, member in shape.members.items():
        said = member.serialization
        if said.get("location"):
            continue
        if said.get("xmlAttribute"):
            attributes[said.get("name", name).rpartition(":")[2]] = name
            continue
        element_name = said.get("name", name)
        # An older shape of S3 has a list and a single value by one name; the list takes both.
        if not (
            element_name in members and shape.members[members[element_name]].type_name == "list"
        ):
            members[element_name] = name
    for key, value in element.attrib.items():
        if _tag(key) not in attributes:
            raise _unknown(path, key)
        out[_joined(path, attributes[_tag(key)])] = value
    counts: dict[str, int] = {}
    for child in element:
        name = members.get(_tag(child.tag), "")
        if not name:
            raise _unknown(path, child.tag)
        member = shape.members[name]
        index = counts.get(name, 0)
        counts[name] = index + 1
        place = _joined(path, name)
        if member.serialization.get("flattened") and member.type_name == "list":
            xml_parameters(member.member, child, f"{place}.{index}", out, depth + 1)
        elif member.serialization.get("flattened") and member.type_name == "map":
            _entry(member, child, f"{place}.{index}", out, depth)
        elif index:
            raise IdentifyError(f"The parameter {place} is given twice; give it once.")
        else:
            xml_parameters(member, child, place, out, depth + 1)


def _entry(shape: Shape, element: Element, path: str, out: dict[str, str], depth: int) -> None:
    names = {
        shape.key.serialization.get("name", "key"): ("key", shape.key),
        shape.value.serialization.get("name", "value"): ("value", shape.value),
    }
    for child in element:
        if _tag(child.tag) not in names:
            raise _unknown(path, child.tag)
        suffix, inner = names[_tag(child.tag)]
        xml_parameters(inner, child, f"{path}.{suffix}", out, depth + 1)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _tag(text: str) -> str:
    return text.rpartition("}")[2]


def _unknown(path: str, tag: str) -> IdentifyError:
    shown = "".join(c if c.isprintable() else "?" for c in _joined(path, _tag(tag))[:80])
    return IdentifyError(f"The element {shown} is not in the service's model; leave it out.")
