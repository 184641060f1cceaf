"""The rules for declared tools that Keyless knows nothing about: the arguments pass as they are.

What such a tool may reach is held by its sandbox.  The rules refuse what would only hang or
surprise it: control characters, what the person's ``deny`` patterns name, and workspace paths that
are FIFOs, devices or links.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Sequence

from keyless_sidecar.tools.declaration import Tool
from keyless_sidecar.tools.verdict import Checked, CheckedFile, Refused, check_text, shown
from keyless_sidecar.workspace import WorkspaceError, WorkspaceRoot

__all__ = ["check_plain"]


def check_plain(tool: Tool, argv: Sequence[str], workspace: WorkspaceRoot, cwd: str) -> Checked:
    """Check a command of a tool with ``rules="plain"``; see :func:`check` for the parameters."""
    check_text(argv, most=tool.max_args)
    for pattern in tool.deny:
        for argument in argv:
            if re.search(pattern, argument):
                raise Refused(
                    "PolicyDenied",
                    f"The argument {shown(argument)} matches a pattern that the declaration of "
                    f"{tool.name} denies.",
                    "plain.deny",
                )
    files: dict[str, CheckedFile] = {}
    for argument in argv:
        for candidate in _paths(argument):
            found = _look(candidate, argument, workspace, cwd)
            if found is not None:
                files[found.path] = found
    return Checked(tuple(argv), "exec", None, tuple(files.values()), "plain.allow")


def _paths(argument: str) -> Iterator[str]:
    """What in an argument may be a path: ``x``, ``--opt=x``, ``key=@x``, ``-Fx``, ``file://x``."""
    yield argument
    for mark in ("=", "@", "://"):
        _, found, rest = argument.partition(mark)
        if found:
            yield rest
            yield rest.lstrip("@")
    if argument[:1] == "-" and argument[:2] != "--":
        yield argument[2:]


def _look(candidate: str, argument: str, workspace: WorkspaceRoot, cwd: str) -> CheckedFile | None:
    """The workspace file that ``candidate`` names, or None where it names none."""
    try:
        rel = workspace.relative(candidate, cwd)
        info = workspace.stat(rel)
    except WorkspaceError as error:
        if error.reason == "symlink":
            raise Refused(
                "InvalidRequest",
                f"The file {shown(argument)} {error.message}; copy the file into the workspace.",
                "files.symlink",
            ) from error
        return None  # no path, or none in the workspace: the sandbox holds nothing else to see
    if stat.S_ISDIR(info.st_mode):
        return CheckedFile(rel, "folder")
    if not stat.S_ISREG(info.st_mode):
        raise Refused(
            "InvalidRequest",
            f"The file {shown(argument)} is not a regular file; a tool would wait on it or read "
            "something else.",
            "files.kind",
        )
    if info.st_nlink > 1:
        raise Refused(
            "InvalidRequest",
            f"The file {shown(argument)} has more than one hard link; copy it and use the copy.",
            "files.links",
        )
    return CheckedFile(rel, "read", info.st_size)
