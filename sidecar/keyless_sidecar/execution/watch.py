"""Watches one running command: its output, its end, and what ends it early.

Used by :mod:`keyless_sidecar.execution.command`, which has started the child and closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from keyless.protocol.messages import FailureKind
from keyless_sidecar.execution.budget import Budget
from keyless_sidecar.execution.child import Child
from keyless_sidecar.execution.order import Order, Outcome
from keyless_sidecar.execution.streams import Emit, Streams

#: Seconds between the SIGINT of a cancel and the kill.
CANCEL_GRACE = 2.0
#: Seconds in which text that was read already may still go out after a command was ended.
FLUSH_GRACE = 0.5


class Watch:
    """One running command.  Owned by the event loop's thread.

    Args:
        child: running.
        order: what it runs.
        outcome: filled in.
        cancelled: set to interrupt it.
        budget: what it may use.
    """

    def __init__(
        self,
        child: Child,
        order: Order,
        outcome: Outcome,
        cancelled: asyncio.Event,
        budget: Budget,
    ) -> None:
        self._child = child
        self._order = order
        self._outcome = outcome
        self._cancelled = cancelled
        self._budget = budget
        self._trouble: asyncio.Future[FailureKind] = asyncio.get_running_loop().create_future()

    async def run(self, emit: Emit, started: Callable[[], Awaitable[None]]) -> None:
        """Until the command and its output have ended, or one of the limits ends both."""
        order, outcome, begin = self._order, self._outcome, time.monotonic()
        streams = Streams(
            self._child,
            order.patterns,
            order.tool.max_output,
            emit,
            lambda: self._end("OutputLimitExceeded"),
        )
        if order.terminal is not None:
            order.terminal.flush = streams.show_held
        with self._limits():
            exited = asyncio.ensure_future(self._child.wait())
            pumps = asyncio.ensure_future(_announce_then_pump(started, streams))
            try:
                await self._unless_trouble(exited)
                outcome.duration = time.monotonic() - begin
                if not self._trouble.done():
                    self._child.kill()  # what it left running would hold its output open
                    outcome.exit_code = exited.result()
                    await self._unless_trouble(pumps)
                    self._judge(outcome.exit_code)
                if self._trouble.done():
                    await self._stop(exited, pumps)
                    outcome.duration = time.monotonic() - begin
                    outcome.failure = self._failure(self._trouble.result())
            finally:
                exited.cancel()
                await _settle(pumps)
        if order.terminal is not None:
            outcome.typed, dropped = order.terminal.keyboard.typed, order.terminal.keyboard.dropped
            if dropped:
                outcome.notes.append(f"{dropped} typed bytes were dropped: nothing read them.")
        outcome.output = streams.size
        outcome.redactions = streams.redactions
        outcome.notes += streams.notes

    async def _unless_trouble(self, end: asyncio.Future[Any]) -> None:
        """Wait for an end, but no longer than until something must be ended early."""
        ends: set[asyncio.Future[Any]] = {end, self._trouble}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)

    @contextlib.contextmanager
    def _limits(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._order.timeout, self._end, "CommandTimeout")
        cancel = asyncio.ensure_future(self._cancelled.wait())
        cancel.add_done_callback(
            lambda done: None if done.cancelled() else self._end("CommandCancelled")
        )
        look = asyncio.ensure_future(self._look())
        try:
            yield
        finally:
            timer.cancel()
            cancel.cancel()
            look.cancel()

    async def _look(self) -> None:
        """End it as soon as it is seen beyond a limit."""
        while not self._budget.broken(*self._child.pids):
            await asyncio.sleep(self._budget.period)
        self._end("LimitExceeded")

    def _judge(self, exit_code: int) -> None:
        """Whether it ended by itself because of a limit, or met one and went on."""
        if self._trouble.done():
            return
        if self._budget.broken_at_end(exit_code):
            self._trouble.set_result("LimitExceeded")
        else:
            self._outcome.notes += self._budget.notes()

    def _end(self, kind: FailureKind) -> None:
        if not self._trouble.done():
            self._trouble.set_result(kind)

    async def _stop(self, exited: asyncio.Future[int], pumps: asyncio.Future[None]) -> None:
        if self._trouble.result() == "CommandCancelled" and not exited.done():
            self._child.interrupt()
            await asyncio.wait({exited}, timeout=CANCEL_GRACE)
        self._child.kill()
        await asyncio.wait({exited})
        await asyncio.wait({pumps}, timeout=FLUSH_GRACE)

    def _failure(self, kind: FailureKind) -> tuple[FailureKind, str]:
        tool = self._order.tool
        if kind == "CommandTimeout":
            what = f"{tool.name} was ended at its time limit of {self._order.timeout:g} s"
            return kind, f"{what}; files it wrote were discarded. --timeout SECONDS sets another."
        if kind == "OutputLimitExceeded":
            return kind, (
                f"{tool.name} was ended after {tool.max_output} bytes of output, its limit; "
                "let it write into a file or ask for less."
            )
        if kind == "LimitExceeded":
            return kind, f"{tool.name} was ended: {self._budget.words}; its files were discarded."
        return kind, f"{tool.name} was cancelled; files it wrote were discarded."


async def _announce_then_pump(started: Callable[[], Awaitable[None]], streams: Streams) -> None:
    await started()
    await streams.run()


async def _settle(pumps: asyncio.Future[None]) -> None:
    """End the pumps, and raise what made one of them fail (the kernel side went away, say)."""
    pumps.cancel()
    await asyncio.wait({pumps})
    if not pumps.cancelled() and (error := pumps.exception()) is not None:
        raise error
