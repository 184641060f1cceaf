"""The workspace as the sidecar touches it: by ``keyless_kernel.confine.workspace`` alone.

That one resolves each path beneath a descriptor and follows no link; the host API uses it as well.
"""

from keyless_kernel.confine import WORKSPACE
from keyless_kernel.confine.beneath import Reason, WorkspaceError, relative
from keyless_kernel.confine.workspace import WorkspaceRoot

__all__ = ["WORKSPACE", "Reason", "WorkspaceError", "WorkspaceRoot", "relative"]
