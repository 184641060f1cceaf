"""Sandboxes for commands: made when one is needed, and some beforehand.

:mod:`keyless_sidecar.execution.command` takes one for each command and gives it back.  A sandbox is
used for one command only.  After a command one or two more like its own are made, so that the next
command of that tool finds its sandbox waiting; nothing of a command is in them.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from keyless_kernel.confine import Bind, WorkspaceMount
from keyless_kernel.confine.cgroups import NoGroup
from keyless_kernel.confine.metering import Clock
from keyless_sidecar.execution.budget import Budget, ToolLimits
from keyless_sidecar.execution.child import Child, ChildFailed
from keyless_sidecar.execution.inputs import Fixed, InputChanged, fix, unchanged
from keyless_sidecar.execution.place import Mode, Place, free, mounted, must_hold, shows
from keyless_sidecar.execution.spawner import Room, Spawner
from keyless_sidecar.tools import CheckedFile, Tool
from keyless_sidecar.warm import Cold, Zygote, Zygotes, join
from keyless_sidecar.workspace import WorkspaceRoot

#: Seconds after a command before sandboxes for the next ones are made: its answer goes first.
_BREATH = 0.01
#: Seconds between two looks at what idles.
_PERIOD = 15.0
#: Seconds between two looks at each file of a warm tool.
_LOOK_AGAIN = 2.0
#: Tools that sandboxes are kept ready for: those that were used last.
_TOOLS = 3

_log = logging.getLogger(__name__)


class Places:
    """Makes sandboxes.  One for each sidecar, owned by the event loop's thread.

    Args:
        spawner: starts them.
        zygotes: of warm tools.
        workspace: for the files that a command names.
        workspace_path: host path, for the mount.
        scratch: private folder for overlays.
        budgets: makes the limits of each command.
        ready: sandboxes to keep ready for a tool; 0 for none.
        idle: seconds after which those that nothing used are given up.
    """

    def __init__(
        self,
        *,
        spawner: Spawner,
        zygotes: Zygotes,
        workspace: WorkspaceRoot,
        workspace_path: str,
        scratch: Path,
        budgets: ToolLimits,
        ready: int,
        idle: float,
    ) -> None:
        self._spawner = spawner
        self._confiner = spawner.confiner
        self._zygotes = zygotes
        self._workspace = workspace
        self._workspace_path = workspace_path
        self._scratch = scratch
        self._budgets = budgets
        self._most = ready
        self._idle = idle
        self._numbers = itertools.count(1)
        self._ready: dict[str, list[Place]] = {}
        self._used: dict[str, float] = {}
        self._making: dict[str, int] = {}
        self._looks = Clock(_LOOK_AGAIN)
        self._tasks: set[asyncio.Task[None]] = set()
        self._tidying: asyncio.TimerHandle | None = None
        self._closed = False

    def mode(self, *, isolated: bool) -> Mode:
        """How a command sees the workspace."""
        if not isolated:
            return "rw"
        return "overlay" if self._confiner.overlay else "ro"

    async def take(
        self, tool: Tool, mode: Mode, files: Sequence[CheckedFile], *, terminal: bool
    ) -> Place:
        """A sandbox for one command; :meth:`give_back` it.

        Args:
            tool: of the command.
            mode: how it sees the workspace.
            files: what the command reads and writes there.
            terminal: whether it gets a terminal.

        Raises:
            ChildFailed: it can't be made.
            InputChanged: a file is no longer what the rules saw.
            NoGroup: its limits can't be put in force.
            TimeoutError: it took too long.
        """
        zygote, cold = await self._zygote(tool)
        waiting = self._ready.get(tool.name, []) if mode != "rw" and not terminal else []
        while waiting:
            place = waiting.pop(0)
            place.cold_because = cold
            usable = False
            try:
                usable = place.zygote is zygote and place.child.alive
                usable = usable and await self._hold(place, files)
                if usable:
                    return place
            finally:
                if not usable:
                    self._later(self._discard(place))
        return await self._make(tool, mode, files, zygote, cold, terminal=terminal)

    async def give_back(self, place: Place, tool: Tool) -> None:
        """Its command has ended.  Everything in it is gone when this returns."""
        await place.child.close()
        place.inputs.close()
        self._later(free(place.budget, place.folder))
        if not self._closed:
            loop = asyncio.get_running_loop()
            loop.call_later(_BREATH, self.prepare, tool)

    def prepare(self, tool: Tool) -> None:
        """Make a sandbox for the next command of a tool, in the background."""
        if not self._closed:
            self._used[tool.name] = asyncio.get_running_loop().time()
            self._prepare(tool)

    async def close(self) -> None:
        """Give up all that wait."""
        self._closed = True
        if self._tidying is not None:
            self._tidying.cancel()
        for task in self._tasks - {asyncio.current_task()}:
            if task.get_name() == "preparing":
                task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*map(self._discard, itertools.chain(*self._ready.values())))
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._ready.clear()
        self._zygotes.close()

    # ------------------------------------------------------------------ making

    async def _make(
        self,
        tool: Tool,
        mode: Mode,
        files: Sequence[CheckedFile],
        zygote: Zygote | None,
        cold: str,
        *,
        terminal: bool,
    ) -> Place:
        folder = self._scratch / f"run-{next(self._numbers)}"
        mount = mounted(self._confiner, self._workspace_path, folder, mode)
        inputs = Fixed(mount.layer)
        budget: Budget | None = None
        try:
            inputs = await self._inputs(mount, files)
            private = "" if self._confiner.own_folders else str(self._scratch)
            budget = self._budgets.budget(mount, private=private)
            room = Room(
                workspace=mount,
                private="" if self._confiner.own_folders else str(folder),
                workspace_files=tuple(inputs.bound),
                binds=tuple(Bind(path, path) for path in tool.binds),
                proc=tool.proc,
                unix_sockets=tool.unix_sockets,
                terminal=terminal,
                limits=budget.process_limits,
                cgroup=budget.entry,
            )
            child, cold = await self._child(room, zygote, cold)
        except BaseException:
            inputs.close()
            self._later(free(budget, folder))
            raise
        return Place(folder, mount, inputs, budget, child, zygote if child.warm else None, cold)

    async def _hold(self, place: Place, files: Sequence[CheckedFile]) -> bool:
        """Hold a command's files in a sandbox that waits; whether it shows all of them.

        Nothing has looked into its workspace yet, so it finds what is put into a layer of it now.
        A large file would have to be mounted, which only bubblewrap does, at the beginning.
        """
        if place.mount.layer and not must_hold(files):
            return True
        place.inputs = await self._inputs(place.mount, files)
        if not place.mount.layer:
            return True
        return not place.inputs.bound and await asyncio.to_thread(shows, place)

    async def _inputs(self, mount: WorkspaceMount, files: Sequence[CheckedFile]) -> Fixed:
        """A command's files, held; where no layer can hold them, they are looked at once more."""
        if mount.layer:
            return await asyncio.to_thread(fix, files, self._workspace, Path(mount.layer))
        if any(file.sha256 for file in files):
            await asyncio.to_thread(unchanged, files, self._workspace)
        return Fixed("")

    async def _child(self, room: Room, zygote: Zygote | None, cold: str) -> tuple[Child, str]:
        """What waits in the sandbox, and why it is cold where it might be warm."""
        if zygote is not None:
            try:
                return await join(self._spawner, zygote, room), ""
            except ChildFailed as error:
                cold = error.detail
                zygote.retire()  # the next command gets a new one
                _log.warning("a warm tool failed: %s", cold)
        return await self._spawner.spawn(room), cold

    async def _zygote(self, tool: Tool) -> tuple[Zygote | None, str]:
        """The tool's zygote, or why there is none where there might be one."""
        try:
            return await self._zygotes.get(tool), ""
        except Cold as error:
            return None, str(error)

    # ------------------------------------------------------------------ beforehand

    def _prepare(self, tool: Tool) -> None:
        """Make what is missing of the sandboxes that wait for this tool."""
        if self._closed:  # since one of them was begun
            return
        if self._tidying is None:
            self._tidying = asyncio.get_running_loop().call_later(_PERIOD, self._tidy)
        for name in sorted(self._used, key=self._used.__getitem__, reverse=True)[_TOOLS:]:
            self._give_up(name)
        waiting = len(self._ready.get(tool.name, [])) + self._making.get(tool.name, 0)
        if waiting < self._most:
            self._later(self._add(tool), "preparing")
        if tool.warm and self._looks.due():
            self._later(asyncio.to_thread(self._zygotes.look_again, tool))

    async def _add(self, tool: Tool) -> None:
        self._making[tool.name] = self._making.get(tool.name, 0) + 1
        try:
            zygote, cold = await self._zygote(tool)
            place = await self._make(
                tool, self.mode(isolated=True), (), zygote, cold, terminal=False
            )
        except (ChildFailed, InputChanged, NoGroup, OSError) as error:
            # The next command makes its own, or says why it can't.
            _log.debug("no sandbox beforehand: %s", error)
            return
        finally:
            self._making[tool.name] -= 1
        place.ready = True
        self._ready.setdefault(tool.name, []).append(place)
        self._prepare(tool)

    def _give_up(self, name: str) -> None:
        self._used.pop(name, None)
        for place in self._ready.pop(name, []):
            self._later(self._discard(place))

    def _tidy(self) -> None:
        loop = asyncio.get_running_loop()
        for name, used in list(self._used.items()):
            if loop.time() - used > self._idle:
                self._give_up(name)
        self._zygotes.end_idle(self._idle)
        self._tidying = loop.call_later(_PERIOD, self._tidy)

    # ------------------------------------------------------------------ ending

    async def _discard(self, place: Place) -> None:
        await place.child.close()
        place.inputs.close()
        await free(place.budget, place.folder)

    def _later(self, work: Coroutine[Any, Any, None], name: str = "") -> None:
        task = asyncio.get_running_loop().create_task(work, name=name or None)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a sandbox could not be cleared away: %s", error)
