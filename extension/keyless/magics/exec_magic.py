"""``%secure_exec`` and ``%%secure_exec``: run declared tools without holding their credentials.

Synchronous on purpose: the magic blocks on the main thread and prints what comes, so that an
interrupt reaches it and an agent sees the end of the command as the end of the cell.
"""

from __future__ import annotations

import shlex
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from keyless.magics.arguments import Options, Plan, parse_cell, parse_line, tool_word
from keyless.magics.cell import cell_info
from keyless.magics.checks import Command, checked, input_bytes, workspace_folder
from keyless.magics.client import shared_client
from keyless.magics.function_api import current_folder, print_live
from keyless.magics.interactive import window
from keyless.magics.outs import bind, check_frame
from keyless.magics.results import ExecResult, ExecResults, current_execution_count
from keyless.magics.running import recorded, run_command
from keyless.magics.spinner import spinner_for
from keyless.protocol.errors import ExecError, InvalidRequest

__all__ = ["ExecMagics"]


@magics_class
class ExecMagics(Magics):
    """The magics that run commands.  One per shell; called on its main thread."""

    shell: Any

    @line_cell_magic
    @no_var_expand
    def secure_exec(self, line: str, cell: str | None = None) -> ExecResult | ExecResults:
        """Run a declared tool with credentials that this kernel never sees.

        ::

            %%secure_exec TOOL [options]
            ARGUMENTS            one command a line, a backslash continues it

            %secure_exec [options] TOOL ARGUMENTS

        Options: --credentials NAMES, --timeout SECONDS, --isolated, --no-isolated, --cwd FOLDER,
        --stdin NAME, --out NAME or NAME:df, --interactive, --quiet, --dry-run, --no-raise
        (see ``%keyless help``).

        There is no shell: quotes work, but pipes, redirections, globs and variables don't.
        Several commands stop at the first one that fails.
        """
        try:
            with recorded(tool_word(line)):
                plan = parse_line(line) if cell is None else parse_cell(line, cell)
                return self._run_all(plan, self._commands(plan))
        except KeyboardInterrupt as interrupt:
            # One line, as for our own exceptions: the frames behind it help nobody.
            lines = [f"{type(interrupt).__name__}: the command was cancelled"]
            setattr(interrupt, "_render_traceback_", lambda: lines)  # noqa: B010
            raise

    def _run_all(self, plan: Plan, commands: list[Command]) -> ExecResult | ExecResults:
        results = ExecResults()
        try:
            for command in commands:
                result = self._run(command, plan.options)
                results.append(result)
                if not result.ok:
                    break
        except ExecError as error:
            if isinstance(error.result, ExecResult):
                results.append(error.result)
            raise
        finally:
            # What there is, also where a command failed.
            self._bind(plan, results)
        answer = results[0] if len(commands) == 1 else results
        if plan.options.quiet:
            answer.hide_in(current_execution_count())
        return answer

    def _commands(self, plan: Plan) -> list[Command]:
        options = plan.options
        if options.frame:
            check_frame(len(plan.commands))
        stdin = self._variable(options.stdin) if options.stdin else None
        # All are checked before the first one runs: a mistake in the third line stops the cell.
        return [
            checked(
                Command(
                    tool=plan.tool,
                    argv=argv,
                    credentials=options.credentials,
                    timeout=options.timeout,
                    isolated=options.isolated,
                    cwd=workspace_folder(options.cwd, current_folder()),
                    stdin=input_bytes(stdin, f"the variable {options.stdin!r}"),
                    dry_run=options.dry_run,
                    terminal=window() if options.interactive else None,
                    cell=cell_info(),
                )
            )
            for argv in plan.commands
        ]

    def _run(self, command: Command, options: Options) -> ExecResult:
        return run_command(
            shared_client(),
            command,
            None if options.quiet else print_live,
            raise_error=options.raise_error,
            spinner=None if options.quiet or options.interactive else spinner_for(_named(command)),
        )

    def _variable(self, name: str) -> Any:
        try:
            value = self.shell.user_ns[name]
        except KeyError:
            raise InvalidRequest(f"there is no variable {name!r} for --stdin") from None
        if value is None:
            raise InvalidRequest(f"the variable {name!r} for --stdin is None")
        return value

    def _bind(self, plan: Plan, results: ExecResults) -> None:
        if not results:
            return
        result = results[0] if len(plan.commands) == 1 else results
        bind(
            self.shell.user_ns,
            plan.options.out,
            result,
            frame=plan.options.frame and results[0].ok,
        )


def _named(command: Command) -> str:
    return shlex.join((command.tool, *command.argv[:2]))
