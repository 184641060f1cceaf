"""Runs one allowed command from its sandbox to the files it leaves.  No policy and no audit here.

:mod:`keyless_sidecar.execution.runner` makes an ``Order`` of an allowed request and gets an
``Outcome``, whatever happens to the command.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable

from keyless.protocol.messages import FailureKind
from keyless_kernel.confine import Confiner
from keyless_kernel.confine.cgroups import NoGroup
from keyless_sidecar.execution.acting import acting_as
from keyless_sidecar.execution.child import GATE_TIMEOUT, HOME, PATH, ChildFailed
from keyless_sidecar.execution.delivery import CERTIFICATE_VARIABLES, CERTIFICATES
from keyless_sidecar.execution.inputs import MOST_COPIED, InputChanged
from keyless_sidecar.execution.order import Order, Outcome
from keyless_sidecar.execution.outputs import Collected, OutputLimits, collect
from keyless_sidecar.execution.place import Mode, Place
from keyless_sidecar.execution.ready import Places
from keyless_sidecar.execution.streams import Emit, merge
from keyless_sidecar.execution.watch import Watch
from keyless_sidecar.printable import printable
from keyless_sidecar.sanitize import Patterns
from keyless_sidecar.workspace import WorkspaceRoot


class Commands:
    """Runs commands.  One for each sidecar, owned by the event loop's thread.

    Args:
        confiner: the isolation in force.
        places: makes sandboxes.
        workspace: for putting files back.
        limits: what one command may leave in the workspace.
    """

    def __init__(
        self,
        *,
        confiner: Confiner,
        places: Places,
        workspace: WorkspaceRoot,
        limits: OutputLimits,
    ) -> None:
        self._confiner = confiner
        self._places = places
        self._workspace = workspace
        self._limits = limits

    async def run(
        self,
        order: Order,
        *,
        emit: Emit,
        cancelled: asyncio.Event,
        started: Callable[[], Awaitable[None]],
    ) -> Outcome:
        """Run one command; everything it started is gone when this returns or raises.

        Args:
            order: what to run.
            emit: takes its output.
            cancelled: set to interrupt it.
            started: called when the tool has been started.
        """
        outcome = Outcome()
        mode = self._places.mode(isolated=order.isolated)
        outcome.notes += self._seen(order, mode)
        try:
            place = await self._places.take(
                order.tool, mode, order.files, terminal=order.terminal is not None
            )
            outcome.start = "warm" if place.child.warm else "cold"
            outcome.ready, outcome.cold_because = place.ready, place.cold_because
            try:
                if order.tool.rules == "plain":
                    outcome.notes += [_read_only(path) for path, _ in place.inputs.bound]
                try:
                    await self._in_sandbox(order, place, outcome, emit, cancelled, started)
                finally:
                    await place.child.close()
                if mode == "overlay" and outcome.failure is None:
                    await self._put_back(order, place, outcome)
            finally:
                await self._places.give_back(place, order.tool)
        except NoGroup as error:
            outcome.failure = (
                "SidecarUnavailable",
                "The tool's limits can't be put in force; the audit record holds the reason.",
            )
            outcome.detail = str(error)
        except InputChanged as error:
            outcome.failure = ("InvalidRequest", str(error))
        except ChildFailed as error:
            kind: FailureKind = "InvalidRequest" if error.request else "SidecarUnavailable"
            outcome.failure, outcome.detail = (kind, str(error)), error.detail
        except TimeoutError:
            outcome.failure = (
                "SidecarUnavailable",
                "The sandbox for the tool did not come up in time; try again.",
            )
        return outcome

    def _seen(self, order: Order, mode: Mode) -> list[str]:
        """What the person should know of how the workspace appears."""
        if mode == "overlay":
            return []
        if mode == "rw":
            return [
                "Not isolated: the tool wrote into the workspace directly, and what it wrote was "
                "not searched for secrets."
            ]
        better, how = "bubblewrap 0.11 or newer", " (pip install 'keyless[bwrap]')"
        if not self._confiner.own_folders:
            better, how = "an isolation level with namespaces", ""
        notes = [f"The workspace was read-only for the tool: files come back with {better}{how}."]
        if any(file.use == "read" for file in order.files):
            notes.append(
                "The files that the command names were read as they were when it opened them; "
                f"{better} holds them as they were checked."
            )
        return notes

    async def _in_sandbox(
        self,
        order: Order,
        place: Place,
        outcome: Outcome,
        emit: Emit,
        cancelled: asyncio.Event,
        started: Callable[[], Awaitable[None]],
    ) -> None:
        child = place.child
        private = "" if self._confiner.own_folders else str(place.folder)
        home = self._confiner.home_path(HOME, private)
        temporary = self._confiner.temporary_path(private)
        gate = order.way_out(child.take_listener(), child.token)
        tool = order.tool
        words = tool.script_words if child.warm else (tool.path, *tool.arguments)
        try:
            await gate.start()
            await asyncio.wait_for(
                child.execute(
                    (*words, *order.argv),
                    _environment(order, child.port, home, temporary),
                    f"{self._workspace.inside}/{order.cwd}".rstrip("/"),
                    order.home,
                    stdin=order.stdin,
                    terminal=order.terminal,
                ),
                GATE_TIMEOUT,
            )
            async with order.terminal.served() if order.terminal else contextlib.nullcontext():
                await Watch(child, order, outcome, cancelled, place.budget).run(emit, started)
        finally:
            await gate.close()
            outcome.refused = dict(gate.refused)
            outcome.notes += gate.notes()

    async def _put_back(self, order: Order, place: Place, outcome: Outcome) -> None:
        """Search what it wrote, and put that into the workspace."""
        collected = await asyncio.to_thread(self._collect, place.mount.upper, order.patterns)
        outcome.files = collected.files
        outcome.notes += collected.notes
        outcome.redactions = merge(outcome.redactions, collected.redactions)

    def _collect(self, upper: str, patterns: Patterns) -> Collected:
        uid, gid = self._confiner.uid, self._confiner.gid
        # Opened as ourselves: the scratch folder above it is closed to the sandbox's user.
        descriptor = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with acting_as(uid, gid):
                return collect(
                    descriptor, self._workspace, patterns, self._limits, uid=uid, gid=gid
                )
        finally:
            os.close(descriptor)


def _read_only(path: str) -> str:
    limit = MOST_COPIED // 1024**2
    return f"{printable(path)} was read-only for the tool: files over {limit} MiB are not copied."


def _environment(order: Order, port: int, home: str, temporary: str) -> dict[str, str]:
    """The tool's whole environment; the later ones win."""
    proxy = f"http://127.0.0.1:{port}"
    values = {"LANG": "C.UTF-8", "TMPDIR": temporary}
    if order.terminal is not None:
        values["TERM"] = "dumb"  # a notebook moves no cursor
    values |= order.tool.environment
    values |= {"HOME": home, "PATH": PATH}
    values |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy)
    if order.upstream and order.tool.rules == "aws":
        values["AWS_ENDPOINT_URL"] = order.upstream
    if "PGPORT" in order.variables:  # a database: the listener is its broker
        return {**values, **order.variables, "PGPORT": str(port)}
    if CERTIFICATES in order.home:
        values |= dict.fromkeys(CERTIFICATE_VARIABLES, f"{home}/{CERTIFICATES}")
    return values | dict(order.variables)
