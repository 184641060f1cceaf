"""Making acts: of a checked command, of an AWS call or request, of an HTTP request.

A command, a call by boto3 and a request at the proxy that do the same give equal acts, so that they
get equal answers.  Some do more than one thing (a move, a copy): each is an act, and all must pass.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from botocore import xform_name
from botocore.model import OperationModel

from keyless_sidecar.egress.aws import aliases
from keyless_sidecar.egress.aws.catalog import catalog
from keyless_sidecar.policy.actions import SAME, canonical
from keyless_sidecar.policy.acts import Act, Decision, Policy
from keyless_sidecar.policy.aws_parameters import (
    NotInModel,
    Parameters,
    by_name,
    from_call,
)
from keyless_sidecar.policy.aws_resources import resource_of
from keyless_sidecar.tools.aws_exposure import exposure_of, guarded_members
from keyless_sidecar.tools.aws_names import SERVICES
from keyless_sidecar.tools.aws_operations import is_mutating, models
from keyless_sidecar.tools.aws_s3 import private_access

__all__ = ["act_for_http", "acts_for_aws", "acts_for_call", "decide_all", "operation_model"]

_COMMANDS: Mapping[str, str] = {model: command for command, model in SERVICES.items()}
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
#: Slashes in disguise or doubled, path parameters, controls, and escapes that are none.
_UNCLEAR = re.compile(
    r"//|[\\;]|[\x00-\x20\x7f-\U0010ffff]|%(?:2F|5C|3B|25|[01]|7F|(?![0-9A-F]{2}))"
)
_ORDER = {"allow": 0, "ask": 1, "deny": 2}


@functools.lru_cache(maxsize=4096)
def operation_model(service: str, operation: str) -> OperationModel:
    """botocore's model of an operation.

    Args:
        service: name of the model's folder, ``lambda``.
        operation: as the API calls it, ``UpdateFunctionCode``.

    Raises:
        NotInModel: there is none.
    """
    known = models()
    command = _COMMANDS.get(service, service)
    found = known.operation(command, xform_name(operation, "-"))
    if found is None or found.name != operation or found.service != service:
        if service in SERVICES or not known.has_service(command):
            near = SERVICES.get(service) or known.similar(command)
            near = SERVICES.get(near, near)
            what = f"no service {service[:80]!r}"
        else:
            name = known.similar(command, xform_name(operation[:80], "-"))
            close = known.operation(command, name) if name else None
            near = close.name if close is not None else ""
            what = f"no operation {operation[:80]!r} in {service}"
        raise NotInModel(f"AWS has {what}" + (f"; did you mean {near!r}?" if near else "."))
    return found.model


def acts_for_call(
    service: str,
    operation: str,
    parameters: Mapping[str, Any],
    *,
    tool: str,
    **facts: Any,
) -> tuple[Act, ...]:
    """The acts of a call as boto3 takes it, or of a request that was parsed into one.

    Args:
        service: name of the service model, ``lambda``.
        operation: as the API calls it.
        parameters: by the model's names; what is too large to be read may be left out, but then
            must be named in ``unknown``.
        tool: who calls; see `Act.tool`.
        facts: as for `acts_for_aws`.

    Raises:
        NotInModel: the operation or a parameter isn't in the model.
    """
    model = operation_model(service, operation)
    return acts_for_aws(model, from_call(model, parameters), tool=tool, **facts)


def acts_for_aws(
    model: OperationModel,
    parameters: Parameters,
    *,
    tool: str,
    credential: str = "",
    region: str = "",
    account: str = "",
    allow_operations: Collection[str] = (),
    waits: bool = False,
    unknown: Iterable[str] = (),
    **attributes: Any,
) -> tuple[Act, ...]:
    """The acts of an operation whose parameters were read.

    Args:
        model: botocore's model of the operation.
        parameters: what is known of its parameters.
        tool: who calls; see `Act.tool`.
        credential: the vault entry in use.
        region: where it is called, ``""`` where that isn't known.
        account: whose credential it is, ``""`` where that isn't known.
        allow_operations: ``service:Operation`` that a person named for the tool.
        waits: it is only polled, and its answer isn't shown.
        unknown: further parameters that are given and not known.
        attributes: further facts of the act (``argv``, ``delivery``, ``isolated`` …).
    """
    service = model.service_model.service_name
    members = frozenset(model.input_shape.members if model.input_shape else ())
    given = Parameters(dict(parameters.values), {*parameters.unknown, *unknown})
    full = f"{service}:{model.name}"
    named = by_name(model, given)
    if "Delete" in members and service == "s3":
        named.unknown.add("Key")
    exposure = "" if waits else _exposure(service, model) or _sharing(model, given)
    facts: dict[str, Any] = {
        **attributes,
        "exposure": exposure,
        "parameters": named.values,
        "unknown_parameters": tuple(sorted(named.unknown)),
        "allow_listed": full in allow_operations,
    }
    resource = resource_of(
        service,
        given.values,
        frozenset(given.unknown),
        members=members,
        region=region,
        account=account,
    )
    for name, value in (("region", region), ("account", account), ("resource", resource)):
        if value or (name == "resource" and value is not None):
            facts[name] = value
    mutating = False if waits else is_mutating(model)
    # One name for what can't be told apart on the wire (Neptune's operations are RDS's).
    known = ":".join(aliases.canonical(catalog(), service, model.name))
    action = canonical(f"aws:{known}")
    if action in SAME.values() and f"aws:{full}" in SAME:
        facts["api_operation"] = model.name
    acts = [Act(action, tool, credential, mutating, facts)]
    source = given.values.get("CopySource")
    if service == "s3" and "CopySource" in members:
        acts.append(_source_read(acts[0], source, region, account))
    return tuple(acts)


@functools.lru_cache(maxsize=1024)
def _exposure(service: str, model: OperationModel) -> str:
    """``exposure_of``, which looks through all that an answer may hold."""
    return exposure_of(service, model)


def act_for_http(
    method: str, host: str, path: str, *, tool: str, credential: str = "", **attributes: Any
) -> Act:
    """The act of a request to a server that is not AWS.

    Args:
        method: as sent.
        host: the destination's name.
        path: as sent; its query is left off.  A path that servers read in different ways counts as
            unknown.
        tool: who asks; see `Act.tool`.
        credential: the vault entry in use.
        attributes: further facts of the act.
    """
    word = method.upper()
    facts = {**attributes, "host": host.lower().rstrip("."), "method": word}
    plain = _plain_path(path.partition("?")[0])
    if plain is not None:
        facts["path"] = plain
    mutating = False if word in ("GET", "HEAD") else None
    return Act(f"http:{word}", tool, credential, mutating, facts)


def decide_all(policy: Policy, acts: Iterable[Act]) -> Decision:
    """The strictest answer to several acts; none at all is denied."""
    worst: Decision | None = None
    for act in acts:
        decision = policy.decide(act)
        if worst is None or _ORDER[decision.outcome] > _ORDER[worst.outcome]:
            worst = decision
    return worst or Decision("deny", "policy.error", "There is nothing to decide about.")


def _plain_path(path: str) -> str | None:
    """A path without needless escapes; None where a rule about it could be gone around."""
    plain = _ESCAPE.sub(lambda match: _unescaped(match[0]), path)
    if _UNCLEAR.search(plain) or any(part in (".", "..") for part in plain.split("/")):
        return None
    return plain


def _unescaped(escape: str) -> str:
    char = chr(int(escape[1:], 16))
    return char if char.isascii() and (char.isalnum() or char in "-._~") else escape.upper()


def _sharing(model: OperationModel, given: Parameters) -> str:
    """``sharing`` where a parameter lets others in, or may."""
    for member in guarded_members(model.service_model.service_name, model):
        if member in given.unknown or "*" in given.unknown:
            return "sharing"
        value = given.values.get(member)
        if value is None or (member == "ACL" and private_access(value)):
            continue
        if member == "Capabilities" and set(value.split(",")) <= {"CAPABILITY_AUTO_EXPAND"}:
            continue
        if member == "CopySource" and _bucket_of(value) == given.values.get("Bucket"):
            continue
        return "sharing"
    return ""


def _bucket_of(source: str) -> str:
    return source.lstrip("/").split("/")[0]


def _source_read(copy: Act, source: str | None, region: str, account: str) -> Act:
    """What a copy reads, as an act of its own."""
    model = operation_model("s3", "GetObject")
    parameters = Parameters()
    if source is None or "%" in source or "?" in source or ":" in source:
        parameters.unknown.update(("Bucket", "Key"))
    else:
        bucket, _, key = source.lstrip("/").partition("/")
        parameters.put("Bucket", bucket)
        parameters.put("Key", key)
    kept = ("exposure", "parameters", "unknown_parameters", "resource", "api_operation")
    facts = {name: value for name, value in copy.attributes.items() if name not in kept}
    facts |= {"region": region, "account": account}
    listed = bool(facts.pop("allow_listed", False))
    return acts_for_aws(
        model,
        parameters,
        tool=copy.tool,
        credential=copy.credential,
        allow_operations=("s3:GetObject",) if listed else (),
        **facts,
    )[0]
