"""Starts and keeps the zygotes: one for each warm tool, from its first use until it idles.

Owned by the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import struct
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from keyless_kernel.confine import (
    Bind,
    ConfinementUnavailable,
    Sandbox,
    WorkspaceMount,
    levels,
    seccomp,
)
from keyless_kernel.confine.cgroups import NoGroup
from keyless_sidecar.execution.budget import ToolLimits
from keyless_sidecar.execution.child import HOME, PATH
from keyless_sidecar.execution.pipes import Pipe
from keyless_sidecar.execution.spawner import Spawner, last_words
from keyless_sidecar.tools import Tool
from keyless_sidecar.warm.packages import Packages
from keyless_sidecar.warm.plan import WarmPlan, program, running, warm_plan
from keyless_sidecar.warm.process import Zygote

#: Seconds for a zygote to import its tool.
START_TIMEOUT = 60.0
#: Seconds after which a zygote that didn't start is tried again.
RETRY = 60.0
#: Bytes of the report that a zygote may send.
_MAX_REPORT = 4 * 1024**2

_log = logging.getLogger(__name__)


class Cold(Exception):
    """A tool can't be had warm now; the message says why, for the record."""


class Zygotes:
    """The zygotes of a sidecar.

    Args:
        spawner: starts their sandboxes.
        budgets: their limits: the same as those of a command.
        enabled: whether any tool is kept warm.
    """

    def __init__(self, spawner: Spawner, budgets: ToolLimits, *, enabled: bool) -> None:
        self._spawner = spawner
        self._budgets = budgets
        self._enabled = enabled
        self._running: dict[str, Zygote] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        self._retired: list[Zygote] = []

    async def get(self, tool: Tool) -> Zygote | None:
        """The zygote of a tool, started where there is none; ``None`` for tools that need none.

        Raises:
            Cold: it can't be had.
        """
        if not (tool.warm and self._enabled):
            return None
        if not self._spawner.confiner.own_network:
            raise Cold("this isolation level has no namespaces that a warm tool could enter")
        async with self._starting.setdefault(tool.name, asyncio.Lock()):
            zygote = self._running.get(tool.name)
            if zygote is not None and zygote.alive and not zygote.packages.changed():
                return zygote
            if zygote is not None:
                self._retire(tool.name)
            since, reason = self._failed.get(tool.name, (-RETRY, ""))
            if time.monotonic() - since < RETRY:
                raise Cold(reason)
            try:
                zygote = await asyncio.wait_for(self._start(tool), START_TIMEOUT)
            except TimeoutError:
                reason = "the tool could not be imported in time"
            except (ConfinementUnavailable, NoGroup, OSError) as error:
                reason = str(error)
            else:
                self._running[tool.name] = zygote
                return zygote
            _log.warning("%s starts cold: %s", tool.name, reason)
            self._failed[tool.name] = (time.monotonic(), reason)
            raise Cold(reason)

    def look_again(self, tool: Tool) -> None:
        """Look at each file that the tool's zygote has loaded.  Blocks for milliseconds."""
        zygote = self._running.get(tool.name)
        if zygote is not None:
            zygote.packages.look()

    def end_idle(self, seconds: float) -> None:
        """End those that nothing used for so long."""
        now = time.monotonic()
        for name, zygote in list(self._running.items()):
            if zygote.users == 0 and now - zygote.used > seconds:
                self._retire(name)

    def close(self) -> None:
        """End them all."""
        for zygote in (*self._running.values(), *self._retired):
            zygote.close()
        self._running.clear()
        self._retired.clear()

    def _retire(self, name: str) -> None:
        zygote = self._running.pop(name)
        zygote.retire()
        self._retired = [each for each in (*self._retired, zygote) if each.users]

    async def _start(self, tool: Tool) -> Zygote:
        plan = warm_plan(tool)
        confiner = self._spawner.confiner
        budget = self._budgets.budget(WorkspaceMount("", "ro"))
        with contextlib.ExitStack() as undo:
            undo.callback(budget.close)
            control, theirs = socket.socketpair()
            err = Pipe()
            for each in (control, theirs, err):
                undo.callback(each.close)
            control.setblocking(False)
            spec = Sandbox(
                argv=(plan.interpreter, *plan.flags, "-c", program(), str(theirs.fileno())),
                env={"LANG": "C.UTF-8", **tool.environment, "HOME": HOME, "PATH": PATH},
                cwd="/",
                binds=tuple(Bind(path, path) for path in tool.binds),
                proc=False,
                home=HOME,
                unix_sockets=tool.unix_sockets,
                limits=budget.process_limits,
                cgroup=budget.entry,
                joins=True,
            )
            confined = await self._spawner.start(
                spec,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err.write_end,
                pass_fds=(theirs.fileno(),),
            )
            undo.callback(confined.close)
            theirs.close()
            report = await self._introduce(control, tool, plan)
            if "files" not in report:
                said = str(report.get("error", "")) or await last_words(err)
                raise ConfinementUnavailable(f"the tool can't be kept warm: {said}"[:500])
            places = (plan.interpreter, plan.script, *tool.binds)
            packages = await asyncio.to_thread(Packages, report["files"], places)
            zygote = Zygote(
                confined,
                control,
                budget,
                packages,
                own_user=confiner.level == levels.NAMESPACES,
            )
            if common := zygote.common():
                raise ConfinementUnavailable(f"the tool {common} when it is imported")
            undo.pop_all()
            err.close()
            if report.get("note"):
                _log.warning("%s: %s", tool.name, report["note"])
            return zygote

    async def _introduce(
        self, control: socket.socket, tool: Tool, plan: WarmPlan
    ) -> Mapping[str, Any]:
        """Tell the zygote what it is for, and wait until it is ready; its report."""
        filters = seccomp.filters(unix_sockets=tool.unix_sockets)
        message = json.dumps(
            {
                "script": plan.script,
                "modules": plan.modules,
                "prepare": plan.prepare,
                "running": running(),
                "landlock": self._spawner.landlock,
                "filters": [each.hex() for each in filters],
            }
        ).encode()
        loop = asyncio.get_running_loop()
        data = b""
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(control, struct.pack(">I", len(message)) + message)
            while not data.endswith(b"\n") and len(data) < _MAX_REPORT:
                piece = await loop.sock_recv(control, 1 << 16)
                if not piece:
                    break
                data += piece
        try:
            report = json.loads(data)
        except ValueError:
            return {}
        return report if isinstance(report, dict) else {}
