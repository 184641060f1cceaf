"""Names of services and operations as cells write them, made one: that of the service model.

``update_function_code``, ``update-function-code`` and ``UpdateFunctionCode`` are one operation.
Whatever isn't exactly one of these spellings of a known operation is refused, with the nearest.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from botocore import xform_name
from botocore.model import OperationModel, ServiceModel

from keyless_sidecar.egress.aws.catalog import catalog
from keyless_sidecar.policy.acts_from import operation_model
from keyless_sidecar.policy.aws_parameters import NotInModel
from keyless_sidecar.tools.aws_names import SERVICES
from keyless_sidecar.tools.verdict import shown

__all__ = [
    "find_operation",
    "find_service",
    "find_waiter",
    "operations",
    "paginates",
    "services",
    "waiters",
]


def services() -> list[str]:
    """All services, by the names that boto3 uses."""
    return sorted(catalog().heads)


def find_service(word: str) -> ServiceModel:
    """The model of a service.

    Args:
        word: boto3's name, or the AWS CLI's where it has its own (``s3api``).

    Raises:
        NotInModel: there is none.
    """
    known = catalog().heads
    name = word if word in known else SERVICES.get(word, word)
    if name not in known:
        raise NotInModel(f"AWS has no service {shown(word)}" + _near(word, known))
    return catalog().model(name)


def find_operation(service: str, word: str) -> OperationModel:
    """The model of an operation; names as in the module's description.

    Raises:
        NotInModel: there is no such service or operation.
    """
    model = find_service(service)
    spellings = operations(model.service_name)
    name = word if word in model.operation_names else spellings.get(word.replace("-", "_"))
    if name is None:
        raise NotInModel(
            f"{model.service_name} has no operation {shown(word)}"
            + _near(xform_name(word[:80], "_"), spellings)
        )
    # By the policy's own look-up, so that both mean the same.
    return operation_model(model.service_name, name)


def operations(service: str) -> Mapping[str, str]:
    """The operations of a service: ``update_function_code`` → ``UpdateFunctionCode``."""
    return _spelled(service)


def waiters(service: str) -> dict[str, Mapping[str, Any]]:
    """The waiters of a service: ``function_updated_v2`` → its configuration, with its ``name``."""
    found = catalog().beside(service, "waiters-2").get("waiters", {})
    return {xform_name(name): {**config, "name": name} for name, config in found.items()}


def find_waiter(service: str, word: str) -> Mapping[str, Any]:
    """The configuration of a waiter.

    Raises:
        NotInModel: there is none.
    """
    known = waiters(service)
    found = known.get(xform_name(word).replace("-", "_"))
    if found is None:
        raise NotInModel(f"{service} has no waiter {shown(word)}" + _near(word, known))
    return found


def paginates(model: OperationModel) -> bool:
    """Whether an operation's answer comes in pages."""
    pages = catalog().beside(model.service_model.service_name, "paginators-1")
    return model.name in pages.get("pagination", {})


@functools.lru_cache(maxsize=64)
def _spelled(service: str) -> dict[str, str]:
    return {xform_name(name): name for name in find_service(service).operation_names}


def _near(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word[:80].lower(), list(known), 1, 0.6)
    return f"; did you mean {found[0]!r}?" if found else "."
