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
from keyless_kernel.confine.cgroups import NoGroup
from keyless_kernel.confine.config import section_from
from keyless_kernel.confine.folders import remove_tree
from keyless_kernel.confine.limits import Limits
from keyless_kernel.confine.memory import memory_file
from keyless_kernel.confine.metering import Limiter
from keyless_kernel.confine.settings import KernelNetwork
from keyless_kernel.guard import Guard
from keyless_kernel.places import Places, Unusable, environment, prepare
from keyless_kernel.wire import LaunchSpec, line, split_lines

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
        self._places: Places | None = None
        self._limiter: Limiter | None = None
        self._guard: Guard | None = None
        #: Write end of what the kernel's magics print as warnings; and what the next one is told.
        self._notices = -1
        self._ended_for = ""
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
            patience = self._guard.left() if self._guard and self._kernel else None
            ready, _, _ = select.select(watched, [], [], patience)
            if self._wakeup in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakeup, 4096)
                self._reap()
            if self._kernel_log in ready:
                self._copy_log()
            self._look()
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
            except (ConfinementUnavailable, LaunchFailed, NoGroup, OSError) as error:
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
        runtime = Path(spec.runtime_dir)
        runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
        confiner = probe(section_from(Confinement, {"Confinement": spec.confinement}), runtime)
        try:
            places = prepare(
                confiner,
                runtime,
                spec.workspace,
                ephemeral=spec.ephemeral,
                apart=self._places.apart if self._places else "",
            )
        except Unusable as error:
            raise LaunchFailed(str(error)) from None
        self._places = places
        self._limiter = Limiter.find()
        limits = section_from(Limits, {"Limits": spec.limits})
        private = "" if confiner.own_folders else places.private
        self._guard = Guard(limits, self._limiter, places.workspace, confiner.level, private)
        kernel_end, sidecar_end = socket.socketpair()
        ways_in, ways_out = socket.socketpair()
        with kernel_end, sidecar_end, ways_in, ways_out:
            network = self._start_sidecar(spec, places, sidecar_end, ways_out)
            self._start_kernel(spec, confiner, places, kernel_end, self._guard, network, ways_in)
        self._send(
            {
                "event": "launched",
                "level": confiner.level,
                "limits": self._limiter.mechanism,
                "pid": self._kernel_pid(),
                "workspace": places.workspace,
                "apart": places.apart,
            }
        )

    def _start_sidecar(
        self, spec: LaunchSpec, places: Places, channel: socket.socket, ways_out: socket.socket
    ) -> KernelNetwork:
        its_own = {"workspace": places.workspace, "scratch": places.scratch}
        # In memory: credentials that a host registered, and a passphrase, must not reach a disk.
        settings = memory_file(json.dumps({**spec.settings, **its_own}).encode())
        lifeline_read, self._sidecar_lifeline = os.pipe2(os.O_CLOEXEC)
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        descriptors = (settings, channel.fileno(), status_write, lifeline_read, ways_out.fileno())
        names = ("settings", "channel", "status", "lifeline", "network")
        arguments = [
            word
            for name, descriptor in zip(names, descriptors, strict=True)
            for word in (f"--{name}-fd", str(descriptor))
        ]
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
        return msgspec.convert(answer.get("network", {}), KernelNetwork)

    def _read_status(self, descriptor: int, timeout: float) -> dict[str, Any]:
        """The sidecar's one status line; gives up when the provisioner goes or time is over."""
        deadline = time.monotonic() + timeout
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        # Only its end counts now; what it says (a kill, say) has its turn after the launch.
        poll.register(self._control, select.POLLRDHUP)
        data = b""
        while not data.endswith(b"\n"):
            left = deadline - time.monotonic()
            ready = [number for number, _ in poll.poll(max(left * 1000, 0))] if left > 0 else []
            if not ready:
                raise LaunchFailed(f"the sidecar did not start within {timeout:g} s")
            if descriptor not in ready:
                raise LaunchFailed("the server went away")
            chunk = os.read(descriptor, 65536)
            if not chunk:
                raise LaunchFailed("the sidecar ended while starting; see the server's log")
            data += chunk
        answer: dict[str, Any] = json.loads(data)
        return answer

    def _start_kernel(
        self,
        spec: LaunchSpec,
        confiner: Confiner,
        places: Places,
        channel: socket.socket,
        guard: Guard,
        network: KernelNetwork,
        ways_in: socket.socket,
    ) -> None:
        binds = interpreter_binds(spec.python, packages=("keyless", "keyless_kernel"))
        extra = tuple(Bind(path, path) for path in spec.confinement.get("read_only_paths", []))
        view.refuse_exposure((*binds, *extra), spec.private)
        if not spec.ephemeral:
            view.refuse_exposure((Bind(places.workspace, places.workspace),), spec.private)
        sockets = Bind(places.sockets, places.sockets_inside, writable=True)
        lifeline_read, self._kernel_lifeline = os.pipe2(os.O_CLOEXEC)
        self._kernel_log, log_write = os.pipe2(os.O_CLOEXEC)
        self._logged = 0
        # A pipe: the kernel can read its connection only once.
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        inside = {**spec.connection, "ip": f"{places.sockets_inside}/k"}
        os.write(write_end, json.dumps(inside).encode())
        os.close(write_end)
        notices, self._notices = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._ended_for:
            self._tell(f"Before its restart, {self._ended_for}.")
            self._ended_for = ""
        variables = {
            **spec.kernel_env,
            **environment(confiner, places),
            **network.environment,
            "KEYLESS_CHANNEL_FD": str(channel.fileno()),
            "KEYLESS_NOTICE_FD": str(notices),
        }
        sandbox = Sandbox(
            argv=(
                spec.python,
                *("-P", "-m", "keyless_kernel.launcher"),
                *("--connection-fd", str(read_end), "--lifeline-fd", str(lifeline_read)),
                *("--network-fd", str(ways_in.fileno())),
                *(word for port in network.ports for word in ("--listen", str(port))),
            ),
            env=variables,
            cwd=confiner.workspace_path(places.workspace),
            binds=(*binds, *extra, sockets),
            files=tuple((path, text.encode()) for path, text in network.files.items()),
            workspace=WorkspaceMount(places.workspace, "rw"),
            private=places.private,
            limits=guard.process_limits,
            cgroup=guard.entry,
        )
        try:
            self._kernel = confiner.spawn(
                sandbox,
                stdin=subprocess.DEVNULL,
                stdout=log_write,
                stderr=log_write,
                pass_fds=(
                    *(read_end, lifeline_read, channel.fileno(), notices),
                    ways_in.fileno(),
                ),
            )
        finally:
            for descriptor in (read_end, lifeline_read, log_write, notices):
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
                if self._guard and not self._ended_for:
                    self._ended_for = self._guard.last_words(self._kernel.init_pid, code)
                reason = self._ended_for
                self._stop(reason)
                self._send({"event": "exited", "code": code, "reason": reason})
            elif self._sidecar and found.si_pid == self._sidecar.pid:
                self._sidecar.wait()
                self._sidecar = None
                self._sweep_groups()
            else:
                os.waitpid(found.si_pid, 0)
        self._kill_orphans()

    def _look(self) -> None:
        """End the kernel where it is beyond a limit, and say why."""
        if self._guard is None or self._kernel is None:
            return
        finding = self._guard.look(self._kernel.init_pid)
        if finding is None:
            return
        if finding.fatal:
            self._ended_for = finding.text
            self._kernel.kill()
        else:
            self._tell(f"{finding.text[0].upper()}{finding.text[1:]}.")
            self._send({"event": "notice", "text": finding.text})

    def _tell(self, text: str) -> None:
        """Let the kernel's magics print a warning; one that isn't read doesn't matter."""
        with contextlib.suppress(OSError):
            os.write(self._notices, text.encode() + b"\n")

    def _sweep_groups(self) -> None:
        """Remove the control groups of a sidecar that was killed, with what runs in them."""
        if self._limiter:
            self._limiter.sweep()

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

    def _stop(self, reason: str = "") -> None:
        """End kernel and sidecar; folders stay.

        Args:
            reason: why the kernel had to end, for the audit.
        """
        if self._kernel:
            self._kernel.close()
            self._kernel = None
        if self._sidecar_lifeline >= 0:
            if reason:
                with contextlib.suppress(OSError):
                    os.write(self._sidecar_lifeline, reason.encode() + b"\n")
            os.close(self._sidecar_lifeline)
            self._sidecar_lifeline = -1
        if self._sidecar:
            try:
                self._sidecar.wait(timeout=_SIDECAR_GRACE)
            except subprocess.TimeoutExpired:
                self._sidecar.kill()
                self._sidecar.wait()
            self._sidecar = None
        for name in ("_kernel_lifeline", "_kernel_log", "_notices"):
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
                setattr(self, name, -1)
        self._sweep()
        if self._guard:
            self._guard.close()
            self._guard = None
        self._sweep_groups()

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
        if self._places:
            self._places.remove()
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
