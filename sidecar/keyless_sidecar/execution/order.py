"""What is to be run, and what came of it: plain values between runner, command and recorder."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from keyless.protocol.messages import FailureKind, WrittenFile
from keyless_sidecar.execution.terminal import Terminal
from keyless_sidecar.sanitize import Patterns
from keyless_sidecar.tools import CheckedFile, Tool


class Gate(Protocol):
    """Serves the listener in a sandbox: the only way to a network."""

    @property
    def refused(self) -> Mapping[str, int]:
        """Refused destinations and how often."""

    async def start(self) -> None:
        """Begin to accept."""

    async def close(self) -> None:
        """Close the listener and every connection."""

    def notes(self) -> Sequence[str]:
        """A sentence for each thing that was refused."""


WayOut: TypeAlias = Callable[[socket.socket, bytes], Gate]


@dataclasses.dataclass(frozen=True)
class Order:
    """An allowed command.

    Args:
        tool: which tool.
        argv: checked arguments.
        cwd: folder relative to the workspace.
        timeout: seconds.
        isolated: whether the workspace is an overlay whose changes are searched first.
        stdin: descriptor of its standard input, or ``None`` for an empty one.
        way_out: makes what serves its network, from its listener and the token of connections.
        upstream: URL that stands in for its service, or "".
        variables: of its environment, credentials or placeholders among them.
        home: path below HOME and content of files that it finds there.
        patterns: what is taken out of everything that comes back.
        files: what it reads and writes in the workspace, as the rules saw it.
        terminal: in place of its streams, or ``None``; it stays the caller's.
    """

    tool: Tool
    argv: tuple[str, ...]
    cwd: str
    timeout: float
    isolated: bool
    stdin: int | None
    way_out: WayOut
    upstream: str
    variables: Mapping[str, str] = dataclasses.field(repr=False)
    patterns: Patterns = dataclasses.field(repr=False)
    home: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    files: tuple[CheckedFile, ...] = ()
    terminal: Terminal | None = None


@dataclasses.dataclass
class Outcome:
    """How a command ended.

    Args:
        failure: why it was ended or never ran (kind and sentence), or ``None``.
        detail: what only the audit gets to see.
    """

    failure: tuple[FailureKind, str] | None = None
    detail: str = ""
    exit_code: int = -1
    duration: float = 0.0
    output: int = 0
    redactions: dict[str, int] = dataclasses.field(default_factory=dict)
    files: list[WrittenFile] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    refused: dict[str, int] = dataclasses.field(default_factory=dict)
    #: ``warm`` or ``cold``, once there was a sandbox; and whether that was made beforehand.
    start: str = ""
    ready: bool = False
    #: Why it wasn't warm, where its tool is kept warm.
    cold_because: str = ""
    #: Bytes typed on its terminal, ``None`` without one.
    typed: int | None = None
