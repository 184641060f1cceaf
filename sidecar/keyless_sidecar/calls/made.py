"""What a call is made with, and what comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keyless.protocol.calls import ServiceError
from keyless.protocol.messages import FailureKind
from keyless_sidecar.calls.bridge import Bridge
from keyless_sidecar.calls.content import Download
from keyless_sidecar.calls.progress import Meter
from keyless_sidecar.sanitize import Patterns

__all__ = ["Made", "Means"]


@dataclasses.dataclass
class Made:
    """What came of a call.

    Args:
        answer: not sanitized yet.
        error: what the service answered instead.
        failure: why there is no answer at all (kind and sentence).
        downloads: content that goes into the workspace.
        large: whether it takes a while to look through the answer.
    """

    answer: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    error: ServiceError | None = None
    failure: tuple[FailureKind, str] | None = None
    downloads: list[Download] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    large: bool = True

    def close(self) -> None:
        """Forget the content."""
        for download in self.downloads:
            download.close()


@dataclasses.dataclass(frozen=True)
class Means:
    """What a call is made with.

    Args:
        client: gives botocore's client; it may take its time.
        bridge: what its requests go over.
        waits: called when the call was made and the waiting begins.
        meter: told of what moves.
        scratch: private folder.
        most: bytes that the call may leave in the workspace.
        patterns: what saved content is searched for.
    """

    client: Callable[[], Any]
    bridge: Bridge
    waits: Callable[[], None]
    meter: Meter
    scratch: Path
    most: int
    patterns: Patterns
