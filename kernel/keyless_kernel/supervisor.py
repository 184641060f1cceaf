"""The process between the Jupyter server and one kernel: starts, watches, ends.

``python -I -m keyless_kernel.supervisor FD``; FD is a socketpair to the provisioner, commands and
events as in :mod:`keyless_kernel.wire`.  It is a child subreaper, so that whatever a dying sidecar
or bubblewrap leaves comes to it and is killed.  Single-threaded: bubblewrap's "die with the parent"
counts threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from traitlets.config import Config

from keyless_kernel.confine import (
    Bind,
    Confined,
    Confinement,
    ConfinementUnavailable,
    Confiner,
    Sandbox,
    WorkspaceMount,
    interpreter_binds,
    probe,
    view,
)
from keyless_kernel.confine.folders import remove_tree
from keyless_kernel.confine.memory import memory_file
from keyless_kernel.wire import LaunchSpec, line, split_lines

#: Where the kernel's sockets lie in the sandbox.
SOCKETS = "/run/keyless"
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_DUMPABLE = 4
#: Seconds that a sidecar gets to write its last record.
_SIDECAR_GRACE = 3.0
#: Bytes of the kernel's raw output that reach the server's log, per launch.
_LOG_LIMIT = 64 * 1024


class LaunchFailed(Exception):
    """The kernel or its sidecar did not start; the message is for the person."""


class Supervisor:
    """One kernel's life.  Owns the control socket and every process below."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._buffer = bytearray()
        self._spec: LaunchSpec | None = None
        self._sidecar: subprocess.Popen[bytes] | None = None
        self._sidecar_lifeline = -1
        self._kernel: Confined | None = None
        self._kernel_lifeline = -1
        self._kernel_log = -1
        self._logged = 0
        self._wakeup, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # A terminal's Ctrl-C is for the server; it decides what happens to kernels.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def run(self) -> int:
        """Serve until the provisioner ends the kernel or disappears."""
        while True:
            watched = [self._control.fileno(), self._wakeup]
            if self._kernel_log >= 0:
                watched.append(self._kernel_log)
            ready, _, _ = select.select(watched, [], [])
            if self._wakeup in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakeup, 4096)
                self._reap()
            if self._kernel_log in ready:
                self._copy_log()
            if self._control.fileno() in ready:
                messages = self._receive()
                if messages is None:
                    self._end()
                    return 0
                for message in messages:
                    if message["op"] == "end":
                        self._end()
                        self._send({"event": "ended"})
                        return 0
                    self._command(message)

    # ------------------------------------------------------------------ control socket

    def _receive(self) -> list[dict[str, Any]] | None:
        try:
            data = self._control.recv(1 << 20)
        except ConnectionError:
            return None
        if not data:
            return None
        self._buffer += data
        return split_lines(self._buffer)

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._control.sendall(line(message))

    def _command(self, message: dict[str, Any]) -> None:
        operation = message["op"]
        if operation == "launch":
            try:
                self._launch(msgspec.convert(message["spec"], LaunchSpec))
            except (ConfinementUnavailable, LaunchFailed, OSError) as error:
                self._stop()
                self._send({"event": "failed", "error": str(error)})
        elif operation == "signal" and self._kernel:
            self._kernel.signal(int(message["number"]))
        elif operation == "kill" and self._kernel:
            self._kernel.kill()
        elif operation == "stop":
            self._stop()
            self._send({"event": "stopped"})

    # ------------------------------------------------------------------ start

    def _launch(self, spec: LaunchSpec) -> None:
        self._stop()
        self._spec = spec
        confiner = probe(Confinement(config=Config({"Confinement": spec.confinement})))
        runtime = Path(spec.runtime_dir)
        self._prepare_folders(spec, confiner, runtime)
        kernel_end, sidecar_end = socket.socketpair()
        with kernel_end, sidecar_end:
            self._start_sidecar(spec, sidecar_end)
            self._start_kernel(spec, confiner, kernel_end)
        self._send({"event": "launched", "level": confiner.level, "pid": self._kernel_pid()})

    def _prepare_folders(self, spec: LaunchSpec, confiner: Confiner, runtime: Path) -> None:
        sockets = runtime / "s"
        remove_tree(sockets)
        remove_tree(runtime / "scratch")
        sockets.mkdir(mode=0o700, parents=True)
        (runtime / "scratch").mkdir(mode=0o700)
        runtime.chmod(0o700)
        os.chown(sockets, confiner.uid, confiner.gid)
        workspace = Path(spec.workspace)
        if not workspace.exists():
            workspace.mkdir(mode=0o700, parents=True)
            os.chown(workspace, confiner.uid, confiner.gid)
        status = workspace.stat()
        writable = status.st_mode & 0o002 or (
            status.st_uid == confiner.uid and status.st_mode & 0o200
        )
        if not writable:
            raise LaunchFailed(
                f"the workspace {workspace} belongs to user {status.st_uid}, but kernels run as "
                f"user {confiner.uid}; run: chown -R {confiner.uid}:{confiner.gid} {workspace}"
            )

    def _start_sidecar(self, spec: LaunchSpec, channel: socket.socket) -> None:
        # In memory: credentials that a host registered, and a passphrase, must not reach a disk.
        settings = memory_file(json.dumps(spec.settings).encode())
        lifeline_read, self._sidecar_lifeline = os.pipe2(os.O_CLOEXEC)
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        descriptors = (settings, channel.fileno(), status_write, lifeline_read)
        names = ("--settings-fd", "--channel-fd", "--status-fd", "--lifeline-fd")
        arguments = [str(x) for pair in zip(names, descriptors, strict=True) for x in pair]
        try:
            self._sidecar = subprocess.Popen(
                [spec.python, "-I", "-B", "-m", "keyless_sidecar", "serve", *arguments],
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"},
                cwd="/",
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                start_new_session=True,
            )
        finally:
            for descriptor in (settings, lifeline_read, status_write):
                os.close(descriptor)
        with os.fdopen(status_read, "rb") as status:
            answer = self._read_status(status.fileno(), spec.start_timeout)
        if not answer.get("ready"):
            raise LaunchFailed(str(answer.get("error") or "the sidecar did not start"))

    def _read_status(self, descriptor: int, timeout: float) -> dict[str, Any]:
        """The sidecar's one status line; gives up when the provisioner goes or time is over."""
        deadline = time.monotonic() + timeout
        data = b""
        while not data.endswith(b"\n"):
            left = deadline - time.monotonic()
            watched = [descriptor, self._control.fileno()]
            ready = select.select(watched, [], [], max(left, 0))[0] if left > 0 else []
            if not ready:
                raise LaunchFailed(f"the sidecar did not start within {timeout:g} s")
            if descriptor not in ready:  # nothing else is sent during a launch: this is the end
                raise LaunchFailed("the server went away")
            chunk = os.read(descriptor, 65536)
            if not chunk:
                raise LaunchFailed("the sidecar ended while starting; see the server's log")
            data += chunk
        answer: dict[str, Any] = json.loads(data)
        return answer

    def _start_kernel(self, spec: LaunchSpec, confiner: Confiner, channel: socket.socket) -> None:
        binds = interpreter_binds(spec.python, packages=("keyless", "keyless_kernel"))
        extra = tuple(Bind(path, path) for path in spec.confinement.get("read_only_paths", []))
        view.refuse_exposure((*binds, *extra), spec.private)
        if not spec.ephemeral:
            view.refuse_exposure((Bind(spec.workspace, spec.workspace),), spec.private)
        sockets = Bind(str(Path(spec.runtime_dir) / "s"), SOCKETS, writable=True)
        lifeline_read, self._kernel_lifeline = os.pipe2(os.O_CLOEXEC)
        self._kernel_log, log_write = os.pipe2(os.O_CLOEXEC)
        self._logged = 0
        # A pipe: the kernel can read its connection only once.
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        os.write(write_end, json.dumps(spec.connection).encode())
        os.close(write_end)
        environment = {**spec.kernel_env, "KEYLESS_CHANNEL_FD": str(channel.fileno())}
        sandbox = Sandbox(
            argv=(
                spec.python,
                *("-P", "-m", "keyless_kernel.launcher"),
                *("--connection-fd", str(read_end), "--lifeline-fd", str(lifeline_read)),
            ),
            env=environment,
            binds=(*binds, *extra, sockets),
            workspace=WorkspaceMount(spec.workspace, "rw"),
        )
        try:
            self._kernel = confiner.spawn(
                sandbox,
                stdin=subprocess.DEVNULL,
                stdout=log_write,
                stderr=log_write,
                pass_fds=(read_end, lifeline_read, channel.fileno()),
            )
        finally:
            for descriptor in (read_end, lifeline_read, log_write):
                os.close(descriptor)

    def _kernel_pid(self) -> int:
        return self._kernel.init_pid if self._kernel else 0

    # ------------------------------------------------------------------ watching

    def _reap(self) -> None:
        """Collect the dead: the kernel's end is an event, unknown ones are orphans' ends."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if found is None:
                break
            if self._kernel and found.si_pid == self._kernel.process.pid:
                code = self._kernel.process.wait()
                self._copy_log()
                self._stop()
                self._send({"event": "exited", "code": code})
            elif self._sidecar and found.si_pid == self._sidecar.pid:
                self._sidecar.wait()
                self._sidecar = None
            else:
                os.waitpid(found.si_pid, 0)
        self._kill_orphans()

    def _kill_orphans(self) -> None:
        """Kill children that are not ours: a dead sidecar's, or a dead bubblewrap's."""
        known = {p.pid for p in (self._sidecar, self._kernel and self._kernel.process) if p}
        for pid in _children():
            if pid not in known:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _copy_log(self) -> None:
        """Pass on what the kernel process itself printed, harmless for a terminal, and capped."""
        if self._kernel_log < 0 or not select.select([self._kernel_log], [], [], 0)[0]:
            return
        data = os.read(self._kernel_log, 65536)
        if not data:
            os.close(self._kernel_log)
            self._kernel_log = -1
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

    # ------------------------------------------------------------------ end

    def _stop(self) -> None:
        """End kernel and sidecar; folders stay."""
        if self._kernel:
            self._kernel.close()
            self._kernel = None
        if self._sidecar_lifeline >= 0:
            os.close(self._sidecar_lifeline)
            self._sidecar_lifeline = -1
        if self._sidecar:
            try:
                self._sidecar.wait(timeout=_SIDECAR_GRACE)
            except subprocess.TimeoutExpired:
                self._sidecar.kill()
                self._sidecar.wait()
            self._sidecar = None
        for name in ("_kernel_lifeline", "_kernel_log"):
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
                setattr(self, name, -1)
        self._sweep()

    def _sweep(self) -> None:
        """Kill and reap until no child is left."""
        for _ in range(1000):
            self._kill_orphans()
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(0.005)

    def _end(self) -> None:
        """End everything and remove every trace."""
        self._stop()
        if self._spec is None:
            return
        with contextlib.suppress(OSError):
            Path(self._spec.connection_file).unlink()
        ours = [self._spec.runtime_dir, *([self._spec.workspace] if self._spec.ephemeral else [])]
        for folder in ours:
            remove_tree(folder)
            # The parent is shared by kernels; the last one out removes it.
            with contextlib.suppress(OSError):
                Path(folder).parent.rmdir()


def _harmless(character: str) -> bool:
    return character.isprintable() or character in "\n\t"


def _children() -> list[int]:
    """Pids of this process's children (it has one thread)."""
    pid = os.getpid()
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def main() -> int:
    """Entry point: ``python -I -m keyless_kernel.supervisor FD``."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    return Supervisor(control).run()


if __name__ == "__main__":
    sys.exit(main())
