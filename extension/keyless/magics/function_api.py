"""``from keyless import secure_exec``: the same as the magic, for values that Python knows.

::

    from keyless import secure_exec
    who = secure_exec("aws", "sts get-caller-identity").json()
    secure_exec("aws", ["s3", "cp", path, f"s3://{bucket}/"], timeout=60)
    result = await secure_exec("aws", ["lambda", "list-functions"])
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Literal

from keyless.magics.arguments import strip_tool
from keyless.magics.cell import cell_info
from keyless.magics.checks import Command, argument_list, input_bytes, workspace_folder
from keyless.magics.client import shared_client
from keyless.magics.interactive import window
from keyless.magics.results import ExecResult
from keyless.magics.running import recorded, run_command
from keyless.magics.spinner import spinner_for
from keyless.magics.words import split_words
from keyless.protocol.errors import InvalidRequest

__all__ = ["secure_exec"]


def secure_exec(
    tool: str,
    args: str | Sequence[object] = (),
    *,
    credentials: str | Iterable[str] | None = None,
    timeout: float | None = None,
    isolated: bool = True,
    cwd: str = "",
    stdin: str | bytes | None = None,
    raise_error: bool = True,
    quiet: bool = True,
    dry_run: bool = False,
    interactive: bool = False,
) -> ExecResult:
    """Run a declared tool with credentials that this kernel never sees.

    Blocks until the command has ended; the result can also be awaited.

    Args:
        tool: the tool's name; ``%keyless tools`` lists them.
        args: its arguments, as a list (taken as they are) or as one line (split like a line of
            ``%%secure_exec``; no shell, nothing is expanded).
        credentials: names of vault entries; ``None`` means those that the tool is bound to.
        timeout: seconds until the command is ended; ``None`` means the tool's default.
        isolated: whether it gets a sandbox of its own.
        cwd: folder in the workspace; empty means where the kernel is now.
        stdin: standard input; ``None`` means an empty one.
        raise_error: whether a non-zero exit code raises.
        quiet: ``False`` prints the output while it comes, and that it still runs.
        dry_run: only ask whether it would be allowed.
        interactive: whether it gets a terminal, and the cell's input box as its keyboard; its
            output is shown whatever ``quiet`` says.

    Raises:
        CommandFailed: a non-zero exit code; its ``result`` holds the output.
        PolicyDenied: a rule says no.
        CommandTimeout: it was ended at its time limit.
        InvalidRequest: the request makes no sense as it stands.
        ToolNotFound: there is no such tool.
        SidecarUnavailable: this is no Keyless kernel, or its sidecar is gone.
    """
    with recorded(tool if isinstance(tool, str) else ""):
        command = Command(
            tool=tool,
            argv=_argv(tool, args),
            credentials=_names(credentials),
            timeout=timeout,
            isolated=bool(isolated),
            cwd=workspace_folder(cwd, current_folder()),
            stdin=input_bytes(stdin, "stdin"),
            dry_run=bool(dry_run),
            terminal=window() if interactive else None,
            cell=cell_info(),
        )
        emit = None if quiet and not interactive else print_live
        spinner = None if quiet or interactive else spinner_for(command.tool)
        return run_command(shared_client(), command, emit, raise_error=raise_error, spinner=spinner)


def print_live(stream: Literal["stdout", "stderr"], text: str) -> None:
    """Show a piece of output at once, but half a line with its rest if that comes soon.

    The kernel shows what is written within 0.2 s; agents join outputs by line breaks, which would
    cut words.
    """
    target = sys.stdout if stream == "stdout" else sys.stderr
    target.write(text)
    if text.endswith(("\n", "\r")):
        target.flush()


def current_folder() -> str:
    """The kernel's current folder; empty if it is gone."""
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return ""


def _argv(tool: str, args: str | Sequence[object]) -> tuple[str, ...]:
    if not isinstance(tool, str):
        raise InvalidRequest(f"the tool is named by text, not by {type(tool).__name__}")
    if isinstance(args, str):
        return strip_tool(tool, split_words(args))
    if isinstance(args, bytes | bytearray) or not isinstance(args, Iterable):
        raise InvalidRequest(f"arguments are a list or one text, not {type(args).__name__}")
    return argument_list(args)


def _names(credentials: str | Iterable[str] | None) -> tuple[str, ...] | None:
    if isinstance(credentials, str):
        return tuple(name.strip() for name in credentials.split(",") if name.strip())
    return None if credentials is None else tuple(credentials)
