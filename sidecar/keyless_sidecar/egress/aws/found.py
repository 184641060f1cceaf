"""An operation that a request was found to be, before it gets its canonical name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from botocore.model import OperationModel

from keyless_sidecar.egress.aws.refusal import IdentifyError

__all__ = ["Found", "ambiguous"]


@dataclass(frozen=True)
class Found:
    """An operation under the name that the request was matched by.

    Attributes:
        protocol: that the request speaks.
        parameters: flat.
    """

    service: str
    model: OperationModel = field(repr=False)
    protocol: str
    parameters: Mapping[str, str] = field(repr=False)


def ambiguous(names: Iterable[tuple[str, str]]) -> IdentifyError:
    """The refusal of a request that could be several operations."""
    listed = " or ".join(sorted(f"{service}:{name}" for service, name in names))
    return IdentifyError(f"The request could be {listed}, so it is not sent.")
