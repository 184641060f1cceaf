"""One call's life: plan, record, fetch the credential, make the call, sanitize, record, answer.

:mod:`keyless_sidecar.channel` calls :meth:`CallRunner.serve` in a task for each ``Call``.  Whatever
happens, exactly one ``CallFinished`` or ``Failed`` goes out, and its record is on disk before (T8).
"""

from __future__ import annotations

import asyncio
import logging
import time

from keyless.protocol.calls import Call, CallFinished, Describe, Description, Piece
from keyless.protocol.messages import FailureKind, Reply, Started
from keyless_sidecar.audit import AuditLog
from keyless_sidecar.calls.answers import pieces
from keyless_sidecar.calls.content import Owner
from keyless_sidecar.calls.describing import describe
from keyless_sidecar.calls.ending import Ending
from keyless_sidecar.calls.made import Made
from keyless_sidecar.calls.making import Maker
from keyless_sidecar.calls.planning import CallPlan, CallPlanner
from keyless_sidecar.calls.recording import CallRecorder
from keyless_sidecar.execution.guarding import NO_VAULT, guarded
from keyless_sidecar.execution.news import News
from keyless_sidecar.flow import CallFlow, SendMany
from keyless_sidecar.keeper import Keeper
from keyless_sidecar.later import Later
from keyless_sidecar.tools import Refused
from keyless_sidecar.vault import VaultError
from keyless_sidecar.workspace import WorkspaceRoot

__all__ = ["CallRunner"]


#: Seconds that a call may take until somebody hears that it was begun.
_WHILE = 0.005
_log = logging.getLogger(__name__)


class CallRunner:
    """Serves ``Call`` requests.  One for each sidecar, owned by the event loop's thread.

    Args:
        planner: decides.
        keeper: vault and patterns.
        audit: where records go.
        maker: makes what is allowed; closed with this.
        workspace: for content that is saved.
        owner: of new files there.
        news: tells who listens what runs.
    """

    def __init__(
        self,
        *,
        planner: CallPlanner,
        keeper: Keeper,
        audit: AuditLog,
        maker: Maker,
        workspace: WorkspaceRoot,
        owner: Owner,
        news: News,
    ) -> None:
        self._news = news
        self._planner = planner
        self._keeper = keeper
        self._audit = audit
        self._workspace = workspace
        self._owner = owner
        self._maker = maker

    async def serve(self, flow: CallFlow, send: SendMany) -> None:
        """Answer one call.

        Raises:
            ConnectionError: the kernel side is gone.
        """
        reply = await guarded(flow.request.id, self._answer(flow, send))
        await send(*flow.last, reply)

    async def refuse(self, request: Call, kind: FailureKind, message: str, rule: str) -> Reply:
        """Record and answer a call that isn't even looked at (too many under way, say)."""

        async def answer() -> Reply:
            recorder = CallRecorder(self._audit, await self._keeper.patterns())
            recorder.request(request)
            return await recorder.denied(request.id, Refused("InvalidRequest", message, rule))

        return await guarded(request.id, answer())

    async def describe(self, question: Describe) -> Description:
        """Names and documentation of what can be called."""
        return await asyncio.to_thread(describe, question)

    def close(self) -> None:
        """End idle connections, and let the threads end."""
        self._maker.close()

    # ------------------------------------------------------------------ inside

    async def _answer(self, flow: CallFlow, send: SendMany) -> Reply:
        request = flow.request
        recorder = CallRecorder(self._audit, await self._keeper.patterns())
        recorder.request(request)
        try:
            infos = await self._keeper.infos()
            try:
                if self._planner.is_quick(request):
                    plan = self._planner.plan(request, infos)
                else:
                    plan = await asyncio.to_thread(self._planner.plan, request, infos)
            except Refused as refused:
                return await recorder.denied(request.id, refused)
            try:
                recorder.allowed(plan)
                if request.dry_run:
                    await recorder.on_disk()
                    return _dry_run(request, plan, recorder)
                return await self._call(flow, plan, recorder, send)
            finally:
                plan.close()
        except asyncio.CancelledError:
            recorder.stopped()
            raise
        except Exception:  # whoever hears of it hears of what is on disk
            await recorder.on_disk()
            raise

    async def _call(
        self, flow: CallFlow, plan: CallPlan, recorder: CallRecorder, send: SendMany
    ) -> Reply:
        begun = time.monotonic()
        started = Started(id=flow.request.id, record_id=recorder.record_id)
        told = False
        telling = Later(_WHILE, lambda: self._tell(flow, plan, recorder, send, started))
        try:
            made = await self._maker.make(flow, plan, recorder, send)
        except VaultError as error:
            _log.error("vault: %s", error)
            made = Made(failure=("SidecarUnavailable", NO_VAULT))
        finally:
            told = await telling.end()
            self._news.ended(recorder.record_id)
        try:
            # Up to date: what the answer was found to hold is known by now.
            recorder.patterns = await self._keeper.patterns()
            ending = Ending(flow.request.id, plan, made, time.monotonic() - begun)
            await ending.clean(recorder, self._workspace, self._owner)
            await ending.record(recorder)
        finally:
            made.close()
        parts: list[Reply] = [] if told else [started]
        for piece in pieces(ending.data):
            if len(parts) > 1:
                await send(*parts)
                parts = []
            await flow.credit.take(len(piece))
            parts.append(Piece(id=flow.request.id, data=piece))
        reply = ending.reply(recorder.record_id)
        self._news.finished(recorder.record_id, reply)
        flow.last = parts
        return reply

    async def _tell(
        self,
        flow: CallFlow,
        plan: CallPlan,
        recorder: CallRecorder,
        send: SendMany,
        started: Started,
    ) -> None:
        """Say that the call was allowed, if it takes a while; else that goes with the answer."""
        await recorder.on_disk()
        words = (plan.service, plan.operation.name)
        self._news.called(flow, recorder.record_id, words, plan.credential.name)
        await send(started)


def _dry_run(request: Call, plan: CallPlan, recorder: CallRecorder) -> Reply:
    return CallFinished(
        id=request.id,
        service=plan.service,
        operation=plan.operation.name,
        duration=0.0,
        record_id=recorder.record_id,
        notes=[
            f"Dry run: {plan.name} would be allowed by the rule {plan.rule}.",
            f"It would be called with {plan.credential.name} for at most {plan.timeout:g} s.",
        ],
    )
