"""What the page sends: a request of the control API, with the kernel that it is for."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from keyless_sidecar.approvals.asking import MOST_MINUTES
from keyless_sidecar.control.types import QuestionId, RecordId

__all__ = ["Approve", "Deny", "Stop"]

KernelId = Annotated[str, Meta(min_length=1, max_length=256)]


class _Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Unknown fields are errors."""


class Approve(_Closed, frozen=True):
    """Yes, this once or for so many minutes."""

    kernel: KernelId
    id: QuestionId
    minutes: Annotated[float, Meta(gt=0, le=MOST_MINUTES)] | None = None


class Deny(_Closed, frozen=True):
    """No, with a reason for the cell."""

    kernel: KernelId
    id: QuestionId
    reason: Annotated[str, Meta(max_length=500)] = ""


class Stop(_Closed, frozen=True):
    """End a command that runs."""

    kernel: KernelId
    record_id: RecordId
