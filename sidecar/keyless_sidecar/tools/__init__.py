"""The tools that a person declared, and the rules for what may be asked of them.

Decisions only: nothing here starts a process or opens a connection.
"""

from keyless_sidecar.tools.check import check, subcommands
from keyless_sidecar.tools.declaration import Tool, ToolConfigError, load_tools, missing_tool
from keyless_sidecar.tools.verdict import Checked, CheckedFile, Refused, shown

__all__ = [
    "Checked",
    "CheckedFile",
    "Refused",
    "Tool",
    "ToolConfigError",
    "check",
    "load_tools",
    "missing_tool",
    "shown",
    "subcommands",
]
