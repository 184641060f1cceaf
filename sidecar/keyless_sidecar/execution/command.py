"""Runs one allowed command from its sandbox to the files it leaves.  No policy and no audit here.

:mod:`keyless_sidecar.execution.runner` makes an ``Order`` of an allowed request and gets an
``Outcome``, whatever happens to the command.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

from keyless.protocol.messages import FailureKind
from keyless_kernel.confine import Bind, Confiner, WorkspaceMount
from keyless_kernel.confine.cgroups import NoGroup
from keyless_kernel.confine.folders import remove_tree
from keyless_sidecar.execution.acting import acting_as
from keyless_sidecar.execution.budget import Budget, ToolLimits
from keyless_sidecar.execution.child import GATE_TIMEOUT, HOME, PATH, ChildFailed, Spawner
from keyless_sidecar.execution.delivery import CERTIFICATE_VARIABLES, CERTIFICATES
from keyless_sidecar.execution.inputs import MOST_COPIED, Fixed, InputChanged, fix, unchanged
from keyless_sidecar.execution.order import Order, Outcome
from keyless_sidecar.execution.outputs import Collected, OutputLimits, collect
from keyless_sidecar.execution.streams import Emit, merge
from keyless_sidecar.execution.watch import Watch
from keyless_sidecar.printable import printable
from keyless_sidecar.sanitize import Patterns
from keyless_sidecar.workspace import WorkspaceRoot


class Commands:
    """Runs commands.  One for each sidecar, owned by the event loop's thread.

    Args:
        confiner: the isolation in force.
        spawner: starts children.
        workspace: for putting files back.
        workspace_path: host path, for the mount.
        scratch: private folder for overlays.
        limits: what one command may leave in the workspace.
        budgets: makes the limits of each command.
    """

    def __init__(
        self,
        *,
        confiner: Confiner,
        spawner: Spawner,
        workspace: WorkspaceRoot,
        workspace_path: str,
        scratch: Path,
        limits: OutputLimits,
        budgets: ToolLimits,
    ) -> None:
        self._confiner = confiner
        self._spawner = spawner
        self._workspace = workspace
        self._workspace_path = workspace_path
        self._scratch = scratch
        self._limits = limits
        self._budgets = budgets

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
        folder = self._scratch / f"run-{order.number}"
        mount = self._mount(order, folder, outcome)
        inputs = Fixed(mount.layer)
        budget: Budget | None = None
        try:
            try:
                if mount.layer:
                    inputs = await asyncio.to_thread(
                        fix, order.files, self._workspace, Path(mount.layer)
                    )
                else:
                    await asyncio.to_thread(unchanged, order.files, self._workspace)
                budget = self._budgets.budget(
                    mount, private="" if self._confiner.own_folders else str(self._scratch)
                )
                if order.tool.rules == "plain":
                    outcome.notes += [_read_only(path) for path, _ in inputs.bound]
                await self._in_sandbox(
                    order, mount, inputs, budget, outcome, emit, cancelled, started
                )
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
            if mount.mode == "overlay" and outcome.failure is None:
                collected = await asyncio.to_thread(self._collect, mount.upper, order.patterns)
                outcome.files = collected.files
                outcome.notes += collected.notes
                outcome.redactions = merge(outcome.redactions, collected.redactions)
        finally:
            inputs.close()
            if budget is not None:
                await asyncio.to_thread(budget.close)
            await asyncio.to_thread(remove_tree, folder)
        return outcome

    def _mount(self, order: Order, folder: Path, outcome: Outcome) -> WorkspaceMount:
        if not order.isolated:
            outcome.notes.append(
                "Not isolated: the tool wrote into the workspace directly, and what it wrote was "
                "not searched for secrets."
            )
            return WorkspaceMount(self._workspace_path, "rw")
        if not self._confiner.overlay:
            better, how = "bubblewrap 0.11 or newer", " (pip install 'keyless[bwrap]')"
            if not self._confiner.own_folders:
                better, how = "an isolation level with namespaces", ""
            outcome.notes.append(
                f"The workspace was read-only for the tool: files come back with {better}{how}."
            )
            if any(file.use == "read" for file in order.files):
                outcome.notes.append(
                    "The files that the command names were read as they were when it opened them; "
                    f"{better} holds them as they were checked."
                )
            return WorkspaceMount(self._workspace_path, "ro")
        upper, work, layer = folder / "upper", folder / "work", folder / "inputs"
        folder.mkdir(mode=0o700)
        layer.mkdir(mode=0o755)
        for each in (upper, work):
            each.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(each, self._confiner.uid, self._confiner.gid)
        # The merged root takes its mode from here.
        upper.chmod(0o755)
        return WorkspaceMount(self._workspace_path, "overlay", str(upper), str(work), str(layer))

    async def _in_sandbox(
        self,
        order: Order,
        mount: WorkspaceMount,
        inputs: Fixed,
        budget: Budget,
        outcome: Outcome,
        emit: Emit,
        cancelled: asyncio.Event,
        started: Callable[[], Awaitable[None]],
    ) -> None:
        private = ""
        if not self._confiner.own_folders:
            folder = self._scratch / f"run-{order.number}"
            folder.mkdir(mode=0o700)
            folder.chmod(0o711)  # the sandbox's user passes through it
            private = str(folder)
        home = self._confiner.home_path(HOME, private)
        temporary = self._confiner.temporary_path(private)
        child = await self._spawner.spawn(
            workspace=mount,
            private=private,
            workspace_files=inputs.bound,
            binds=[Bind(path, path) for path in order.tool.binds],
            stdin=subprocess.DEVNULL if order.stdin is None else order.stdin,
            proc=order.tool.proc,
            unix_sockets=order.tool.unix_sockets,
            terminal=order.terminal,
            limits=budget.process_limits,
            cgroup=budget.entry,
        )
        try:
            listener = await asyncio.wait_for(child.take_listener(), GATE_TIMEOUT)
            gate = order.way_out(listener, child.token)
            try:
                await gate.start()
                await asyncio.wait_for(
                    child.execute(
                        (order.tool.path, *order.tool.arguments, *order.argv),
                        _environment(order, child.port, home, temporary),
                        f"{self._workspace.inside}/{order.cwd}".rstrip("/"),
                        order.home,
                    ),
                    GATE_TIMEOUT,
                )
                async with order.terminal.served() if order.terminal else contextlib.nullcontext():
                    await Watch(child, order, outcome, cancelled, budget).run(emit, started)
            finally:
                await gate.close()
                outcome.refused = dict(gate.refused)
                outcome.notes += gate.notes()
        finally:
            await child.close()

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
