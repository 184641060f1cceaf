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
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from keyless_kernel.confine import ConfinementUnavailable, Confiner, probe
from keyless_kernel.confine.bubblewrap import find_bwrap
from keyless_kernel.confine.probe import as_found
from keyless_kernel.confine.settings import KernelNetwork, SidecarSettings
from keyless_sidecar.audit import AuditLog, AuditUnavailable
from keyless_sidecar.config import ConfigInvalid, Configuration, build
from keyless_sidecar.control import Control
from keyless_sidecar.control.server import ControlUnavailable
from keyless_sidecar.execution.budget import ToolLimits
from keyless_sidecar.hardening import HardeningError, harden
from keyless_sidecar.keeper import Keeper
from keyless_sidecar.memory import one_heap
from keyless_sidecar.own_code import ChangeableCode, own_places, require_fixed, require_isolated
from keyless_sidecar.own_filter import restrict
from keyless_sidecar.placeholders import PlaceholderBook
from keyless_sidecar.policy import KERNEL
from keyless_sidecar.policy.engine import CedarPolicy, Principal
from keyless_sidecar.policy.loading import load_policy
from keyless_sidecar.policy.source import PolicyInvalid
from keyless_sidecar.tools import Tool, ToolConfigError, load_tools
from keyless_sidecar.vault import EntryInfo, Vault, VaultError, open_vault
from keyless_sidecar.vault.session_options import SessionOptions, parse_sessions
from keyless_sidecar.workspace import WorkspaceError, WorkspaceRoot

EXIT_NOT_STARTED = 1

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
    one_heap()
    try:
        parts = _start(options.settings_fd)
    except NotStarted as error:
        _say(options.status_fd, {"error": str(error)})
        return EXIT_NOT_STARTED
    try:
        return asyncio.run(_begin(parts, options))
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


@dataclasses.dataclass
class Begun:
    """What there is as soon as the kernel may start, before all that serves commands is loaded."""

    parts: Parts
    status_fd: int
    stop: asyncio.Event
    book: PlaceholderBook
    keeper: Keeper
    control: Control
    infos: list[EntryInfo]
    announced: bool = False

    def announce(self, network: KernelNetwork) -> None:
        """Say once that the sidecar is ready.

        Args:
            network: what the kernel is to know.
        """
        if not self.announced:
            self.announced = True
            _say(
                self.status_fd,
                {
                    "ready": True,
                    "level": self.parts.confiner.level,
                    "kernel_uid": self.parts.confiner.uid,
                    "network": msgspec.to_builtins(network),
                },
            )


async def _begin(parts: Parts, options: argparse.Namespace) -> int:
    """Let the kernel start, then load what serves it: most of the code, and it takes longest.

    All that can keep a sidecar from starting was looked at before: configuration, tools, vault,
    policy, audit, and here the control socket.
    """
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    control = Control(parts.control_folder)
    try:
        control.open()
    except ControlUnavailable as error:
        _say(options.status_fd, {"error": str(error)})
        return EXIT_NOT_STARTED
    book = PlaceholderBook()
    keeper = Keeper(parts.vault, book)
    infos = await _known(keeper)
    begun = Begun(parts, options.status_fd, stop, book, keeper, control, infos)
    if not parts.sessions and not any(info.allows(KERNEL) for info in infos):
        begun.announce(KernelNetwork())  # there is no way to a network that it would have to know
    from keyless_sidecar.serving import serve

    return await serve(parts, begun, options)


async def _known(keeper: Keeper) -> list[EntryInfo]:
    """The vault's entries; none where it can't be read, which every command then says."""
    try:
        return await keeper.infos()
    except VaultError as error:
        _log.error("vault: %s", error)
        return []


def _say(status_fd: int, message: dict[str, object]) -> None:
    """The one line on the status descriptor."""
    with contextlib.suppress(BrokenPipeError), open(status_fd, "wb") as file:
        file.write(json.dumps(message).encode() + b"\n")
