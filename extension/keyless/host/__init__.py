"""Keyless for programs that drive agents: :class:`SecureSandbox`, and its synchronous face."""

from keyless.host.answers import Completed
from keyless.host.authority import Act, Question
from keyless.host.errors import (
    CellTimeout,
    NeedsSidecarMachine,
    SandboxDied,
    SandboxError,
    SandboxFileError,
)
from keyless.host.files import ListedFile
from keyless.host.outputs import CellResult, Output
from keyless.host.sandbox import SecureSandbox
from keyless.host.sync import SecureSandboxSync

__all__ = [
    "Act",
    "CellResult",
    "CellTimeout",
    "Completed",
    "ListedFile",
    "NeedsSidecarMachine",
    "Output",
    "Question",
    "SandboxDied",
    "SandboxError",
    "SandboxFileError",
    "SecureSandbox",
    "SecureSandboxSync",
]
