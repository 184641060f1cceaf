"""What a sidecar serves its kernel with, and until when.

Loaded by :mod:`keyless_sidecar.server` while the kernel starts: everything that a command or a call
needs hangs on this module.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Sequence

from keyless_kernel.confine import Confiner
from keyless_sidecar.approvals import Approvals, Scope
from keyless_sidecar.audit import AuditLog, AuditUnavailable
from keyless_sidecar.calls.content import Owner
from keyless_sidecar.calls.making import Maker
from keyless_sidecar.calls.planning import CallPlanner
from keyless_sidecar.calls.runner import CallRunner
from keyless_sidecar.channel import Channel
from keyless_sidecar.dispatch import Violation
from keyless_sidecar.events import Events
from keyless_sidecar.execution.command import Commands
from keyless_sidecar.execution.delivery import bound
from keyless_sidecar.execution.news import News
from keyless_sidecar.execution.outputs import OutputLimits
from keyless_sidecar.execution.pipes import readable
from keyless_sidecar.execution.planning import Planner
from keyless_sidecar.execution.ready import Places
from keyless_sidecar.execution.runner import Runner
from keyless_sidecar.execution.spawner import Spawner
from keyless_sidecar.keeper import Keeper
from keyless_sidecar.kernel_network import KernelGates, bound_to_kernel, told
from keyless_sidecar.memory import unmap_code
from keyless_sidecar.policy import KERNEL
from keyless_sidecar.read_ahead import read_ahead
from keyless_sidecar.server import Begun, Parts
from keyless_sidecar.sessions.consent import asking
from keyless_sidecar.sessions.for_tools import ToolSessions
from keyless_sidecar.sessions.service import Sessions
from keyless_sidecar.status import StatusReporter
from keyless_sidecar.vault import Entry, EntryInfo, VaultError
from keyless_sidecar.warm import Zygotes
from keyless_sidecar.ways import Ways

#: Seconds for all requests to end when the sidecar stops.
STOP_TIMEOUT = 10.0
#: Seconds for the supervisor to close the lifeline after the kernel has closed the channel.
LAST_WORDS_TIMEOUT = 0.5
EXIT_VIOLATION, EXIT_HELD_UP = 3, 4

_log = logging.getLogger(__name__)


async def serve(parts: Parts, begun: Begun, options: argparse.Namespace) -> int:
    """Serve the kernel side until one of the ends has come.

    Args:
        parts: what the sidecar consists of.
        begun: what is there already.
        options: the descriptors.

    Returns:
        The exit status.
    """
    config = parts.config
    book, keeper, control, infos = begun.book, begun.keeper, begun.control, begun.infos
    spawner = Spawner(parts.confiner)
    surroundings = config.vault.surroundings(config.egress.upstreams, parts.workspace_path)
    events = Events()
    approvals = Approvals(
        parts.audit,
        events,
        keeper.patterns,
        timeout=config.approvals.timeout,
        terminal=config.approvals.terminal,
    )
    sessions = Sessions(
        kernel_id=parts.kernel_id,
        options=parts.sessions,
        keeper=keeper,
        book=book,
        policy=parts.policy,
        audit=parts.audit,
        surroundings=surroundings,
        network=parts.confiner.own_network,
        ask=asking(approvals),
    )
    news = News(events)
    ways = Ways(
        policy=parts.policy,
        book=book,
        keeper=keeper,
        audit=parts.audit,
        upstreams=config.egress.upstreams,
        connections=config.egress.max_connections,
        sessions=sessions,
    )
    places = Places(
        spawner=spawner,
        zygotes=Zygotes(spawner, parts.limits, enabled=config.tools.warm),
        workspace=parts.workspace,
        workspace_path=parts.workspace_path,
        scratch=parts.scratch,
        budgets=parts.limits,
        ready=config.tools.ready_sandboxes,
        idle=config.tools.warm_idle,
    )
    commands = Commands(
        confiner=parts.confiner,
        places=places,
        workspace=parts.workspace,
        limits=OutputLimits(config.tools.max_files, config.tools.max_written),
    )
    runner = Runner(
        planner=Planner(
            parts.tools,
            parts.workspace,
            parts.policy,
            allow_not_isolated=config.tools.allow_not_isolated,
        ),
        keeper=keeper,
        audit=parts.audit,
        commands=commands,
        ways=ways,
        book=book,
        sessions=ToolSessions(
            kernel_id=parts.kernel_id,
            options=parts.sessions,
            book=book,
            audit=parts.audit,
            surroundings=surroundings,
        ),
        approvals=approvals,
        workspace=parts.workspace,
        news=news,
    )
    owner = Owner(parts.confiner.uid, parts.confiner.gid)
    calls = CallRunner(
        planner=CallPlanner(parts.workspace, parts.policy, owner, lambda: approvals.attended),
        keeper=keeper,
        audit=parts.audit,
        maker=Maker(
            keeper=keeper,
            ways=ways,
            book=book,
            approvals=approvals,
            scratch=parts.scratch,
            most=config.tools.max_written,
            threads=config.tools.max_requests,
        ),
        workspace=parts.workspace,
        owner=owner,
        news=news,
    )
    reporter = StatusReporter(
        kernel_id=parts.kernel_id,
        confiner=parts.confiner,
        workspace=parts.workspace.inside,
        limits=parts.limits.sentence,
        tools=parts.tools,
        keeper=keeper,
        audit=parts.audit,
        runner=runner,
        sessions=sessions,
    )
    channel = Channel(
        kernel_id=parts.kernel_id,
        level=parts.confiner.level,
        service=runner,
        calls=calls,
        status=reporter.answer,
        sessions=sessions,
        most=config.tools.max_requests,
    )
    theirs = await _for_the_kernel(parts.confiner, keeper, infos)
    network = told(theirs, book, ways.certificates, sessions=sessions.to_kernel)
    models = {tool.model_path for tool in parts.tools.values() if tool.rules == "aws"}
    gates = KernelGates(
        ways,
        [entry.info for entry in theirs],
        network.ports,
        next(iter(models), ""),
        sessions=sessions.to_kernel,
        scope=Scope(approvals, tool=KERNEL),
    )
    control.serve(
        approvals=approvals,
        events=events,
        news=news,
        keeper=keeper,
        runner=runner,
        reporter=reporter,
        audit=parts.audit,
        most=config.tools.max_requests,
        notebook=parts.notebook,
    )
    begun.announce(network)
    serving = asyncio.ensure_future(gates.serve(options.network_fd))
    unmap_code()
    warm = asyncio.ensure_future(read_ahead(models, infos))
    if config.tools.warm_at_start:
        for tool in parts.tools.values():
            if tool.warm and bound(tool, infos):
                places.prepare(tool)
    try:
        return await _until_end(channel, options, begun.stop, parts.audit)
    finally:
        serving.cancel()
        await asyncio.gather(serving, warm, return_exceptions=True)
        await gates.close()
        await control.close()
        await approvals.close()
        # A thread that searches a large file can't be stopped; it must not hold up the end.
        watchdog = threading.Timer(2 * STOP_TIMEOUT, os._exit, (EXIT_HELD_UP,))
        watchdog.daemon = True
        watchdog.start()
        await asyncio.wait({asyncio.ensure_future(channel.close())}, timeout=STOP_TIMEOUT)
        calls.close()
        await sessions.close()
        keeper.close()
        await places.close()
        spawner.close()


async def _for_the_kernel(
    confiner: Confiner, keeper: Keeper, infos: Sequence[EntryInfo]
) -> list[Entry]:
    """The entries that cells may use by themselves; one that can't be had now is left out."""
    found = []
    for info in bound_to_kernel(confiner, infos):
        try:
            found.append(await keeper.entry(info.name))
        except VaultError as error:
            _log.warning("the kernel gets no placeholder for %s: %s", info.name, error)
    return found


