"""What the provisioner and its supervisor say to each other: JSON lines over a socketpair.

The socketpair is the lifeline too: when the provisioner's end closes, for whatever reason, the
supervisor ends everything it started.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from keyless_kernel.confine.settings import Found

#: What a nursery says when it has loaded everything.
READY = b"ready"
#: Its last argument: room for the command lines of what it forks.
PADDING = "." * 400


class LaunchSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the supervisor needs to start one kernel with its sidecar."""

    python: str
    #: Private folder of this kernel (0700): sockets and scratch; removed at the end.
    runtime_dir: str
    #: Connection dictionary for inside the sandbox.
    connection: dict[str, Any]
    #: Name of the connection file outside; removed at the end.
    connection_file: str
    #: :class:`keyless_kernel.confine.settings.SidecarSettings` as a dictionary.
    settings: dict[str, Any]
    workspace: str
    #: Whether the workspace was made for this kernel and goes with it.
    ephemeral: bool
    confinement: dict[str, Any]
    kernel_env: dict[str, str]
    start_timeout: float
    #: Folders that no sandbox may show.
    private: list[str]
    #: ``c.Limits``.
    limits: dict[str, Any] = {}
    #: What another supervisor of the same server found out about confinement.
    found: Found | None = None

    def __repr__(self) -> str:
        return f"LaunchSpec({self.runtime_dir!r})"


def line(message: dict[str, Any]) -> bytes:
    """One message as a line."""
    return json.dumps(message).encode() + b"\n"


def split_lines(buffer: bytearray) -> list[dict[str, Any]]:
    """Take the complete messages out of ``buffer``."""
    messages = []
    while (end := buffer.find(b"\n")) >= 0:
        messages.append(json.loads(bytes(buffer[:end])))
        del buffer[: end + 1]
    return messages
