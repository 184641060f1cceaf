"""The provisioner: how every jupyter_client launcher starts a Keyless kernel, unmodified.

Runs in the Jupyter server (or nbclient, papermill, …), one instance a kernel.  It evaluates the
person's configuration, makes the private folders' names, and hands all of it to a supervisor
process of its own, which does the rest (:mod:`keyless_kernel.supervisor`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from jupyter_core.paths import jupyter_config_dir, jupyter_runtime_dir
from traitlets.config import Config

from keyless_kernel.confine import ConfigError, Confinement, levels
from keyless_kernel.confine.cgroups import sweep
from keyless_kernel.confine.config import section_from
from keyless_kernel.confine.folders import remove_tree
from keyless_kernel.confine.limits import Limits
from keyless_kernel.confine.settings import (
    Found,
    MemoryCredential,
    SidecarSettings,
    data_dir,
    load_config,
    plain,
    policy_file,
)
from keyless_kernel.passphrase import PassphraseUnreadable, passphrase_from_descriptor
from keyless_kernel.supervising import NURSERY, Nursery, Supervision
from keyless_kernel.wire import LaunchSpec

#: Longest path that an AF_UNIX address may have.
_SUN_PATH = 107
#: Seconds that the supervisor may take to end everything.
_END_TIMEOUT = 15.0
#: Seconds between two looks whether the supervisor is still there, while it has nothing to say.
_LOOK_AGAIN = 0.5
#: What supervisors of this server found out about confinement, by ``c.Confinement``.  Only of the
#: levels with namespaces: a weaker one counts only where it was tried out with the kernel's start.
_FOUND: dict[str, Found] = {}


class KernelStartRefused(RuntimeError):
    """The kernel was not started; the message says what is missing and how to get it."""


class KeylessProvisioner(LocalProvisioner):
    """Starts kernels in a sandbox, each with a sidecar.

    ``start_kernel`` takes these keywords beyond the usual ones:

    - ``keyless_workspace``: folder to work in (default ``c.Confinement.workspace``);
    - ``keyless_credentials``: list of dictionaries as
      :class:`~keyless_kernel.confine.settings.MemoryCredential`, held in memory only;
    - ``keyless_config``: sections and settings on top of the person's configuration;
    - ``keyless_passphrase``: opens a vault that is locked by one.
    """

    level = ""
    _supervisor: Supervision | None = None
    _exit_code: int | None = None
    _running = False
    _spec: LaunchSpec | None = None
    _turn: asyncio.Lock | None = None
    _events: list[dict[str, Any]]
    #: Folder outside of the runtime folder that the supervisor made, where it had to.
    _apart = ""
    #: Link at the usual place to a runtime folder that had to be elsewhere.
    _link: Path | None = None

    @property
    def control_folder(self) -> str:
        """Folder with the kernel's control socket and its token; empty before the launch."""
        return self._spec.runtime_dir if self._spec is not None and self._running else ""

    # ------------------------------------------------------------------ start

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Called by the kernel manager before a (re)start: sets transport and private folders."""
        options = {
            name: kwargs.pop(f"keyless_{name}", None)
            for name in ("workspace", "credentials", "config", "passphrase")
        }
        manager = self.parent
        if manager is None:
            raise KernelStartRefused("this provisioner needs a kernel manager as its parent")
        try:
            config = load_config(more=options["config"])
            confinement = section_from(Confinement, config)
            section_from(Limits, config)
            passphrase = passphrase_from_descriptor()
        except (ConfigError, PassphraseUnreadable) as error:
            raise KernelStartRefused(str(error)) from None
        async with self._turns():
            if early := self._supervisor_gone():
                self._start_supervisor(
                    NURSERY.for_next()
                )  # it loads its code while the rest is prepared
        try:
            return await self._prepare(manager, config, confinement, options, passphrase, kwargs)
        except BaseException:
            if early:
                async with self._turns():
                    await self._end()  # nobody calls cleanup() when this fails
            raise

    async def _prepare(
        self,
        manager: Any,
        config: Config,
        confinement: Confinement,
        options: dict[str, Any],
        passphrase: str | None,
        kwargs: dict[str, Any],
    ) -> dict[str, Any]:
        """Name the private folders, and say all that the supervisor must know."""
        values = plain(config)
        runtime = self._runtime_dir()
        manager.transport = "ipc"
        manager.cache_ports = False
        manager.ip = str(runtime / "s" / "k")
        kwargs = await super().pre_launch(**kwargs)
        inside = dict(self.connection_info)
        inside["key"] = (
            inside["key"].decode() if isinstance(inside["key"], bytes) else inside["key"]
        )
        workspace = options["workspace"] or confinement.workspace
        folder = (
            Path(workspace).expanduser().absolute()
            if workspace
            else Path(jupyter_runtime_dir()) / "keyless-workspaces" / self.kernel_id
        )
        settings = SidecarSettings(
            kernel_id=self.kernel_id,
            workspace=str(folder),
            scratch=str(runtime / "scratch"),
            control_folder=str(runtime),
            data_dir=str(data_dir()),
            policy_file=str(policy_file()),
            notebook=kwargs.get("env", {}).get("JPY_SESSION_NAME", ""),
            config=values,
            memory_credentials=[
                msgspec.convert(entry, MemoryCredential) for entry in options["credentials"] or []
            ],
            passphrase=options["passphrase"] or passphrase,
        )
        environment = kwargs.get("env", {})
        self._spec = LaunchSpec(
            python=sys.executable,
            runtime_dir=str(runtime),
            connection={k: v for k, v in inside.items() if isinstance(v, str | int)},
            connection_file=os.path.realpath(manager.connection_file),
            settings=msgspec.to_builtins(settings),
            workspace=str(folder),
            ephemeral=not workspace,
            confinement=values.get("Confinement", {}),
            limits=values.get("Limits", {}),
            found=_FOUND.get(_asked(values.get("Confinement", {}))),
            kernel_env=_kernel_environment(confinement, environment),
            start_timeout=float(confinement.sidecar_start_timeout),
            private=[
                *(str(data_dir()), jupyter_runtime_dir(), jupyter_config_dir()),
                *(
                    config.get(name, {}).get("folder") or "/nonexistent"
                    for name in ("Vault", "Audit")
                ),
            ],
        )
        return kwargs

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start (or restart) the kernel; the supervisor stays over restarts."""
        # Restarts that overlap (somebody clicks twice) take turns: the last one's kernel stays.
        async with self._turns():
            await self._launch()
        return self.connection_info

    async def _launch(self) -> None:
        if self._spec is None:
            raise KernelStartRefused("launch_kernel was called before pre_launch")
        if self._supervisor_gone():
            self._start_supervisor(NURSERY.for_next())
        self._exit_code = None
        self._running = False
        try:
            event = await self._ask_to_launch(self._spec)
            if not event and self._supervisor is not None and not self._supervisor.born:
                self._start_supervisor(None)  # the nursery had none
                event = await self._ask_to_launch(self._spec)
            if event.get("event") != "launched":
                raise KernelStartRefused(event.get("error", "the supervisor ended while starting"))
        except BaseException:
            # Nobody calls cleanup() when launching fails.
            await self._end()
            raise
        self._exit_code = None
        self._running = True
        _remember(self._spec, msgspec.convert(event["found"], Found))
        self.level = event["level"]
        self.pid = event["pid"]
        self.cwd = event["workspace"]
        self._apart = event["apart"]
        self.log.info(
            "Keyless kernel %s runs at level %s, %s", self.kernel_id, self.level, event["limits"]
        )

    async def _ask_to_launch(self, spec: LaunchSpec) -> dict[str, Any]:
        self._send({"op": "launch", "spec": msgspec.to_builtins(spec)})
        return await self._wait_for(("launched", "failed"), timeout=spec.start_timeout + 15)

    def _turns(self) -> asyncio.Lock:
        """Held by whoever asks the supervisor for something and waits for the answer."""
        if self._turn is None:
            self._turn = asyncio.Lock()
        return self._turn

    def _supervisor_gone(self) -> bool:
        """Whether there is no living supervisor; what one left that was killed ends here."""
        return self._supervisor is None or self._supervisor.gone()

    def _start_supervisor(self, nursery: Nursery | None) -> None:
        if self._supervisor is not None:  # one that was killed
            self._supervisor.close()
        self._supervisor = Supervision(nursery)
        self._events = []

    def _runtime_dir(self) -> Path:
        """``<jupyter runtime dir>/keyless/<kernel id>``, or a short one where that is too long."""
        if self._spec is not None:  # a restart
            return Path(self._spec.runtime_dir)
        folder = Path(jupyter_runtime_dir()) / "keyless" / self.kernel_id
        if len(str(folder / "s" / "k-99999")) > _SUN_PATH:
            place = folder
            folder = Path(tempfile.mkdtemp(prefix="keyless-"))
            # The command line looks for kernels at the usual place.
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if place.is_symlink():  # of a server that was killed
                place.unlink()
            place.symlink_to(folder)
            self._link = place
        return folder

    # ------------------------------------------------------------------ control socket

    def _send(self, message: dict[str, Any]) -> None:
        if self._supervisor is not None:
            self._supervisor.send(message)

    def _receive(self) -> None:
        """Take in what the supervisor said; answers wait in ``_events`` for whoever asked."""
        for message in self._supervisor.receive() if self._supervisor is not None else []:
            if message["event"] == "exited":
                self._exit_code = int(message["code"])
                if message.get("reason"):
                    self.log.warning("Keyless kernel %s: %s", self.kernel_id, message["reason"])
            elif message["event"] == "notice":
                self.log.warning("Keyless kernel %s: %s", self.kernel_id, message["text"])
            else:
                self._events.append(message)

    async def _wait_for(self, events: tuple[str, ...], timeout: float) -> dict[str, Any]:
        deadline = asyncio.get_running_loop().time() + timeout
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            self._receive()
            while self._supervisor is not None and self._events:
                message = self._events.pop(0)
                if message["event"] in events:
                    return message
            if self._supervisor is None or self._supervisor.gone():
                return {}
            await self._supervisor.hear(min(left, _LOOK_AGAIN))
        return {}

    # ------------------------------------------------------------------ life

    @property
    def has_process(self) -> bool:
        """Whether a kernel was started and its end not yet collected by :meth:`wait`."""
        return self._running

    async def poll(self) -> int | None:
        """``None`` while the kernel runs, else its exit status."""
        if not self._running:
            return 0
        self._receive()
        if self._exit_code is None and self._supervisor and self._supervisor_gone():
            self._exit_code = 1
        return self._exit_code

    async def wait(self) -> int | None:
        """Wait for the kernel's end and collect it."""
        while await self.poll() is None:
            await asyncio.sleep(0.02)
        self._running = False
        return self._exit_code or 0

    async def send_signal(self, signum: int) -> None:
        """Signal the kernel process itself; bubblewrap's process group would be the wrong one."""
        if signum == 0:
            return
        if signum == signal.SIGKILL:
            self._send({"op": "kill"})
        else:
            self._send({"op": "signal", "number": int(signum)})

    async def kill(self, restart: bool = False) -> None:
        """End the kernel's whole pid namespace."""
        self._send({"op": "kill"})

    async def terminate(self, restart: bool = False) -> None:
        """Ask the kernel process to end."""
        self._send({"op": "signal", "number": int(signal.SIGTERM)})

    async def cleanup(self, restart: bool = False) -> None:
        """Called after the kernel's end: on a restart only the processes go, else everything."""
        async with self._turns():
            if restart:
                self._send({"op": "stop"})
                await self._wait_for(("stopped",), timeout=_END_TIMEOUT)
                self._running = False  # for another one that waits for the same kernel's end
            else:
                await self._end()

    async def _end(self) -> None:
        """End the supervisor, and with it all that belongs to this kernel."""
        self._send({"op": "end"})
        await self._wait_for(("ended",), timeout=_END_TIMEOUT)
        if self._supervisor is not None:
            self._supervisor.hang_up()
            deadline = asyncio.get_running_loop().time() + _END_TIMEOUT
            while not self._supervisor_gone():
                if asyncio.get_running_loop().time() > deadline:
                    self._supervisor.kill()
                await asyncio.sleep(0.005)
            self._supervisor.close()
            self._supervisor = None
        if self._spec is not None:
            # Only does something where the supervisor was killed.
            remove_tree(self._spec.runtime_dir)
            if self._spec.ephemeral:
                remove_tree(self._spec.workspace)
            if self._apart:
                remove_tree(self._apart)
            if self._link is not None:
                self._link.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # other kernels are there still
                    self._link.parent.rmdir()
                self._link = None
            sweep()
        self._running = False
        self._spec = None


def _asked(confinement: dict[str, Any]) -> str:
    return json.dumps(confinement, sort_keys=True)


def _remember(spec: LaunchSpec, found: Found) -> None:
    """What was found out counts for this server's further kernels."""
    if found.level in (levels.NAMESPACES, levels.NAMESPACES_ROOT):
        _FOUND[_asked(spec.confinement)] = found


def _kernel_environment(confinement: Confinement, environment: dict[str, str]) -> dict[str, str]:
    """The kernel's whole environment: nothing of the server's but locale and session name."""
    kept = {
        name: value
        for name, value in environment.items()
        if name in ("LANG", "TZ", "JPY_SESSION_NAME") or name.startswith("LC_")
    }
    binaries = Path(sys.executable).parent
    return {
        "LANG": "C.UTF-8",
        **kept,
        "HOME": "/home/keyless",
        "USER": "keyless",
        "PATH": f"{binaries}:/usr/local/bin:/usr/bin:/bin",
        "TERM": "xterm-color",
        "JPY_PARENT_PID": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        **confinement.environment,
    }


__all__ = ["KernelStartRefused", "KeylessProvisioner"]
