"""Keyless in a cell: ``from keyless import secure_exec, secure_call``, ``%load_ext keyless``.

Everything is loaded when it is first asked for.  The sidecar and the provisioner import
:mod:`keyless.protocol` through this package, so importing it stays cheap and never pulls in
IPython.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keyless.magics.call_function import secure_call
    from keyless.magics.call_results import CallResult
    from keyless.magics.function_api import secure_exec
    from keyless.magics.results import ExecResult
    from keyless.magics.session_api import SecureSession, secure_session
    from keyless.protocol.errors import (
        ApprovalTimeout,
        CallFailed,
        CommandCancelled,
        CommandFailed,
        CommandTimeout,
        ExecError,
        InvalidRequest,
        LimitExceeded,
        OutputLimitExceeded,
        PolicyDenied,
        SidecarUnavailable,
        ToolNotFound,
    )

__all__ = [
    "ApprovalTimeout",
    "CallFailed",
    "CallResult",
    "CommandCancelled",
    "CommandFailed",
    "CommandTimeout",
    "ExecError",
    "ExecResult",
    "InvalidRequest",
    "LimitExceeded",
    "OutputLimitExceeded",
    "PolicyDenied",
    "SecureSession",
    "SidecarUnavailable",
    "ToolNotFound",
    "load_ipython_extension",
    "secure_call",
    "secure_exec",
    "secure_session",
]

_HOMES = {
    "CallResult": "keyless.magics.call_results",
    "ExecResult": "keyless.magics.results",
    "secure_call": "keyless.magics.call_function",
    "SecureSession": "keyless.magics.session_api",
    "secure_exec": "keyless.magics.function_api",
    "secure_session": "keyless.magics.session_api",
}


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext keyless``: register the magics and their completion (done in the kernel)."""
    from keyless.magics.extension import register

    register(shell)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "keyless.protocol.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
