"""``python -I -m keyless_sidecar serve``: one sidecar, from its settings to its end.

The supervisor starts it with five inherited descriptors: settings (JSON, read to the end), status
(one JSON line: ready or an error), channel (to the kernel), lifeline (to the supervisor), and
network (over which the kernel's launcher hands out its listeners).  It ends when channel or
lifeline end, at SIGTERM, or when the kernel side breaks the protocol; all that it started is gone
then.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from keyless.protocol.calls import SDK
from keyless_kernel.confine import ConfinementUnavailable, Confiner, probe
from keyless_kernel.confine.bubblewrap import find_bwrap
from keyless_kernel.confine.probe import as_found
from keyless_kernel.confine.settings import SidecarSettings
from keyless_sidecar.approvals import Approvals, Scope
from keyless_sidecar.audit import AuditLog, AuditUnavailable
from keyless_sidecar.calls.content import Owner
from keyless_sidecar.calls.making import Maker
from keyless_sidecar.calls.planning import CallPlanner
from keyless_sidecar.calls.runner import CallRunner
from keyless_sidecar.channel import Channel
from keyless_sidecar.config import ConfigInvalid, Configuration, build
from keyless_sidecar.control import Control
from keyless_sidecar.control.server import ControlUnavailable
from keyless_sidecar.dispatch import Violation
from keyless_sidecar.egress.aws.endpoints import endpoints
from keyless_sidecar.events import Events
from keyless_sidecar.execution.budget import ToolLimits
from keyless_sidecar.execution.command import Commands
from keyless_sidecar.execution.delivery import bound
from keyless_sidecar.execution.news import News
from keyless_sidecar.execution.outputs import OutputLimits
from keyless_sidecar.execution.pipes import readable
from keyless_sidecar.execution.planning import Planner
from keyless_sidecar.execution.ready import Places
from keyless_sidecar.execution.runner import Runner
from keyless_sidecar.execution.spawner import Spawner
from keyless_sidecar.hardening import HardeningError, harden
from keyless_sidecar.keeper import Keeper
from keyless_sidecar.kernel_network import KernelGates, bound_to_kernel, told
from keyless_sidecar.own_code import ChangeableCode, own_places, require_fixed, require_isolated
from keyless_sidecar.own_filter import restrict
from keyless_sidecar.placeholders import PlaceholderBook
from keyless_sidecar.policy import KERNEL
from keyless_sidecar.policy.engine import CedarPolicy, Principal
from keyless_sidecar.policy.loading import load_policy
from keyless_sidecar.policy.source import PolicyInvalid
from keyless_sidecar.sessions.consent import asking
from keyless_sidecar.sessions.for_tools import ToolSessions
from keyless_sidecar.sessions.service import Sessions
from keyless_sidecar.status import StatusReporter
from keyless_sidecar.tools import Tool, ToolConfigError, load_tools
from keyless_sidecar.vault import Entry, EntryInfo, Vault, VaultError, open_vault
from keyless_sidecar.vault.session_options import SessionOptions, parse_sessions
from keyless_sidecar.warm import Zygotes
from keyless_sidecar.ways import Ways
from keyless_sidecar.workspace import WorkspaceError, WorkspaceRoot

#: Seconds for all requests to end when the sidecar stops.
STOP_TIMEOUT = 10.0
#: Seconds for the supervisor to close the lifeline after the kernel has closed the channel.
LAST_WORDS_TIMEOUT = 0.5
EXIT_NOT_STARTED, EXIT_VIOLATION, EXIT_HELD_UP = 1, 3, 4

_log = logging.getLogger(__name__)


class NotStarted(Exception):
    """The sidecar can't start; the message is one sentence."""


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a started sidecar consists of.

    Not its settings: they hold a passphrase, and values that only the vault keeps from now on.
    """

    kernel_id: str
    notebook: str
    workspace_path: str
    scratch: Path
    control_folder: str
    config: Configuration
    confiner: Confiner
    tools: dict[str, Tool]
    vault: Vault
    workspace: WorkspaceRoot
    audit: AuditLog
    policy: CedarPolicy
    limits: ToolLimits
    sessions: dict[str, SessionOptions]


def main(argv: Sequence[str]) -> int:
    """Serve one kernel.

    Args:
        argv: ``--settings-fd N --channel-fd N --status-fd N --lifeline-fd N --network-fd N``.

    Returns:
        0 at the normal end, 1 when it couldn't start, 3 when the kernel side broke the protocol.
        (4, by a watchdog, where a thread held up the end.)
    """
    parser = argparse.ArgumentParser(prog="keyless_sidecar serve")
    for name in ("settings", "channel", "status", "lifeline", "network"):
        parser.add_argument(f"--{name}-fd", type=int, required=True)
    options = parser.parse_args(argv)
    _neutral(*(number for number in vars(options).values()))
    try:
        parts = _start(options.settings_fd)
    except NotStarted as error:
        _say(options.status_fd, {"error": str(error)})
        return EXIT_NOT_STARTED
    try:
        return asyncio.run(_serve(parts, options))
    finally:
        with contextlib.suppress(AuditUnavailable):
            parts.audit.close()


def _neutral(*descriptors: int) -> None:
    """Nothing of the caller's surroundings counts, and nothing of ours is inherited."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    os.environ.clear()
    os.environ.update({"PATH": "/usr/bin:/bin", "HOME": "/", "LANG": "C.UTF-8"})
    os.chdir("/")
    os.umask(0o077)
    if os.geteuid() == 0:
        os.setgroups([])
    # A Ctrl-C in the server's terminal is the server's affair.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="keyless: %(message)s")


