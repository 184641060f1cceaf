"""The process between the Jupyter server and one kernel: starts, watches, ends.

``python -I -m keyless_kernel.supervisor FD``; FD is a socketpair to the provisioner, commands and
events as in :mod:`keyless_kernel.wire`.  It is a child subreaper, so that whatever a dying sidecar
or bubblewrap leaves comes to it and is killed.  Single-threaded: bubblewrap's "die with the parent"
counts threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from keyless_kernel.confine import Confinement, ConfinementUnavailable, Confiner
from keyless_kernel.confine.cgroups import NoGroup
from keyless_kernel.confine.config import section_from
from keyless_kernel.confine.folders import remove_tree
from keyless_kernel.confine.limits import Limits
from keyless_kernel.confine.metering import Limiter
from keyless_kernel.confine.probe import as_found, strongest, try_overlay
from keyless_kernel.confine.settings import Found
from keyless_kernel.forking import ForkingImpossible
from keyless_kernel.guard import Guard
from keyless_kernel.kernel_process import KernelProcess
from keyless_kernel.places import Places, Unusable, prepare
from keyless_kernel.sidecar_process import Program, SidecarFailed, SidecarProcess
from keyless_kernel.wire import LaunchSpec, line, split_lines

_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_DUMPABLE = 4


class LaunchFailed(Exception):
    """The kernel or its sidecar did not start; the message is for the person."""


class Supervisor:
    """One kernel's life.  Owns the control socket and every process below.

    Args:
        control: socketpair to the provisioner.
        program: the sidecar, where its code is loaded already.
    """

    def __init__(self, control: socket.socket, program: Program | None = None) -> None:
        self._control = control
        self._program = program
        self._buffer = bytearray()
        self._spec: LaunchSpec | None = None
        self._sidecar: SidecarProcess | None = None
        #: The next launch's sidecar, where it could be forked ahead.
        self._next: _Newborn | None = None
        self._kernel: KernelProcess | None = None
        self._places: Places | None = None
        self._limiter: Limiter | None = None
        self._guard: Guard | None = None
        #: Why the last kernel had to end, which the next one is told.
        self._ended_for = ""
        self._wakeup, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # A terminal's Ctrl-C is for the server; it decides what happens to kernels.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def run(self) -> int:
        """Serve until the provisioner ends the kernel or disappears."""
        self._fork_ahead()
        while True:
            watched = [self._control.fileno(), self._wakeup]
            log = self._kernel.log if self._kernel else -1
            if log >= 0:
                watched.append(log)
            patience = self._guard.left() if self._guard and self._kernel else None
            ready, _, _ = select.select(watched, [], [], patience)
            if self._wakeup in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakeup, 4096)
                self._reap()
            if self._kernel and self._kernel.log in ready:
                self._kernel.copy_log()
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
            except (ConfinementUnavailable, LaunchFailed, SidecarFailed, NoGroup, OSError) as error:
                self._stop()
                self._send({"event": "failed", "error": str(error)})
        elif operation == "signal" and self._kernel:
            self._kernel.confined.signal(int(message["number"]))
        elif operation == "kill" and self._kernel:
            self._kernel.confined.kill()
        elif operation == "stop":
            self._stop()
            self._send({"event": "stopped"})
            self._fork_ahead()

    # ------------------------------------------------------------------ start

    def _launch(self, spec: LaunchSpec) -> None:
        """Start sidecar and kernel side by side; the kernel becomes one when the sidecar is ready.

        What takes long is that both load their code, so both are started as early as possible.
        """
        self._stop()
        self._spec = spec
        Path(spec.runtime_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
        newborn, self._next = self._next or _Newborn(spec.python), None
        self._sidecar = newborn.sidecar
        with newborn.channel, newborn.ways:
            self._limiter = Limiter.find()
            found, places = self._confine(spec, newborn.channel, newborn.ways)
        its_own = {
            "workspace": places.workspace,
            "scratch": places.scratch,
            "found": msgspec.to_builtins(found),
        }
        self._sidecar.configure({**spec.settings, **its_own})
        # Nobody else needs to hold what is the sidecar's to know.
        self._spec = spec = msgspec.structs.replace(spec, settings={})
        self._await_start(time.monotonic() + spec.start_timeout)
        self._send(
            {
                "event": "launched",
                "level": found.level,
                "found": msgspec.to_builtins(found),
                "limits": self._limiter.mechanism,
                "pid": self._kernel.confined.init_pid if self._kernel else 0,
                "workspace": places.workspace,
                "apart": places.apart,
            }
        )

    def _fork_ahead(self) -> None:
        """Fork the next launch's sidecar, where that is possible.

        Before the launch is heard of: what is forked has all that this process knows, and values
        that a host registered are to be in the sidecar's vault only.
        """
        if self._program is not None and self._next is None:
            with contextlib.suppress(ForkingImpossible, OSError):
                self._next = _Newborn(sys.executable, self._program)

    def _confine(
        self, spec: LaunchSpec, channel: socket.socket, ways: socket.socket
    ) -> tuple[Found, Places]:
        """Start the kernel's sandbox at the strongest level, which is known or found out."""
        config = section_from(Confinement, {"Confinement": spec.confinement})
        if spec.found is not None:
            try:
                known = as_found(config, spec.found)
                return spec.found, self._start_kernel(spec, known, channel, ways)
            except ConfinementUnavailable:
                pass  # something has changed on this machine: finding out says what
        confiner = strongest(config)
        places = self._start_kernel(spec, confiner, channel, ways)
        # Only tools need overlays: tried while the kernel loads.
        try_overlay(confiner, Path(spec.runtime_dir))
        return Found(confiner.level, confiner.overlay), places

    def _start_kernel(
        self, spec: LaunchSpec, confiner: Confiner, channel: socket.socket, ways: socket.socket
    ) -> Places:
        try:
            places = prepare(
                confiner,
                Path(spec.runtime_dir),
                spec.workspace,
                ephemeral=spec.ephemeral,
                apart=self._places.apart if self._places else "",
            )
        except Unusable as error:
            raise LaunchFailed(str(error)) from None
        self._places = places
        if self._guard:
            self._guard.close()
        limits = section_from(Limits, {"Limits": spec.limits})
        private = "" if confiner.own_folders else places.private
        limiter = self._limiter or Limiter.find()
        self._guard = Guard(limits, limiter, places.workspace, confiner.level, private)
        self._kernel = KernelProcess(spec, confiner, places, self._guard, channel, ways)
        if self._ended_for:
            self._kernel.tell(f"Before its restart, {self._ended_for}.")
            self._ended_for = ""
        return places

    def _await_start(self, deadline: float) -> None:
        """Until the sidecar is ready, and clients can connect to the kernel or it has ended.

        Args:
            deadline: by the monotonic clock.

        Raises:
            LaunchFailed: the sidecar takes too long, or nobody waits any more.
            SidecarFailed: the sidecar doesn't start.
        """
        kernel, sidecar = self._kernel, self._sidecar
        if kernel is None or sidecar is None:
            raise LaunchFailed("nothing was started")
        network = None
        while network is None:
            if not self._wait(sidecar.descriptors, deadline):
                timeout = self._spec.start_timeout if self._spec else 0
                raise LaunchFailed(f"the sidecar did not start within {timeout:g} s")
            network = sidecar.advance()
        kernel.connect(network)
        # A kernel that takes longer is the client's affair, and so is one that ends meanwhile.
        self._wait({kernel.listening: select.POLLIN}, deadline)

    def _wait(self, descriptors: dict[int, int], deadline: float) -> bool:
        """Until one of them is ready; False at the deadline."""
        poll = select.poll()
        for descriptor, events in descriptors.items():
            poll.register(descriptor, events)
        # Only its end counts now; what it says (a kill, say) has its turn after the launch.
        poll.register(self._control, select.POLLRDHUP)
        ready = poll.poll(max(deadline - time.monotonic(), 0) * 1000)
        if any(number == self._control.fileno() for number, _ in ready):
            raise LaunchFailed("the server went away")
        return bool(ready)

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
                self._kernel.copy_log()
                if self._guard and not self._ended_for:
                    init_pid = self._kernel.confined.init_pid
                    self._ended_for = self._guard.last_words(init_pid, code)
                reason = self._ended_for
                self._stop(reason)
                self._send({"event": "exited", "code": code, "reason": reason})
            elif self._sidecar and found.si_pid == self._sidecar.process.pid:
                self._sidecar.close()
                self._sidecar = None
                self._sweep_groups()
            elif self._next and found.si_pid == self._next.sidecar.process.pid:
                self._next.close()
                self._next = None
            else:
                os.waitpid(found.si_pid, 0)
        self._kill_orphans()

    def _look(self) -> None:
        """End the kernel where it is beyond a limit, and say why."""
        if self._guard is None or self._kernel is None:
            return
        finding = self._guard.look(self._kernel.confined.init_pid)
        if finding is None:
            return
        if finding.fatal:
            self._ended_for = finding.text
            self._kernel.confined.kill()
        else:
            self._kernel.tell(f"{finding.text[0].upper()}{finding.text[1:]}.")
            self._send({"event": "notice", "text": finding.text})

    def _sweep_groups(self) -> None:
        """Remove the control groups of a sidecar that was killed, with what runs in them."""
        if self._limiter:
            self._limiter.sweep()

    def _kill_orphans(self) -> list[int]:
        """Kill children that are not ours: a dead sidecar's, or a dead bubblewrap's."""
        ahead = self._next and self._next.sidecar
        known = {part.process.pid for part in (self._sidecar, self._kernel, ahead) if part}
        orphans = [pid for pid in _children() if pid not in known]
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return orphans

    # ------------------------------------------------------------------ end

    def _stop(self, reason: str = "") -> None:
        """End kernel and sidecar; folders stay.

        Args:
            reason: why the kernel had to end, for the audit.
        """
        if self._kernel:
            self._kernel.close()
            self._kernel = None
        if self._sidecar:
            self._sidecar.close(reason)
            self._sidecar = None
        self._sweep()
        if self._guard:
            self._guard.close()
            self._guard = None
        self._sweep_groups()

    def _sweep(self) -> None:
        """Kill and reap until nothing is left of kernel and sidecar."""
        for _ in range(1000):
            orphans = self._kill_orphans()
            if not orphans:
                return
            for pid in orphans:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(0.005)

    def _end(self) -> None:
        """End everything and remove every trace."""
        if self._next:
            self._next.close()
            self._next = None
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


