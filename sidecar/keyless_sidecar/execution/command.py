"""Runs one allowed command from its sandbox to the files it leaves.  No policy and no audit here.

:mod:`keyless_sidecar.execution.runner` makes an ``Order`` of an allowed request and gets an
``Outcome``, whatever happens to the command.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

from keyless.protocol.messages import FailureKind
from keyless_kernel.confine import WORKSPACE, Bind, Confiner, Limits, WorkspaceMount
from keyless_kernel.confine.folders import remove_tree
from keyless_sidecar.execution.acting import acting_as
from keyless_sidecar.execution.child import GATE_TIMEOUT, HOME, PATH, ChildFailed, Spawner
from keyless_sidecar.execution.egress import EgressGate
from keyless_sidecar.execution.order import Order, Outcome
from keyless_sidecar.execution.outputs import Collected, OutputLimits, collect
from keyless_sidecar.execution.streams import Emit, merge
from keyless_sidecar.execution.watch import Watch
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
        connections: open connections of one command.
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
        connections: int,
    ) -> None:
        self._confiner = confiner
        self._spawner = spawner
        self._workspace = workspace
        self._workspace_path = workspace_path
        self._scratch = scratch
        self._limits = limits
        self._connections = connections

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
        try:
            try:
                await self._in_sandbox(order, mount, outcome, emit, cancelled, started)
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
            outcome.notes.append(
                "The workspace was read-only for the tool: files come back with bubblewrap 0.11 "
                "or newer (pip install 'keyless[bwrap]')."
            )
            return WorkspaceMount(self._workspace_path, "ro")
        upper, work = folder / "upper", folder / "work"
        folder.mkdir(mode=0o700)
        for each in (upper, work):
            each.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(each, self._confiner.uid, self._confiner.gid)
        # The merged root takes its mode from here.
        upper.chmod(0o755)
        return WorkspaceMount(self._workspace_path, "overlay", str(upper), str(work))

    async def _in_sandbox(
        self,
        order: Order,
        mount: WorkspaceMount,
        outcome: Outcome,
        emit: Emit,
        cancelled: asyncio.Event,
        started: Callable[[], Awaitable[None]],
    ) -> None:
        child = await self._spawner.spawn(
            workspace=mount,
            binds=[Bind(path, path) for path in order.tool.binds],
            stdin=subprocess.DEVNULL if order.stdin is None else order.stdin,
            proc=order.tool.proc,
            unix_sockets=order.tool.unix_sockets,
            limits=Limits(file_size=max(self._limits.size, 1)),
        )
        try:
            listener = await asyncio.wait_for(child.take_listener(), GATE_TIMEOUT)
            gate = EgressGate(listener, order.allowed, connections=self._connections)
            try:
                await gate.start()
                await asyncio.wait_for(
                    child.execute(
                        (order.tool.path, *order.tool.arguments, *order.argv),
                        _environment(order, child.port),
                        f"{WORKSPACE}/{order.cwd}".rstrip("/"),
                    ),
                    GATE_TIMEOUT,
                )
                await Watch(child, order, outcome, cancelled).run(emit, started)
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


def _environment(order: Order, port: int) -> dict[str, str]:
    """The tool's whole environment; the later ones win."""
    proxy = f"http://127.0.0.1:{port}"
    values = {"LANG": "C.UTF-8", "TMPDIR": "/tmp"}  # noqa: S108 - inside the sandbox
    values |= order.tool.environment
    values |= {"HOME": HOME, "PATH": PATH}
    values |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy)
    if order.upstream and order.tool.rules == "aws":
        values["AWS_ENDPOINT_URL"] = order.upstream
    return values | dict(order.secrets)
