"""One call's life: plan, record, fetch the credential, make the call, sanitize, record, answer.

:mod:`keyless_sidecar.channel` calls :meth:`CallRunner.serve` in a task for each ``Call``.  Whatever
happens, exactly one ``CallFinished`` or ``Failed`` goes out, and its record is on disk before (T8).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from keyless.protocol.calls import SDK, Call, CallFinished, Describe, Description, Piece
from keyless.protocol.messages import FailureKind, Reply, Started
from keyless_sidecar.approvals import Approvals, Scope
from keyless_sidecar.audit import AuditLog
from keyless_sidecar.calls.answers import pieces
from keyless_sidecar.calls.bridge import Abandoned, Bridge
from keyless_sidecar.calls.calling import Made, Means, make
from keyless_sidecar.calls.clients import Clients
from keyless_sidecar.calls.content import Owner
from keyless_sidecar.calls.describing import describe
from keyless_sidecar.calls.ending import Ending, refused_here
from keyless_sidecar.calls.outlet import Outlet
from keyless_sidecar.calls.planning import CallPlan, CallPlanner, facts_of
from keyless_sidecar.calls.progress import Meter, tell
from keyless_sidecar.calls.recording import CallRecorder
from keyless_sidecar.egress.aws.endpoints import read_models
from keyless_sidecar.egress.pool import Pool
from keyless_sidecar.execution.guarding import NO_VAULT, guarded
from keyless_sidecar.execution.news import News
from keyless_sidecar.flow import CallFlow
from keyless_sidecar.keeper import Keeper
from keyless_sidecar.placeholders import PlaceholderBook
from keyless_sidecar.tools import Refused
from keyless_sidecar.vault import VaultError
from keyless_sidecar.ways import AWS_HOSTS, Ways
from keyless_sidecar.workspace import WorkspaceRoot

__all__ = ["CallRunner"]

#: Seconds that a call's thread gets to end after the call was ended.
_LAST = 2.0

Send = Callable[[Reply], Awaitable[None]]
_log = logging.getLogger(__name__)


class CallRunner:
    """Serves ``Call`` requests.  One for each sidecar, owned by the event loop's thread.

    Args:
        planner: decides.
        keeper: vault and patterns.
        audit: where records go.
        ways: makes what requests go through.
        book: of placeholders.
        workspace: for content that is saved.
        owner: of new files there.
        scratch: private folder.
        most: bytes that one call may leave in the workspace.
        threads: calls that are made at once.
        approvals: asks a person where the policy wants one.
        news: tells who listens what runs.
    """

    def __init__(
        self,
        *,
        planner: CallPlanner,
        keeper: Keeper,
        audit: AuditLog,
        ways: Ways,
        book: PlaceholderBook,
        workspace: WorkspaceRoot,
        owner: Owner,
        scratch: Path,
        most: int,
        threads: int,
        approvals: Approvals,
        news: News,
    ) -> None:
        self._approvals = approvals
        self._news = news
        self._planner = planner
        self._keeper = keeper
        self._audit = audit
        self._ways = ways
        self._book = book
        self._workspace = workspace
        self._owner = owner
        self._scratch = scratch
        self._most = most
        self._threads = ThreadPoolExecutor(threads, "keyless-call")
        self._clients = Clients()
        self._pool = Pool()

    async def serve(self, flow: CallFlow, send: Send) -> None:
        """Answer one call.

        Raises:
            ConnectionError: the kernel side is gone.
        """
        await send(await guarded(flow.request.id, self._answer(flow, send)))

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
        self._pool.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------ inside

    async def _answer(self, flow: CallFlow, send: Send) -> Reply:
        request = flow.request
        recorder = CallRecorder(self._audit, await self._keeper.patterns())
        recorder.request(request)
        try:
            infos = await self._keeper.infos()
            try:
                plan = await asyncio.to_thread(self._planner.plan, request, infos)
            except Refused as refused:
                return await recorder.denied(request.id, refused)
            try:
                await recorder.allowed(plan)
                if request.dry_run:
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
        self, flow: CallFlow, plan: CallPlan, recorder: CallRecorder, send: Send
    ) -> Reply:
        await send(Started(id=flow.request.id, record_id=recorder.record_id))
        begun = time.monotonic()
        words = (plan.service, plan.operation.name)
        self._news.called(flow, recorder.record_id, words, plan.credential.name)
        try:
            made = await self._made(flow, plan, recorder.record_id, send)
        except VaultError as error:
            _log.error("vault: %s", error)
            made = Made(failure=("SidecarUnavailable", NO_VAULT))
        finally:
            self._news.ended(recorder.record_id)
        try:
            # Up to date: what the answer was found to hold is known by now.
            recorder.patterns = await self._keeper.patterns()
            ending = Ending(flow.request.id, plan, made, time.monotonic() - begun)
            await ending.clean(recorder, self._workspace, self._owner)
            await ending.record(recorder)
        finally:
            made.close()
        for piece in pieces(ending.data):
            await flow.credit.take(len(piece))
            await send(Piece(id=flow.request.id, data=piece))
        reply = ending.reply(recorder.record_id)
        self._news.finished(recorder.record_id, reply)
        return reply

    async def _made(self, flow: CallFlow, plan: CallPlan, record: str, send: Send) -> Made:
        entry = await self._keeper.entry(plan.credential.name)
        region = plan.region or entry.fields.get("region", "")
        keys = self._book.for_entry(entry.info)
        calling = await self._outlet(plan, flow, record, waits=plan.only_waits)
        polling = calling
        if plan.waiting is not None and not plan.only_waits:
            polling = await self._outlet(plan, flow, record, waits=True)
        bridge = Bridge(asyncio.get_running_loop(), calling.exchange)
        meter = Meter(flow.request.id)
        for upload in plan.uploads:
            upload.moved = _counting(meter, upload.name, upload.size)

        def waits() -> None:
            bridge.exchange = polling.exchange

        means = Means(
            client=lambda: self._clients.get(plan.service, region, keys),
            bridge=bridge,
            waits=waits,
            meter=meter,
            scratch=self._scratch,
            most=self._most,
            # Asked for after the entry: they know its values.
            patterns=await self._keeper.patterns(),
        )
        made = await self._in_thread(flow, plan, means, send)
        refusal = polling.refusal or calling.refusal
        if refusal is not None and made.error is not None:
            refused_here(made, refusal)
        return made

    async def _outlet(self, plan: CallPlan, flow: CallFlow, record: str, *, waits: bool) -> Outlet:
        """What the call's requests go through, or those of the waiting after it."""
        cell = flow.request.cell
        scope = Scope(
            self._approvals,
            tool=SDK,
            record=record,
            cell={"cell_hash": cell.cell_hash, "execution_count": cell.execution_count},
            cancelled=flow.cancelled,
        )
        facts = facts_of(cell)
        client, forwarder = self._ways.direct(
            SDK,
            AWS_HOSTS,
            [plan.credential],
            record=record,
            facts={**facts, "waits": True} if waits else facts,
            pool=self._pool,
            scope=scope,
        )
        await read_models()
        return Outlet(client, forwarder, [plan.credential.name])

    async def _in_thread(self, flow: CallFlow, plan: CallPlan, means: Means, send: Send) -> Made:
        """Make the call; at its time limit or a cancel it is given up."""
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, make, plan, means)
        cancel: asyncio.Future[Any] = asyncio.ensure_future(flow.cancelled.wait())
        ends: set[asyncio.Future[Any]] = {work, cancel}
        telling = asyncio.ensure_future(tell(means.meter, send))
        try:
            await asyncio.wait(ends, timeout=plan.timeout, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                means.bridge.close()
                # What ended in this very moment has ended all the same.
                await asyncio.wait({work}, timeout=_LAST)
            if work.done():
                with contextlib.suppress(Abandoned):
                    return work.result()
        finally:
            means.bridge.close()
            if not work.done():
                work.add_done_callback(_forget)
            cancel.cancel()
            telling.cancel()
            await asyncio.gather(cancel, telling, return_exceptions=True)
        if flow.cancelled.is_set():
            why = "A person stopped the call." if flow.stopped else "The call was cancelled."
            return Made(failure=("CommandCancelled", why))
        return Made(
            failure=(
                "CommandTimeout",
                f"The call took longer than {plan.timeout:g} s; it may have "
                "been made all the same.",
            )
        )


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


def _counting(meter: Meter, name: str, size: int) -> Callable[[int], None]:
    return lambda done: meter.moved(name, done, size)


def _forget(work: asyncio.Future[Made]) -> None:
    """Nobody waits for what a given-up call still comes to."""
    if not work.cancelled() and work.exception() is None:
        work.result().close()
