"""The one way in: is this command allowed, and how is it run.  Called for each request."""

from __future__ import annotations

from collections.abc import Sequence

from keyless_sidecar.tools.aws_rules import check_aws
from keyless_sidecar.tools.declaration import Tool
from keyless_sidecar.tools.plain_rules import check_plain
from keyless_sidecar.tools.verdict import Checked
from keyless_sidecar.workspace import WorkspaceRoot

__all__ = ["check"]


def check(tool: Tool, argv: Sequence[str], workspace: WorkspaceRoot, cwd: str) -> Checked:
    """Decide on one command.

    Args:
        tool: the declared tool.
        argv: its arguments, without the tool's name.
        workspace: the workspace that file arguments are looked up in.
        cwd: the command's folder, relative to the workspace (``""``: the workspace).

    Returns:
        What to run.  The caller runs ``[tool.path, *tool.arguments, *checked.argv]``.

    Raises:
        Refused: the command may not run; nothing else is ever raised.
    """
    if tool.rules == "aws":
        return check_aws(tool, argv, workspace, cwd)
    return check_plain(tool, argv, workspace, cwd)
