"""Makes one allowed call: its credential, the way out of its requests, its thread, its time limit.

:mod:`keyless_sidecar.calls.runner` owns the one :class:`Maker`; what happens in the thread is in
:mod:`keyless_sidecar.calls.calling`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyless.protocol.calls import SDK
from keyless.protocol.messages import Reply
from keyless_sidecar.approvals import Approvals, Scope
from keyless_sidecar.calls.bridge import Abandoned, Bridge
from keyless_sidecar.calls.ending import refused_here
from keyless_sidecar.calls.made import Made, Means
from keyless_sidecar.calls.outlet import Outlet
from keyless_sidecar.calls.planning import CallPlan, facts_of
from keyless_sidecar.calls.progress import PAUSE, Meter, tell
from keyless_sidecar.calls.recording import CallRecorder
from keyless_sidecar.egress.aws.endpoints import read_models
from keyless_sidecar.egress.pool import Pool
from keyless_sidecar.flow import CallFlow
from keyless_sidecar.keeper import Keeper
from keyless_sidecar.later import Later
from keyless_sidecar.placeholders import AwsKeys, PlaceholderBook
from keyless_sidecar.ways import AWS_HOSTS, Ways

if TYPE_CHECKING:
    from keyless_sidecar.calls.clients import Clients

__all__ = ["Maker"]

#: Seconds that a call's thread gets to end after the call was ended.
_LAST = 2.0

Send = Callable[[Reply], Awaitable[None]]


class Maker:
    """Makes calls.  One for each sidecar, owned by the event loop's thread.

    Args:
        keeper: vault and patterns.
        ways: makes what requests go through.
        book: of placeholders.
        approvals: asks a person where the policy wants one.
        scratch: private folder.
        most: bytes that one call may leave in the workspace.
        threads: calls that are made at once.
    """

    def __init__(
        self,
        *,
        keeper: Keeper,
        ways: Ways,
        book: PlaceholderBook,
        approvals: Approvals,
        scratch: Path,
        most: int,
        threads: int,
    ) -> None:
        self._keeper = keeper
        self._ways = ways
        self._book = book
        self._approvals = approvals
        self._scratch = scratch
        self._most = most
        self._threads = ThreadPoolExecutor(threads, "keyless-call")
        self._turn = threading.Lock()
        self._clients: Clients | None = None
        self._pool = Pool()
        self._forwarder = ways.forwarder(AWS_HOSTS, self._pool)

    def close(self) -> None:
        """End idle connections, and let the threads end."""
        self._pool.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def make(
        self,
        flow: CallFlow,
        plan: CallPlan,
        recorder: CallRecorder,
        send: Send,
    ) -> Made:
        """Make a call.

        Its own records may not be on disk yet.  Nothing leaves this process before they are: others
        are asked for a credential after that only, and each request waits for its record, which
        stands behind them in the same file.

        Args:
            flow: the call, and whether it was cancelled.
            plan: of it, allowed.
            recorder: of its records.
            send: tells the kernel side how far it has come.

        Raises:
            VaultError: the credential can't be had.
            AuditUnavailable: the records can't be brought to disk.
        """
        record = recorder.record_id
        region = await self._region(plan, recorder)
        keys = self._book.for_entry(plan.credential)
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
            client=lambda: self._client(plan.service, region, keys),
            bridge=bridge,
            waits=waits,
            meter=meter,
            scratch=self._scratch,
            most=self._most,
            patterns=await self._keeper.patterns(),
        )
        made = await self._in_thread(flow, plan, means, send)
        refusal = polling.refusal or calling.refusal
        if refusal is not None and made.error is not None:
            refused_here(made, refusal)
        return made

    async def _region(self, plan: CallPlan, recorder: CallRecorder) -> str:
        """The call's region; where that isn't known, the credential is read for it.

        Its values are read anew for each request in any case, by the handler.
        """
        name = plan.credential.name
        # Saved content is searched for the values as they are when the call begins.
        known = None if plan.save else self._keeper.plain_field(name, "region")
        if known is None:
            entry = await self._keeper.kept(name)
            if entry is None:
                await recorder.on_disk()
                entry = await self._keeper.entry(name)
            known = entry.fields.get("region", "")
        return plan.region or known

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
        client = self._ways.client(
            SDK,
            [plan.credential],
            record=record,
            facts={**facts, "waits": True} if waits else facts,
            scope=scope,
        )
        await read_models()
        return Outlet(client, self._forwarder, [plan.credential.name])

    def _client(self, service: str, region: str, keys: AwsKeys) -> Any:
        """botocore's client; called in a call's thread."""
        with self._turn:
            if self._clients is None:
                from keyless_sidecar.calls.clients import Clients

                self._clients = Clients()
        return self._clients.get(service, region, keys)

    async def _in_thread(self, flow: CallFlow, plan: CallPlan, means: Means, send: Send) -> Made:
        """Make the call; at its time limit or a cancel it is given up."""
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, _make, plan, means)
        cancel: asyncio.Future[Any] = asyncio.ensure_future(flow.cancelled.wait())
        ends: set[asyncio.Future[Any]] = {work, cancel}
        telling = Later(PAUSE, lambda: tell(means.meter, send))
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
            await telling.end()
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


def _counting(meter: Meter, name: str, size: int) -> Callable[[int], None]:
    return lambda done: meter.moved(name, done, size)


def _make(plan: CallPlan, means: Means) -> Made:
    from keyless_sidecar.calls.calling import make

    return make(plan, means)


def _forget(work: asyncio.Future[Made]) -> None:
    """Nobody waits for what a given-up call still comes to."""
    if not work.cancelled() and work.exception() is None:
        work.result().close()
