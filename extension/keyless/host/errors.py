"""What a host program may have to catch, besides the errors of secured commands.

Those (:class:`~keyless.PolicyDenied`, :class:`~keyless.CommandTimeout`, …) are the same classes as
in a cell.
"""

from __future__ import annotations

__all__ = ["CellTimeout", "NeedsSidecarMachine", "SandboxDied", "SandboxError", "SandboxFileError"]


class SandboxError(RuntimeError):
    """A sandbox can't do what was asked; the message says why and what helps."""


class SandboxDied(SandboxError):
    """The kernel has ended, or can't be reached any more; ``restart()`` gives a new one."""


class CellTimeout(SandboxError):
    """A cell was interrupted at its time limit."""


class SandboxFileError(SandboxError):
    """A file of the workspace can't be read or written."""


class NeedsSidecarMachine(SandboxError):
    """It needs the control socket, which is only there on the machine of the sidecar."""
