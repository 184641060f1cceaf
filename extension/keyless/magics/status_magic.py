"""``%keyless``: what protects this kernel, which tools there are, what would be allowed."""

from __future__ import annotations

from typing import Any

from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand

from keyless.magics.arguments import parse_line, tool_word
from keyless.magics.call_magic import why_call
from keyless.magics.cell import cell_info
from keyless.magics.checks import Command, workspace_folder
from keyless.magics.client import shared_client
from keyless.magics.function_api import current_folder
from keyless.magics.running import recorded, run_command
from keyless.magics.views import View, help_view, status_view, tools_view, verdict_view
from keyless.protocol.errors import ExecError, InvalidRequest, SidecarUnavailable

__all__ = ["SUBCOMMANDS", "StatusMagics"]

SUBCOMMANDS = ("status", "tools", "why", "help")


@magics_class
class StatusMagics(Magics):
    """The magic that shows and explains.  It changes nothing."""

    @line_magic
    @no_var_expand
    def keyless(self, line: str) -> Any:
        """Show what protects this kernel.

        ::

            %keyless                     level, guarantees, workspace, credentials by name
            %keyless tools               the tools, and who holds the key
            %keyless why TOOL ARGUMENTS  would it be allowed, without running it
            %keyless why secure_call SERVICE OPERATION {...}    the same for a call
            %keyless help                the magics and their options
        """
        word, _, rest = line.strip().partition(" ")
        if word == "why" and rest.split()[:1] == ["secure_call"]:
            return why_call(rest.strip().removeprefix("secure_call"))
        if word == "why":
            with recorded(tool_word(rest)):
                return self._why(rest)
        if rest.strip():
            raise InvalidRequest(f"%keyless {word} takes nothing more")
        if word in ("", "status"):
            return status_view(shared_client().status())
        if word == "tools":
            return tools_view(shared_client().status())
        if word == "help":
            return help_view()
        raise InvalidRequest(f"no such part {word!r}: %keyless {' | '.join(SUBCOMMANDS)}")

    def _why(self, text: str) -> View:
        plan = parse_line(text)
        command = Command(
            tool=plan.tool,
            argv=plan.commands[0],
            credentials=plan.options.credentials,
            timeout=plan.options.timeout,
            isolated=plan.options.isolated,
            cwd=workspace_folder(plan.options.cwd, current_folder()),
            dry_run=True,
            cell=cell_info(),
        )
        try:
            result = run_command(shared_client(), command, None, raise_error=False)
        except SidecarUnavailable:
            raise
        except ExecError as error:
            kind = type(error).__name__
            return verdict_view(plan.tool, command.argv, kind, [str(error)], error.record_id)
        return verdict_view(plan.tool, command.argv, "", result.notes, result.record_id)
