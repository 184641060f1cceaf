"""Puts the magics into a shell; called by ``keyless.load_ipython_extension``.

Works without a sidecar too: the magics then say what is missing when they are used.
"""

from __future__ import annotations

from typing import Any

from keyless.magics.call_magic import CallMagics
from keyless.magics.cell import CellWatch
from keyless.magics.completion import make_matcher
from keyless.magics.exec_magic import ExecMagics
from keyless.magics.notices import Notices
from keyless.magics.session_magic import SessionMagics
from keyless.magics.status_magic import StatusMagics

__all__ = ["register"]


def register(shell: Any) -> None:
    """Register magics, completion and the note of which cell runs.  Safe to call twice."""
    shell.register_magics(ExecMagics, CallMagics, SessionMagics, StatusMagics)
    if hasattr(shell, "keyless_cell_watch"):
        return
    watch = CellWatch()
    shell.keyless_cell_watch = watch
    shell.events.register("pre_run_cell", watch.pre_run_cell)
    notices = Notices.from_environment()
    if notices is not None:
        shell.events.register("pre_run_cell", notices.show)
        shell.events.register("post_run_cell", notices.show)
    shell.Completer.custom_matchers.append(make_matcher())
    shell.input_transformers_cleanup.insert(0, keep_empty_body)


def keep_empty_body(lines: list[str]) -> list[str]:
    """Let one of our cell magics without a body reach us, so that its error is one of ours.

    IPython itself answers with a ``UsageError``, which agents take for success.
    """
    filled = [line for line in lines if line.strip()]
    if len(filled) == 1 and filled[0].startswith(("%%secure_exec", "%%secure_call")):
        return [filled[0].rstrip("\n") + "\n", "\n"]
    return lines