class _Newborn:
    """A sidecar that waits for its settings, with the other ends of what it will speak over."""

    def __init__(self, python: str, program: Program | None = None) -> None:
        self.channel, channel = socket.socketpair()
        self.ways, ways = socket.socketpair()
        with channel, ways:
            try:
                self.sidecar = SidecarProcess(python, channel, ways, program)
            except BaseException:
                self.channel.close()
                self.ways.close()
                raise

    def close(self) -> None:
        """It isn't needed."""
        self.channel.close()
        self.ways.close()
        self.sidecar.process.kill()
        self.sidecar.close()


def _children() -> list[int]:
    """Pids of this process's children (it has one thread)."""
    pid = os.getpid()
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def serve(control: socket.socket, program: Program | None = None) -> int:
    """Be a supervisor until the provisioner ends the kernel or disappears.

    Args:
        control: socketpair to the provisioner.
        program: as :class:`Supervisor` takes it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    control.set_inheritable(False)
    own = os.pidfd_open(os.getpid())
    with contextlib.suppress(OSError):
        # The provisioner isn't the parent of one that was forked, and must know when it ends.
        socket.send_fds(control, [line({"event": "born", "pid": os.getpid()})], [own])
    os.close(own)
    return Supervisor(control, program).run()


def main() -> int:
    """Entry point: ``python -I -m keyless_kernel.supervisor FD``."""
    return serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(main())
