"""Confinement of kernels and tool children.

:func:`probe` finds the strongest level that works here and returns the :class:`Confiner` that
starts a :class:`Sandbox` at it.
"""

from keyless_kernel.confine import landlock
from keyless_kernel.confine.base import Confiner
from keyless_kernel.confine.config import Confinement
from keyless_kernel.confine.errors import ConfigError, ConfinementUnavailable
from keyless_kernel.confine.probe import probe
from keyless_kernel.confine.process import Confined
from keyless_kernel.confine.sandbox import WORKSPACE, Bind, Limits, Sandbox, WorkspaceMount
from keyless_kernel.confine.view import interpreter_binds

__all__ = [
    "WORKSPACE",
    "Bind",
    "ConfigError",
    "Confined",
    "Confinement",
    "ConfinementUnavailable",
    "Confiner",
    "Limits",
    "Sandbox",
    "WorkspaceMount",
    "interpreter_binds",
    "landlock",
    "probe",
]
