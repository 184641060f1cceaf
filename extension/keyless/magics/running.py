"""Runs one command and makes its result or its exception.  Shared by magics and function API."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

from keyless.magics.cell import cell_info
from keyless.magics.checks import Command
from keyless.magics.client import Emit, Outcome, SidecarClient, shared_client
from keyless.magics.interactive import Dialogue, front_end
from keyless.magics.rendering import last_line, one_line
from keyless.magics.results import ExecResult
from keyless.magics.spinner import Spinner
from keyless.protocol.errors import CommandFailed, InvalidRequest, SidecarUnavailable, error_for
from keyless.protocol.messages import Failed, Finished

__all__ = ["recorded", "run_command"]

#: Most characters of each stream that a result keeps.
MAX_KEPT = 32 * 1024 * 1024
_NAME, _REASON = 128, 1024


def run_command(
    client: SidecarClient,
    command: Command,
    emit: Emit | None,
    *,
    raise_error: bool = True,
    spinner: Spinner | None = None,
) -> ExecResult:
    """Run ``command``; blocks until it has ended.

    Args:
        client: the connection.
        command: what to run.
        emit: where output goes while it comes; ``None`` shows nothing (not for a command with a
            terminal, whose output the person must see).
        raise_error: whether a non-zero exit code is an error.
        spinner: shows that it runs, where it has no terminal; closed at the end.

    Raises:
        CommandFailed: a non-zero exit code, with the result in its ``result``.
        InvalidRequest: a terminal, and nobody who could type; nothing was sent.
        ExecError: the request was refused, or the command was ended early.
    """
    dialogue: Dialogue | None = None
    if command.terminal is not None and emit is not None and not command.dry_run:
        dialogue = Dialogue(command.tool, front_end(), emit)
        emit = dialogue.screen.add
    kept = {"stdout": _Kept(), "stderr": _Kept()}

    def take(stream: Literal["stdout", "stderr"], text: str) -> None:
        kept[stream].add(text)
        if emit is not None:
            emit(stream, text)

    try:
        with dialogue.listening() if dialogue else contextlib.nullcontext():
            outcome = client.run(command, take, dialogue or spinner)
    finally:
        if spinner is not None:
            spinner.close()
    result = _result(command, outcome, kept, streamed=emit is not None)
    reply = outcome.reply
    if isinstance(reply, Failed):
        raise error_for(reply.kind, reply.message, record_id=outcome.record_id, result=result)
    if raise_error and reply.exit_code != 0:
        said = last_line(result.stderr) or last_line(result.stdout)
        raise CommandFailed(
            f"{command.tool} ended with exit code {reply.exit_code}"
            + (f": {said}" if said else ""),
            record_id=outcome.record_id,
            result=result,
        )
    return result


@contextlib.contextmanager
def recorded(tool: str) -> Iterator[None]:
    """Give mistakes that are found before anything is sent their audit record too.

    Args:
        tool: the tool's name, as far as it is known.
    """
    try:
        yield
    except InvalidRequest as error:
        if not error.record_id:
            name = one_line(tool, _NAME) or "(none)"
            reason = one_line(str(error), _REASON)
            # Without a sidecar there is no record, and the mistake is still the better message.
            with contextlib.suppress(SidecarUnavailable):
                error.record_id = shared_client().record_refusal(name, reason, cell_info())
        raise


class _Kept:
    """The first part of a stream, up to :data:`MAX_KEPT` characters."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._room = MAX_KEPT
        self.truncated = False

    def add(self, text: str) -> None:
        self.truncated = self.truncated or len(text) > self._room
        if self._room:
            self._pieces.append(text[: self._room])
            self._room -= len(self._pieces[-1])

    def text(self) -> str:
        return "".join(self._pieces)


def _result(
    command: Command, outcome: Outcome, kept: dict[str, _Kept], *, streamed: bool
) -> ExecResult:
    reply = outcome.reply
    finished = reply if isinstance(reply, Finished) else None
    return ExecResult(
        tool=command.tool,
        argv=command.argv,
        exit_code=finished.exit_code if finished else None,
        stdout=kept["stdout"].text(),
        stderr=kept["stderr"].text(),
        duration=reply.duration,
        redactions=dict(reply.redactions),
        record_id=outcome.record_id,
        files=tuple(finished.files) if finished else (),
        notes=tuple(finished.notes) if finished else (),
        dry_run=command.dry_run,
        truncated=any(part.truncated for part in kept.values()),
        streamed=streamed,
    )
