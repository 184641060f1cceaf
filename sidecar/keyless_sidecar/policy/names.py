"""A policy's AWS names against botocore's models: services, operations, parameters.

A misspelt operation in a forbid would leave open what it should close, so that stops the start; in
a permit it is a warning.  The models are loaded only for a policy that names something of AWS.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from keyless_sidecar.policy.actions import is_group
from keyless_sidecar.policy.checks import actions_in, parameters_in
from keyless_sidecar.policy.source import Problem, Rule

__all__ = ["check_names"]


def check_names(rules: Sequence[Rule]) -> list[Problem]:
    """What is unknown to the models; those in rules that don't allow are no mere warnings."""
    problems = []
    for rule in rules:
        harmless = rule.outcome == "allow"
        named = sorted(name for name in actions_in(rule) if name.startswith("aws:"))
        for name in named:
            message = _unknown(name)
            if message:
                problems.append(Problem(rule.line, message, warning=harmless))
        operations = [name for name in named if not is_group(name)]
        for parameter in sorted(parameters_in(rule)):
            message = _unknown_parameter(parameter, operations)
            if message:
                problems.append(Problem(rule.line, message, warning=harmless))
    return problems


def _unknown(name: str) -> str:
    from keyless_sidecar.policy.acts_from import operation_model
    from keyless_sidecar.policy.aws_parameters import NotInModel

    parts = name.split(":")
    if len(parts) == 2:
        return _unknown_service(parts[1])
    try:
        operation_model(parts[1], parts[2])
    except NotInModel as error:
        return str(error)
    return ""


def _unknown_service(service: str) -> str:
    from keyless_sidecar.tools.aws_names import SERVICES
    from keyless_sidecar.tools.aws_operations import models

    known = models()
    available = {SERVICES.get(command, command) for command in known.commands()}
    if service in available:
        return ""
    other = SERVICES.get(service)
    near = [other] if other else difflib.get_close_matches(service, sorted(available), 1, 0.6)
    return f"AWS has no service {service!r}" + (f"; did you mean {near[0]!r}?" if near else ".")


def _unknown_parameter(parameter: str, operations: Sequence[str]) -> str:
    """Only where all actions of a rule are operations that exist can its parameters be judged."""
    from keyless_sidecar.policy.acts_from import operation_model
    from keyless_sidecar.policy.aws_parameters import NotInModel

    members: set[str] = set()
    for name in operations:
        _, service, operation = name.split(":")
        try:
            model = operation_model(service, operation)
        except NotInModel:
            return ""
        members.update(model.input_shape.members if model.input_shape else ())
    if not operations or parameter in members:
        return ""
    near = difflib.get_close_matches(parameter, sorted(members), 1, 0.6)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{' and '.join(operations)} has no parameter {parameter!r}{hint}"