async def _until_end(
    channel: Channel, options: argparse.Namespace, stop: asyncio.Event, audit: AuditLog
) -> int:
    connection = socket.socket(fileno=options.channel_fd)
    connection.setblocking(False)
    served = asyncio.ensure_future(channel.serve(connection))
    ends = {
        served,
        (lifeline := asyncio.ensure_future(_ended(options.lifeline_fd, audit))),
        asyncio.ensure_future(stop.wait()),
    }
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if served.done():
            # The kernel is gone: the supervisor may still say why.
            await asyncio.wait({lifeline}, timeout=LAST_WORDS_TIMEOUT)
            served.result()
    except Violation as violation:
        _log.warning("the kernel side broke the protocol: %s", violation)
        with contextlib.suppress(AuditUnavailable):
            audit.append("channel.violation", {"reason": str(violation)[:500]})
        return EXIT_VIOLATION
    finally:
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
    return 0


async def _ended(lifeline: int, audit: AuditLog) -> None:
    """Return when the supervisor's end is closed; what it writes is why the kernel ended."""
    os.set_blocking(lifeline, False)
    while True:
        await readable(lifeline)
        try:
            words = os.read(lifeline, 4096)
            if not words:
                return
            with contextlib.suppress(AuditUnavailable):
                audit.append(
                    "kernel.ended",
                    {"reason": words.decode(errors="replace").strip()},
                    from_reserve=True,
                )
        except BlockingIOError:
            continue
        except OSError:
            return
