"""Acts out of what a person types at ``jupyter keyless policy explain``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keyless_sidecar.policy.acts import KERNEL, Act
from keyless_sidecar.policy.acts_from import act_for_http, acts_for_call, operation_model
from keyless_sidecar.policy.acts_from_command import acts_for_command
from keyless_sidecar.policy.aws_resources import members_naming
from keyless_sidecar.tools import Tool, check
from keyless_sidecar.workspace import WorkspaceRoot

__all__ = ["acts_of_action", "acts_of_command"]

#: Kinds of actions that are requests.
_AT_THE_PROXY = ("aws", "http", "postgres")


def acts_of_command(
    tool: Tool, argv: Sequence[str], folder: Path, facts: Mapping[str, Any]
) -> tuple[Act, ...]:
    """The acts of a command line, its files looked up in a folder.

    Raises:
        Refused: the rules of the tool refuse the command before any policy is asked.
        NotInModel: AWS has no such operation.
    """
    with WorkspaceRoot(folder) as root:
        return acts_for_command(check(tool, argv, root, ""), tool, **facts)


def acts_of_action(
    action: str, parameters: Mapping[str, str], facts: Mapping[str, Any]
) -> tuple[Act, ...]:
    """The acts of an action by its name; parameters that aren't named count as not given.

    They are those of a request at the proxy, unless ``delivery`` says otherwise.

    Args:
        action: such as ``aws:s3:PutObject`` or ``http:GET``.
        parameters: of an AWS operation.
        facts: ``resource``, ``host``, ``path``, ``tool``, ``credential``, ``region`` …

    Raises:
        NotInModel: AWS has no such operation or parameter.
    """
    given = dict(facts)
    tool = str(given.pop("tool", KERNEL))
    kind, _, rest = action.partition(":")
    if kind in _AT_THE_PROXY:
        given.setdefault("delivery", "proxy")
    if kind == "http":
        host, path = str(given.pop("host", "")), str(given.pop("path", "/"))
        return (act_for_http(rest, host, path, tool=tool, **given),)
    service, _, operation = rest.partition(":")
    if kind != "aws" or not operation:
        credential = str(given.pop("credential", ""))
        return (Act(action, tool, credential, None, given),)
    resource = given.pop("resource", None)
    model = operation_model(service, operation)
    members = frozenset(model.input_shape.members if model.input_shape else ())
    implied = members_naming(service, str(resource), members) if resource else {}
    acts = acts_for_call(service, operation, {**implied, **parameters}, tool=tool, **given)
    if resource is None:
        return acts
    first = acts[0]
    attributes = {**first.attributes, "resource": resource}
    return (Act(first.action, tool, first.credential, first.mutating, attributes), *acts[1:])
