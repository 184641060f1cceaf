"""What a command gave back: :class:`ExecResult`, and a list of them.

Made by :mod:`keyless.magics.running`; the notebook shows them by their rich representations.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from keyless.magics import exec_rendering, tabular
from keyless.protocol.errors import ExecError
from keyless.protocol.messages import WrittenFile

__all__ = ["ExecResult", "ExecResults"]


class _Shown:
    """Display of results: not at all in the cell that made them with ``--quiet``."""

    _hidden_in: int | None = None

    def hide_in(self, execution_count: int) -> None:
        """Don't show this object in the cell with that number."""
        object.__setattr__(self, "_hidden_in", execution_count)

    def _ipython_display_(self) -> None:
        hidden_in = self._hidden_in
        if hidden_in is None or hidden_in != current_execution_count():
            raise NotImplementedError  # IPython goes on to the other representations


@dataclass(frozen=True, eq=False)
class ExecResult(_Shown):
    """One command's end.

    Args:
        tool: the declared tool.
        argv: its arguments.
        exit_code: as the tool gave it; ``None`` where it did not end by itself.
        stdout: sanitized output (see ``truncated``).
        stderr: sanitized error output.
        duration: seconds from the child's start to its end.
        redactions: how many values were replaced, by name of the credential or detector.
        record_id: the audit record.
        files: what the command left in the workspace.
        notes: one sentence each, what the user should know.
        dry_run: nothing ran; the notes say what would have happened.
        truncated: the output was too long to keep; ``stdout`` and ``stderr`` hold the first part.
        streamed: the output was shown while it came.
    """

    tool: str
    argv: tuple[str, ...]
    exit_code: int | None
    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)
    duration: float = 0.0
    redactions: Mapping[str, int] = field(default_factory=dict)
    record_id: str = ""
    files: tuple[WrittenFile, ...] = ()
    notes: tuple[str, ...] = ()
    dry_run: bool = False
    truncated: bool = False
    streamed: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ended with exit code 0."""
        return self.exit_code == 0

    def json(self) -> Any:
        """The output, read as JSON.

        Raises:
            ExecError: it isn't JSON; the message shows how it begins.
        """
        try:
            return json.loads(self.stdout)
        except (ValueError, RecursionError) as error:
            raise ExecError(
                f"{self.tool} printed no valid JSON ({self._why_not_json(error)})",
                record_id=self.record_id,
                result=self,
            ) from None

    def df(self, member: str = "") -> Any:
        """The output's rows as a ``pandas.DataFrame``; see :func:`keyless.magics.tabular.rows_of`.

        Args:
            member: which list is meant, where the output is an object with several.

        Raises:
            InvalidRequest: it holds no rows, or pandas isn't there.
            ExecError: the output isn't JSON.
        """
        return tabular.frame_of(self.json(), member)

    def _why_not_json(self, error: Exception) -> str:
        if self.dry_run:
            return "it was a dry run, so it printed nothing"
        if self.truncated:
            return "the output was too long to keep whole"
        if not self.stdout.strip():
            return "it printed nothing on stdout"
        hint = "; ask the tool for JSON, such as --output json" if self.tool == "aws" else ""
        return f"{error}; it begins with {self.stdout[:60]!r}{hint}"

    def __str__(self) -> str:
        return self.stdout

    def __repr__(self) -> str:
        return exec_rendering.facts(self)

    def __await__(self) -> Generator[None, None, ExecResult]:
        """``await secure_exec(...)`` gives the result that is already there."""
        yield from ()
        return self

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": exec_rendering.plain(self), "text/html": exec_rendering.html(self)}

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(exec_rendering.plain(self))


class ExecResults(_Shown, list[ExecResult]):
    """The results of a cell with several commands, in order."""

    def __repr__(self) -> str:
        return "\n".join(repr(result) for result in self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {
            "text/plain": "\n".join(exec_rendering.plain(result) for result in self),
            "text/html": "".join(exec_rendering.html(result) for result in self),
        }


def current_shell() -> Any:
    """The running IPython shell, or ``None``; never imports IPython."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def current_execution_count() -> int:
    """The number of the cell that runs now; 0 outside a cell."""
    # The prompt's number, since IPython versions differ in when they count up the shell's.
    hook = getattr(current_shell(), "displayhook", None)
    return max(0, int(getattr(hook, "prompt_count", 0)))
