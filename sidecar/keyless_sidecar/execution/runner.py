"""One request's life: check, record, fetch credentials, run, record, answer.

:mod:`keyless_sidecar.channel` calls :meth:`Runner.serve` in a task for each ``Exec``.  Whatever
happens, exactly one ``Finished`` or ``Failed`` goes out, and its record is on disk before (T8).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

from keyless.protocol.messages import (
    Exec,
    Failed,
    FailureKind,
    Finished,
    Output,
    Reply,
    Started,
    Waiting,
)
from keyless_sidecar.approvals import Approvals, Scope
from keyless_sidecar.audit import AuditLog, AuditUnavailable
from keyless_sidecar.egress.aws.endpoints import read_models
from keyless_sidecar.execution.command import Commands
from keyless_sidecar.execution.consent import approved, scope_of
from keyless_sidecar.execution.delivery import CERTIFICATES, Delivered, deliver
from keyless_sidecar.execution.guarding import NO_VAULT, guarded, place
from keyless_sidecar.execution.news import News
from keyless_sidecar.execution.order import Order, Outcome, WayOut
from keyless_sidecar.execution.planning import Ended, Plan, Planner, dry_run_notes
from keyless_sidecar.execution.recording import Recorder
from keyless_sidecar.execution.stdin import standard_input
from keyless_sidecar.execution.streams import Stream
from keyless_sidecar.execution.terminal import Terminal
from keyless_sidecar.flow import Flow
from keyless_sidecar.keeper import Keeper
from keyless_sidecar.placeholders import PlaceholderBook
from keyless_sidecar.sessions.for_tools import ToolSessions
from keyless_sidecar.tools import Refused, Tool
from keyless_sidecar.vault import VaultError
from keyless_sidecar.ways import Ways
from keyless_sidecar.workspace import WorkspaceRoot

Send = Callable[[Reply], Awaitable[None]]
_log = logging.getLogger(__name__)


class Runner:
    """Serves ``Exec`` requests.  One for each sidecar, owned by the event loop's thread.

    Args:
        planner: decides.
        keeper: vault and patterns.
        audit: where records go.
        commands: runs what is allowed.
        ways: makes the tools' ways out.
        book: of placeholders.
        sessions: gives tools temporary keys, where a person wants that.
        approvals: asks a person where the policy wants one.
        workspace: for what a person is shown of the files.
        news: tells who listens what runs.
    """

    def __init__(
        self,
        *,
        planner: Planner,
        keeper: Keeper,
        audit: AuditLog,
        commands: Commands,
        ways: Ways,
        book: PlaceholderBook,
        sessions: ToolSessions,
        approvals: Approvals,
        workspace: WorkspaceRoot,
        news: News,
    ) -> None:
        self._approvals = approvals
        self._workspace = workspace
        self._news = news
        self._planner = planner
        self._keeper = keeper
        self._audit = audit
        self._commands = commands
        self._ways = ways
        self._book = book
        self._sessions = sessions
        #: Commands that were started.
        self.started = 0

    async def serve(self, flow: Flow, send: Send) -> None:
        """Answer one request.

        Args:
            flow: the request, and what the kernel side adds to it later.
            send: passes a reply on; waits while the kernel side takes none.

        Raises:
            ConnectionError: the kernel side is gone.
        """
        try:
            reply = await guarded(flow.request.id, self._answer(flow, send))
        finally:
            flow.close()
        await send(reply)

    async def refuse(self, request: Exec, kind: FailureKind, message: str, rule: str) -> Reply:
        """Record and answer a request that isn't even looked at (too many under way, say)."""

        async def answer() -> Reply:
            recorder = Recorder(self._audit, await self._keeper.patterns())
            recorder.request(request)
            return await recorder.denied(request.id, Ended(kind, message, rule))

        return await guarded(request.id, answer())

    async def _answer(self, flow: Flow, send: Send) -> Reply:
        request = flow.request
        recorder = Recorder(self._audit, await self._keeper.patterns())
        recorder.request(request, flow.origin)
        try:
            return await self._recorded(flow, send, recorder)
        except asyncio.CancelledError:
            recorder.stopped()
            raise
        except Exception:  # whoever hears of it hears of what is on disk
            await recorder.on_disk()
            raise

    async def _recorded(self, flow: Flow, send: Send, recorder: Recorder) -> Reply:
        request = flow.request
        infos = [*await self._keeper.infos(), *flow.lent]
        scope = scope_of(flow, request.tool, recorder.record_id, self._approvals, send)
        try:
            plan = await asyncio.to_thread(self._planner.plan, request, infos)
            if plan.asks:
                plan = await approved(plan, flow, scope, self._workspace)
        except Ended as denial:
            return await recorder.denied(request.id, denial)
        await recorder.allowed(plan)
        if request.dry_run:
            return Finished(
                id=request.id,
                exit_code=0,
                duration=0.0,
                record_id=recorder.record_id,
                notes=dry_run_notes(plan),
            )
        self._news.started(flow, plan, recorder)
        try:
            outcome = await self._run(flow, plan, recorder.record_id, send, scope)
            if flow.stopped and outcome.failure and outcome.failure[0] == "CommandCancelled":
                who = f"A person stopped {plan.tool.name}; files it wrote were discarded."
                outcome.failure = "CommandCancelled", who
        finally:
            self._news.ended(recorder.record_id)
            await scope.close()
        try:
            reply = await recorder.result(request, outcome, await self._keeper.patterns())
            self._news.finished(recorder.record_id, reply)
            return reply
        except AuditUnavailable as error:
            _log.error("audit: %s", error)
            return Failed(
                id=request.id,
                kind="SidecarUnavailable",
                message="The command ran, but its result can't be recorded in the audit log, so it "
                "isn't passed on.",
                record_id=recorder.record_id,
                duration=outcome.duration,
                redactions=outcome.redactions,
            )

    async def _run(
        self, flow: Flow, plan: Plan, record_id: str, send: Send, scope: Scope
    ) -> Outcome:
        request = flow.request
        stdin: int | None = None
        terminal: Terminal | None = None

        async def waiting(echo: bool) -> None:
            await send(Waiting(id=request.id, echo=echo))

        try:
            if flow.keyboard is not None:
                terminal = Terminal(flow.keyboard, waiting)
            stdin = await standard_input(flow)
            entries, _ = await self._keeper.fetch([each.name for each in plan.credentials])
            entries = await self._sessions.instead(
                entries,
                plan.tool,
                plan.checked,
                timeout=plan.timeout,
                cell=request.cell,
                record=record_id,
            )
            # Sessions are known by now, too.
            patterns = await self._keeper.patterns()
            delivered = deliver(plan.tool, entries, self._book)
            if any(info.kind == "aws" for info in delivered.proxied):
                await read_models(plan.tool.model_path)
            way_out, upstream, home = self._way_out(plan.tool, delivered, request, record_id, scope)
            order = Order(
                tool=plan.tool,
                argv=plan.checked.argv,
                cwd=plan.cwd,
                timeout=plan.timeout,
                isolated=request.isolated,
                stdin=stdin,
                way_out=way_out,
                upstream=upstream,
                variables=delivered.variables,
                home=home,
                patterns=patterns,
                files=plan.files(),
                terminal=terminal,
            )

            async def emit(stream: Stream, text: str) -> None:
                await flow.credit.take(len(text.encode()))
                await send(Output(id=request.id, stream=stream, data=text))

            async def started() -> None:
                self.started += 1
                await send(Started(id=request.id, record_id=record_id))

            return await self._commands.run(
                order, emit=emit, cancelled=flow.cancelled, started=started
            )
        except Ended as ended:
            return Outcome((ended.kind, ended.message))
        except Refused as refused:
            return Outcome((refused.kind, refused.message))
        except VaultError as error:
            _log.error("vault: %s", error)
            return Outcome(("SidecarUnavailable", NO_VAULT))
        except ConnectionError:
            return Outcome(("SidecarUnavailable", "The kernel went away."))
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            _log.error("request %d: %s at %s", request.id, reason, place(error))
            return Outcome(("SidecarUnavailable", f"The command could not be run here: {reason}."))
        finally:
            if stdin is not None:
                os.close(stdin)
            if terminal is not None:
                terminal.close()

    def _way_out(
        self, tool: Tool, delivered: Delivered, request: Exec, record_id: str, scope: Scope
    ) -> tuple[WayOut, str, dict[str, str]]:
        """The way out of a tool, the URL in its service's place, and the files of its HOME."""
        if tool.delivery != "proxy":
            return *self._ways.around(tool), dict(delivered.files)
        trusted = self._ways.trusted_by(tool, delivered.proxied)
        way_out = self._ways.through_proxy(
            tool.name,
            tool.hosts,
            delivered.proxied,
            record=record_id,
            model_path=tool.model_path,
            allow_operations=tool.allow_operations,
            facts={
                "cell_hash": request.cell.cell_hash,
                "execution_count": request.cell.execution_count or 0,
            },
            scope=scope,
        )
        return way_out, "", {**delivered.files, CERTIFICATES: trusted}
