"""The one way in: is this command allowed, and how is it run.  Called for each request.

A sidecar that only starts loads none of the rules for the AWS CLI.
"""

from __future__ import annotations

from collections.abc import Sequence

from keyless_sidecar.tools.declaration import Tool
from keyless_sidecar.tools.plain_rules import check_plain
from keyless_sidecar.tools.verdict import Checked
from keyless_sidecar.workspace import WorkspaceRoot

__all__ = ["check", "subcommands"]


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
        from keyless_sidecar.tools.aws_rules import check_aws

        return check_aws(tool, argv, workspace, cwd)
    return check_plain(tool, argv, workspace, cwd)


def subcommands(tool: Tool) -> list[str]:
    """Words that complete the tool's first argument, sorted; a help for typing, not a rule."""
    if tool.rules == "aws":
        from keyless_sidecar.tools.aws_operations import models

        return sorted({*models(tool.model_path).commands(), "s3"})
    return []
