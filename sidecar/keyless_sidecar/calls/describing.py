"""Names and documentation out of the service models, for completion and help.  Called in a thread.

All of it is public text that botocore brings along; nothing of the vault or the policy is in it.
"""

from __future__ import annotations

import html
import re

from botocore.model import OperationModel, Shape

from keyless.protocol.calls import Describe, Description, Parameter
from keyless_sidecar.calls.naming import (
    find_operation,
    find_service,
    operations,
    paginates,
    services,
    waiters,
)
from keyless_sidecar.policy.aws_parameters import NotInModel

__all__ = ["describe"]

_TAG = re.compile(r"<[^>]*>")
_BREAK = re.compile(r"</?(p|ul|ol|li|note|important|h\d|dt|dd|br)\b[^>]*>", re.IGNORECASE)
_SPACES = re.compile(r"[ \t\r\f\v]+")
_LINES = re.compile(r"\s*\n\s*")
#: Characters of one documentation text.
_LONG, _SHORT = 4000, 400


def describe(question: Describe) -> Description:
    """The answer; an empty one where there is no such service or operation."""
    try:
        if not question.service:
            return Description(id=question.id, names=services())
        if not question.operation:
            return _service(question.id, question.service)
        return _operation(question.id, find_operation(question.service, question.operation))
    except NotInModel:
        return Description(id=question.id)


def _service(number: int, word: str) -> Description:
    service = find_service(word)
    return Description(
        id=number,
        names=sorted(operations(service.service_name)),
        waiters=sorted(waiters(service.service_name)),
        service=service.service_name,
        text=_plain(service.documentation, _LONG),
    )


def _operation(number: int, model: OperationModel) -> Description:
    service = model.service_model.service_name
    shape, output = model.input_shape, model.output_shape
    required = set(shape.required_members) if shape is not None else set()
    members = shape.members if shape is not None else {}
    answer = output.members if output is not None else {}
    return Description(
        id=number,
        waiters=sorted(waiters(service)),
        service=service,
        operation=model.name,
        text=_plain(model.documentation, _LONG),
        parameters=[
            Parameter(
                name=name,
                kind=_kind(member),
                required=name in required,
                text=_plain(member.documentation, _SHORT),
            )
            for name, member in sorted(
                members.items(), key=lambda item: (item[0] not in required, item[0])
            )
        ],
        content=[name for name, member in answer.items() if member.type_name == "blob"],
        paginates=paginates(model),
    )


def _kind(shape: Shape) -> str:
    """What a parameter is, in the words of Python."""
    name: str = shape.type_name
    if name == "list":
        return f"list of {_kind(shape.member)}"
    if name == "structure":
        members = ", ".join(list(shape.members)[:8])
        return f"dict ({members}{', …' if len(shape.members) > 8 else ''})"
    words = {
        "string": "str",
        "integer": "int",
        "long": "int",
        "boolean": "bool",
        "double": "float",
        "map": "dict",
        "blob": "bytes",
        "timestamp": "datetime",
    }
    choices: list[str] = list(getattr(shape, "enum", []))
    if name == "string" and choices:
        return "str: " + " | ".join(choices[:12]) + (" | …" if len(choices) > 12 else "")
    return words.get(name, name)


def _plain(text: str, most: int) -> str:
    """Documentation without its HTML, cut at a word."""
    broken = _TAG.sub("", _BREAK.sub("\n", text or ""))
    clean = _LINES.sub("\n", _SPACES.sub(" ", html.unescape(broken))).strip()
    if len(clean) <= most:
        return clean
    return clean[:most].rpartition(" ")[0] + " …"
