"""Commands over the control socket: the same runner, with the output kept until the end."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Sequence

from keyless.protocol.errors import InvalidRequest
from keyless.protocol.messages import CellInfo, Exec, Failed, Finished, Output, Reply
from keyless.protocol.words import split_words
from keyless_sidecar.control.requests import Refusal
from keyless_sidecar.control.types import CommandSource, JitExec, PlatformExec, Result, VaultExec
from keyless_sidecar.execution.runner import Runner
from keyless_sidecar.flow import Flow
from keyless_sidecar.keeper import Keeper
from keyless_sidecar.vault import (
    Declaration,
    Entry,
    EntryInfo,
    VaultError,
    parse_declaration,
)

__all__ = ["MAX_OUTPUT", "Executor"]

#: Bytes of a command's output that an answer holds, of both streams together.
MAX_OUTPUT = 8 * 1024 * 1024
_GRANT = 64 * 1024 * 1024
_STATUS = {
    "PolicyDenied": 403,
    "ApprovalTimeout": 408,
    "CommandTimeout": 408,
    "CommandCancelled": 409,
    "ToolNotFound": 404,
    "InvalidRequest": 400,
    "OutputLimitExceeded": 413,
    "LimitExceeded": 413,
}


class Executor:
    """Runs them.  Owned by the event loop's thread.

    Args:
        runner: serves them as it serves a cell's.
        keeper: has what is lent for one command.
        most: how many may be under way at once.
    """

    def __init__(self, runner: Runner, keeper: Keeper, most: int) -> None:
        self._runner = runner
        self._keeper = keeper
        self._most = most
        self._tasks: set[asyncio.Task[Reply]] = set()
        # Below zero: the numbers from one on are the kernel side's.
        self._numbers = itertools.count(-1, -1)

    async def vault(self, order: VaultExec, gone: asyncio.Event) -> Result:
        """Run a tool with credentials of the vault; raises Refusal."""
        return await self._run(order, order.tool, order.argv, gone, order.credentials)

    async def platform(self, order: PlatformExec, gone: asyncio.Event) -> Result:
        """Run one line; raises Refusal."""
        tool, argv, refused = _words(order.command)
        return await self._run(order, tool, argv, gone, order.credentials, refused=refused)

    async def jit(self, order: JitExec, gone: asyncio.Event) -> Result:
        """Run a command with a credential that is fetched for it; raises Refusal."""
        if bool(order.command) == bool(order.tool):
            raise Refusal(400, "InvalidRequest", "Give either command, or tool and argv.")
        tool, argv, refused = order.tool, list(order.argv), ""
        if order.command:
            tool, argv, refused = _words(order.command)
        name = f"jit-{secrets.token_hex(6)}"
        try:
            kept = _lent(name, tool, order)
        except VaultError as error:
            raise Refusal(400, "InvalidRequest", f"{_without(error, name)}.") from None
        try:
            async with self._keeper.lent(kept) as info:
                return await self._run(
                    order, tool, argv, gone, [name], refused=refused, lent=[info]
                )
        except VaultError as error:
            raise Refusal(400, "InvalidRequest", f"{_without(error, name)}.") from None

    async def close(self) -> None:
        """End what runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------------ inside

    async def _run(
        self,
        order: VaultExec | PlatformExec | JitExec,
        tool: str,
        argv: Sequence[str],
        gone: asyncio.Event,
        credentials: list[str] | None,
        *,
        refused: str = "",
        lent: Sequence[EntryInfo] = (),
    ) -> Result:
        if len(self._tasks) >= self._most:
            raise Refusal(409, "Busy", f"{self._most} commands are under way; wait for one to end.")
        stdin = None if order.stdin is None else order.stdin.encode()
        request = Exec(
            id=next(self._numbers),
            tool=tool,
            argv=list(argv),
            credentials=credentials,
            timeout=order.timeout,
            isolated=order.isolated,
            cwd=order.cwd,
            stdin_size=None if stdin is None else len(stdin),
            dry_run=order.dry_run,
            refused=refused,
            cell=CellInfo(),
        )
        flow = Flow(request, origin="control", lent=lent)
        flow.credit.add(_GRANT)
        if stdin:
            flow.feed_stdin(stdin)
        output = _Output(flow)
        task = asyncio.ensure_future(self._serve(flow, output))
        watch = asyncio.ensure_future(_cancel(flow, gone))
        self._tasks.add(task)
        try:
            return output.result(await asyncio.shield(task))
        finally:
            watch.cancel()
            self._tasks.discard(task)

    async def _serve(self, flow: Flow, output: _Output) -> Reply:
        await self._runner.serve(flow, output.take)
        if output.end is None:
            raise RuntimeError("a command without an end")
        return output.end


class _Output:
    """What comes of one command, up to :data:`MAX_OUTPUT`."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._pieces: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._left = MAX_OUTPUT
        self._cut = False
        self.end: Finished | Failed | None = None

    async def take(self, reply: Reply) -> None:
        if isinstance(reply, Output):
            size = len(reply.data.encode())
            self._flow.credit.add(size)
            if size <= self._left and not self._cut:
                self._pieces[reply.stream].append(reply.data)
                self._left -= size
            else:
                self._cut = True
        elif isinstance(reply, Finished | Failed):
            self.end = reply

    def result(self, end: Reply) -> Result:
        if isinstance(end, Failed):
            raise Refusal(_STATUS.get(end.kind, 503), end.kind, end.message, end.record_id)
        if not isinstance(end, Finished):
            raise TypeError("a command without an end")
        notes = list(end.notes)
        if self._cut:
            notes.append(f"The output is cut: an answer holds {MAX_OUTPUT} bytes of it.")
        return Result(
            end.exit_code,
            "".join(self._pieces["stdout"]),
            "".join(self._pieces["stderr"]),
            end.duration,
            end.record_id,
            end.redactions,
            end.files,
            notes,
        )


async def _cancel(flow: Flow, gone: asyncio.Event) -> None:
    await gone.wait()
    flow.cancelled.set()


def _words(command: str) -> tuple[str, list[str], str]:
    """Tool, arguments, and why there are none: such a line is put on record all the same."""
    try:
        words = split_words(command)
    except InvalidRequest as error:
        return "(none)", [], str(error)[:1024]
    if not words:
        return "(none)", [], "the line holds no command"
    if len(words[0]) > 128:
        return "(none)", [], "the first word is the tool's name, and this one is too long"
    return words[0], list(words[1:]), ""


def _lent(name: str, tool: str, order: JitExec) -> Entry | Declaration:
    source, tools = order.source, [] if tool == "(none)" else [tool]
    if isinstance(source, CommandSource):
        return parse_declaration(
            name,
            {
                "kind": order.kind,
                "tools": tools,
                "delivery": order.delivery,
                "hosts": order.hosts,
                "file": order.file,
                "source": "command",
                "argv": source.argv,
                "fields": source.fields,
                "timeout": source.timeout,
            },
        )
    return Entry(
        name,
        order.kind,
        source.fields,
        tuple(tools),
        order.delivery,
        "memory",
        hosts=tuple(order.hosts),
        file=order.file,
    )


def _without(error: VaultError, name: str) -> str:
    """What is wrong, without the name that nobody chose."""
    return str(error).replace(f"{name}: ", "").rstrip(".")
