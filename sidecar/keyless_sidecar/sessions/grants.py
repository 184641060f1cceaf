"""What a session may do: from operations, from commands or from a given policy, to acts and JSON.

Pure.  Everything becomes pairs of one IAM action and one resource.  They say what the session's
policy holds, and (by `acts_of`) what the Cedar policy is asked: every operation that a pair opens,
on that resource, whatever its other parameters are.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keyless.protocol.messages import MAX_SESSION_POLICY
from keyless_sidecar.policy.acts import Act
from keyless_sidecar.policy.acts_from import acts_for_aws, operation_model
from keyless_sidecar.policy.aws_parameters import NotInModel, Parameters
from keyless_sidecar.policy.aws_resources import members_naming, resource_of
from keyless_sidecar.sessions.iam_actions import actions_for, operations_opened

__all__ = ["BadGrant", "Grant", "acts_of", "document_of", "grants_of_acts", "grants_of_names"]

_VERSION = "2012-10-17"
#: Members of S3's operations for which IAM wants an action of their own, s3:PutObjectAcl.
_OWN_ACTION = ("ACL", "Grant")
_ACL = "s3:PutObjectAcl"


class BadGrant(Exception):
    """What was asked for can't be given; the message is one sentence."""


@dataclass(frozen=True, order=True)
class Grant:
    """One thing that a session may do.

    Attributes:
        resource: an ARN, or ``*``.
        action: IAM's, ``lambda:UpdateFunctionCode``.
    """

    resource: str
    action: str


def grants_of_names(names: Iterable[str]) -> frozenset[Grant]:
    """Grants for operations by their names (``lambda:UpdateFunctionCode``), on any resource.

    Raises:
        BadGrant: AWS has no such operation.
    """
    found = set()
    for name in names:
        service, _, operation = name.removeprefix("aws:").partition(":")
        if not operation:
            raise BadGrant(
                f"An operation is named like lambda:UpdateFunctionCode, not {name[:80]!r}."
            )
        try:
            found |= {Grant("*", action) for action in actions_for(service, operation)}
        except NotInModel as error:
            raise BadGrant(str(error)) from None
    return frozenset(found)


def grants_of_acts(acts: Iterable[Act], account: str) -> frozenset[Grant]:
    """Grants for what was done, on the resources that it was done to.

    Args:
        acts: those that aren't AWS's are left out.
        account: of the role, which completes the ARN of what was named without one.

    Raises:
        BadGrant: one is no operation of AWS.
    """
    found = set()
    for act in acts:
        kind, _, rest = act.action.partition(":")
        service, _, operation = rest.partition(":")
        if kind != "aws":
            continue
        try:
            resource = _resource(act, service, operation, account)
            found |= {Grant(resource, action) for action in actions_for(service, operation)}
        except NotInModel as error:
            raise BadGrant(str(error)) from None
    return frozenset(found)


def acts_of(
    grants: Collection[Grant], *, tool: str, credential: str, account: str, **facts: Any
) -> tuple[Act, ...]:
    """The acts that grants open: all of them must pass the policy.

    Args:
        grants: of one session.
        tool: who will hold it.
        credential: the vault entry.
        account: of the role.
        facts: further ones, of the cell.

    Raises:
        BadGrant: of an action it isn't known what it opens.
    """
    lists = any(grant.action == _ACL for grant in grants)
    found: list[Act] = []
    for grant in sorted(grants):
        try:
            opened = operations_opened(grant.action)
        except NotInModel as error:
            raise BadGrant(f"{error} So the policy can't be asked about it.") from None
        for service, operation in opened:
            found += _acts(
                service,
                operation,
                grant.resource,
                lists,
                {
                    "tool": tool,
                    "credential": credential,
                    "account": account,
                    "credential_kind": "aws",
                    **facts,
                },
            )
    return tuple(found)


def document_of(grants: Collection[Grant]) -> str:
    """The session policy that allows grants and nothing else, as short as can be.

    Raises:
        BadGrant: there are none, or too many for STS.
    """
    if not grants:
        raise BadGrant("There is nothing that the session could be for: name operations.")
    actions: dict[str, set[str]] = defaultdict(set)
    for grant in grants:
        actions[grant.resource].add(grant.action)
    resources: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for resource, names in sorted(actions.items()):
        resources[tuple(sorted(names))].append(resource)
    statements = [
        {"Effect": "Allow", "Action": list(names), "Resource": where}
        for names, where in resources.items()
    ]
    text = json.dumps({"Version": _VERSION, "Statement": statements}, separators=(",", ":"))
    if len(text) > MAX_SESSION_POLICY:
        raise BadGrant(
            f"The session's policy would have {len(text)} characters, and STS takes "
            f"{MAX_SESSION_POLICY}: name fewer operations."
        )
    return text


def _resource(act: Act, service: str, operation: str, account: str) -> str:
    """What an act was about, with the role's account where it named none."""
    known = act.attributes.get("resource")
    if isinstance(known, str) and known:
        return _literal(known)
    values: Mapping[str, str] = act.attributes.get("parameters", {})
    unknown: Sequence[str] = act.attributes.get("unknown_parameters", ())
    shape = operation_model(service, operation).input_shape
    found = resource_of(
        service,
        values,
        frozenset(unknown),
        members=frozenset(shape.members if shape else ()),
        region=str(act.attributes.get("region", "")),
        account=account,
    )
    return _literal(found) if found else "*"


def _literal(resource: str) -> str:
    """A name as a pattern that fits it alone."""
    for sign in "$*?":
        resource = resource.replace(sign, "\0{" + sign + "}")
    return resource.replace("\0", "$")


def _acts(
    service: str, operation: str, resource: str, lists: bool, facts: Mapping[str, Any]
) -> tuple[Act, ...]:
    model = operation_model(service, operation)
    members = frozenset(model.input_shape.members if model.input_shape else ())
    exact = "" if set(resource) & set("*?$") else resource
    given = Parameters()
    for name, value in (members_naming(service, exact, members) if exact else {}).items():
        given.put(name, value)
    unsaid = {
        name
        for name in members - set(given.values)
        if lists or service != "s3" or not name.startswith(_OWN_ACTION)
    }
    first, *others = acts_for_aws(model, given, unknown=unsaid, **facts)
    attributes = {name: value for name, value in first.attributes.items() if name != "resource"}
    if exact:
        attributes["resource"] = exact
    return (Act(first.action, first.tool, first.credential, first.mutating, attributes), *others)