def _start(settings_fd: int) -> Parts:
    try:
        require_isolated()
        hardening = harden()
        with open(settings_fd, "rb") as file:
            settings = msgspec.json.decode(file.read(), type=SidecarSettings)
        config = build(settings.config)
        unfiltered = restrict(_bubblewrap(config))
        if settings.found is None:
            confiner = probe(config.confinement, Path(settings.scratch))
        else:  # the supervisor has a sandbox running at that level
            confiner = as_found(config.confinement, settings.found)
        workspace = WorkspaceRoot(settings.workspace, confiner.workspace_path(settings.workspace))
        tools = load_tools(
            {
                "declared": config.tools.declared,
                "aws": config.tools.aws,
                "psql": config.tools.psql,
            },
            workspace=settings.workspace,
        )
        require_fixed(
            [*own_places(), *_programs(tools)],
            uid=confiner.uid,
            gid=confiner.gid,
        )
        limits = ToolLimits(config.limits, config.tools.max_written, confiner.level)
        data = Path(settings.data_dir)
        vault = open_vault(
            Path(config.vault.folder or data),
            settings.memory_credentials,
            settings.passphrase,
            entries=config.vault.entries,
            surroundings=config.vault.surroundings(config.egress.upstreams, settings.workspace),
        )
        sessions = parse_sessions(config.vault.sessions)
        policy = load_policy(
            Path(settings.policy_file),
            Principal(settings.kernel_id, settings.notebook, confiner.level),
        )
        audit = AuditLog.open(
            Path(config.audit.folder) if config.audit.folder else data / "audit",
            settings.kernel_id,
            {
                "level": confiner.level,
                "overlay": confiner.overlay,
                "kernel_uid": confiner.uid,
                "tools": sorted(tools),
                "policy": policy.source_name,
                "limits": limits.facts(),
                "hardening": {**hardening.facts(), "system_calls": unfiltered or "filtered"},
            },
        )
    except msgspec.MsgspecError as error:
        raise NotStarted(f"The sidecar's settings can't be used: {error}.") from None
    except WorkspaceError as error:
        raise NotStarted(f"The workspace {error.message}.") from None
    except OSError as error:
        raise NotStarted(f"The sidecar can't start: {os.strerror(error.errno or 0)}.") from None
    except (
        AuditUnavailable,
        ChangeableCode,
        ConfigInvalid,
        ConfinementUnavailable,
        HardeningError,
        PolicyInvalid,
        ToolConfigError,
        VaultError,
    ) as error:
        raise NotStarted(str(error).rstrip(".") + ".") from None
    return Parts(
        kernel_id=settings.kernel_id,
        notebook=settings.notebook,
        workspace_path=settings.workspace,
        scratch=Path(settings.scratch),
        control_folder=settings.control_folder,
        config=config,
        confiner=confiner,
        tools=tools,
        vault=vault,
        workspace=workspace,
        audit=audit,
        policy=policy,
        limits=limits,
        sessions=sessions,
    )


def _bubblewrap(config: Configuration) -> str:
    """Path of the bubblewrap in use, empty where there is none."""
    try:
        return find_bwrap(config.confinement.bwrap)
    except ConfinementUnavailable:
        return ""


def _programs(tools: Mapping[str, Tool]) -> Iterator[Path]:
    """What the tools run, and what their rules are read from."""
    for tool in tools.values():
        places = (tool.path, tool.program, tool.model_path, *tool.binds)
        yield from (Path(place) for place in places if place)


async def _serve(parts: Parts, options: argparse.Namespace) -> int:
    config = parts.config
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    spawner = Spawner(parts.confiner)
    book = PlaceholderBook()
    keeper = Keeper(parts.vault, book)
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
    infos = await _known(keeper)
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
    control = Control(parts.control_folder)
    try:
        control.open(
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
    except ControlUnavailable as error:
        _say(options.status_fd, {"error": str(error)})
        return EXIT_NOT_STARTED
    _say(
        options.status_fd,
        {
            "ready": True,
            "level": parts.confiner.level,
            "kernel_uid": parts.confiner.uid,
            "network": msgspec.to_builtins(network),
        },
    )
    serving = asyncio.ensure_future(gates.serve(options.network_fd))
    if any(info.kind == "aws" for info in infos):
        # Read ahead, while the kernel starts: the first command needs the service models.
        calls_too = any(info.allows(SDK) for info in infos)
        paths = {*models, ""} if calls_too else models
        reading = [asyncio.to_thread(endpoints, path) for path in paths]
        warm = asyncio.gather(*reading, return_exceptions=True)
    else:
        warm = asyncio.gather()
    if config.tools.warm_at_start:
        for tool in parts.tools.values():
            if tool.warm and bound(tool, infos):
                places.prepare(tool)
    try:
        return await _until_end(channel, options, stop, parts.audit)
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


async def _known(keeper: Keeper) -> list[EntryInfo]:
    """The vault's entries; none where it can't be read, which every command then says."""
    try:
        return await keeper.infos()
    except VaultError as error:
        _log.error("vault: %s", error)
        return []


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


def _say(status_fd: int, message: dict[str, object]) -> None:
    """The one line on the status descriptor."""
    with contextlib.suppress(BrokenPipeError), open(status_fd, "wb") as file:
        file.write(json.dumps(message).encode() + b"\n")
