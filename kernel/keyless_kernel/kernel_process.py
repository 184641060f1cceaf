"""One kernel process in its sandbox, as the supervisor that started it holds it.

Its sandbox comes up while the sidecar still loads.  But it becomes a kernel only with its
connection, which is held back until the sidecar is ready (:meth:`KernelProcess.connect`).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from pathlib import Path, PurePosixPath

from keyless_kernel.confine import (
    Bind,
    Confined,
    Confiner,
    Sandbox,
    WorkspaceMount,
    interpreter_binds,
    view,
)
from keyless_kernel.confine.settings import KernelNetwork
from keyless_kernel.guard import Guard
from keyless_kernel.places import CERTIFICATES, Places, environment
from keyless_kernel.wire import LaunchSpec

#: Bytes of the kernel's raw output that reach the server's log, per launch.
_LOG_LIMIT = 64 * 1024


class KernelProcess:
    """From its start to its end.  Close it.  Made on the process's main thread.

    Args:
        spec: what to start.
        confiner: starts the sandbox.
        places: the kernel's folders.
        guard: its limits.
        channel: its end of the channel to the sidecar.
        ways: its end of what its listeners go over.

    Raises:
        ConfinementUnavailable: the sandbox can't be made, or would show what is private.
    """

    def __init__(
        self,
        spec: LaunchSpec,
        confiner: Confiner,
        places: Places,
        guard: Guard,
        channel: socket.socket,
        ways: socket.socket,
    ) -> None:
        self._connection = {**spec.connection, "ip": f"{places.sockets_inside}/k"}
        self._certificates = places.certificates
        binds = _binds(spec, confiner, places)
        self._logged = 0
        lifeline, self._lifeline = os.pipe2(os.O_CLOEXEC)
        self.log, log = os.pipe2(os.O_CLOEXEC)
        # A pipe: the kernel can read its connection only once.
        start, self._start = os.pipe2(os.O_CLOEXEC)
        #: Readable, or at its end, when clients can connect.
        self.listening, listens = os.pipe2(os.O_CLOEXEC)
        notices, self._notices = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        sandbox = Sandbox(
            argv=(
                spec.python,
                *("-P", "-m", "keyless_kernel.launcher"),
                *("--start-fd", str(start), "--lifeline-fd", str(lifeline)),
                *("--network-fd", str(ways.fileno()), "--listening-fd", str(listens)),
            ),
            env={
                **spec.kernel_env,
                **environment(confiner, places),
                "KEYLESS_CHANNEL_FD": str(channel.fileno()),
                "KEYLESS_NOTICE_FD": str(notices),
            },
            cwd=confiner.workspace_path(places.workspace),
            binds=binds,
            workspace=WorkspaceMount(places.workspace, "rw"),
            private=places.private,
            limits=guard.process_limits,
            cgroup=guard.entry,
        )
        inherited = (start, lifeline, listens, notices)
        try:
            self.confined: Confined = confiner.spawn(
                sandbox,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(*inherited, channel.fileno(), ways.fileno()),
            )
        except BaseException:
            self._close_descriptors()
            raise
        finally:
            for descriptor in (*inherited, log):
                os.close(descriptor)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor's own child, whose end is the kernel's."""
        return self.confined.process

    def connect(self, network: KernelNetwork) -> None:
        """Let it become a kernel: the sidecar is ready.

        Args:
            network: what the sidecar says of the kernel's way to a network.
        """
        for path, text in network.files.items():
            self._show(PurePosixPath(path).relative_to(CERTIFICATES), text)
        start = {
            "connection": self._connection,
            "environment": network.environment,
            "ports": network.ports,
        }
        with (
            contextlib.suppress(BrokenPipeError),  # it has ended; that is told elsewhere
            os.fdopen(self._start, "wb", closefd=False) as file,
        ):
            file.write(json.dumps(start).encode())
        self._forget("_start")

    def tell(self, text: str) -> None:
        """Let its magics print a warning; one that isn't read doesn't matter."""
        with contextlib.suppress(OSError):
            os.write(self._notices, text.encode() + b"\n")

    def copy_log(self) -> None:
        """Pass on what the process itself printed, harmless for a terminal, and capped."""
        if self.log < 0 or not select.select([self.log], [], [], 0)[0]:
            return
        data = os.read(self.log, 65536)
        if not data:
            self._forget("log")
            return
        left = _LOG_LIMIT - self._logged
        self._logged += len(data)
        if left > 0:
            text = data[:left].decode(errors="replace")
            clean = "".join(
                c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
            )
            with contextlib.suppress(OSError):
                sys.stderr.write(clean)
                sys.stderr.flush()

    def close(self) -> None:
        """Kill what is left of it."""
        self.confined.close()
        self._close_descriptors()

    def _show(self, name: PurePosixPath, text: str) -> None:
        """Put a file where the sandbox sees it, read-only."""
        path = Path(self._certificates, name)
        path.write_text(text)
        path.chmod(0o444)

    def _close_descriptors(self) -> None:
        self._forget("_lifeline", "log", "_start", "listening", "_notices")

    def _forget(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
                setattr(self, name, -1)


def _binds(spec: LaunchSpec, confiner: Confiner, places: Places) -> tuple[Bind, ...]:
    """What the kernel sees of the host, beyond the system's own libraries and its workspace."""
    shown = interpreter_binds(spec.python, packages=("keyless", "keyless_kernel"))
    extra = tuple(Bind(path, path) for path in spec.confinement.get("read_only_paths", []))
    view.refuse_exposure((*shown, *extra), spec.private)
    if not spec.ephemeral:
        view.refuse_exposure((Bind(places.workspace, places.workspace),), spec.private)
    own = [Bind(places.sockets, places.sockets_inside, writable=True)]
    if confiner.own_network:
        own.append(Bind(places.certificates, CERTIFICATES))
    return (*shown, *extra, *own)


__all__ = ["KernelProcess"]
