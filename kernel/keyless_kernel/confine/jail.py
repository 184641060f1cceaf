"""The wrapper around one sandbox of the landlock levels: starts it, watches it, ends all of it.

:class:`keyless_kernel.confine.landlock_confiner.LandlockConfiner` runs this file as
``python -I -S -B jail.py PLAN_FD`` (standard library only; its neighbours are loaded by path).

There is no pid namespace here whose init takes everything with it.  So this process makes itself
the one to which orphans of the sandbox go, stops and kills the whole tree when the command has
ended, when it is told to, and when the process that started it is gone (the control pipe's end).
It is not dumpable and outside of the sandbox's Landlock domain, whose signals don't reach it.
It has the sandbox's own user, without any capability, at both levels.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib.util
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP = 1, 4, 22
_PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 24, 36, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_SECCOMP_MODE_FILTER = 2
_SECCOMP_SET_MODE_FILTER, _SECCOMP_NEW_LISTENER = 1, 8
_CAPABILITY_VERSION = 0x20080522

#: What a command may read below its own folder in /proc.  No ``net`` and no ``mountinfo``: they
#: tell about the host.
_OWN_PROC = (
    *("cgroup", "cmdline", "comm", "fd", "fdinfo", "io", "limits", "maps", "oom_score"),
    *("oom_score_adj", "smaps", "smaps_rollup", "stat", "statm", "status"),
)
_GENERAL_PROC = (
    *("cpuinfo", "filesystems", "loadavg", "meminfo", "stat", "uptime", "version"),
    *("sys/kernel/osrelease", "sys/kernel/ostype", "sys/kernel/pid_max", "sys/fs/pipe-max-size"),
    *("sys/kernel/cap_last_cap", "sys/kernel/random/boot_id", "sys/vm/overcommit_memory"),
)


class Failure(Exception):
    """The sandbox can't be made; the message says why."""


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_char_p))


class Jail:
    """One sandbox.

    Args:
        plan: what :class:`LandlockConfiner` wrote.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._libc = ctypes.CDLL(None, use_errno=True)
        # All now: the sandbox's user may not be able to read this folder.
        self._landlock = _neighbour("landlock")
        self._clerk = _neighbour("clerk")
        self._tree = _neighbour("tree")
        self._child = -1
        self._pins: list[int] = []

    def run(self) -> int:
        """Run the command to the end of everything it started; its exit status."""
        plan = self._plan
        self._prctl("PR_SET_CHILD_SUBREAPER", _PR_SET_CHILD_SUBREAPER, 1)
        wakeup, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        rules = self._landlock.Ruleset(network=True)
        for path, rights in plan["rules"]:
            with contextlib.suppress(FileNotFoundError):
                rules.allow(path, rights)
        if plan["identity"] is not None:
            self._become(*plan["identity"])
        self._prctl("PR_SET_NO_NEW_PRIVS", _PR_SET_NO_NEW_PRIVS, 1)
        self._prctl("PR_SET_DUMPABLE", _PR_SET_DUMPABLE, 0)
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            ours.close()
            self._command(theirs, rules, parent)
        theirs.close()
        if plan["proc"]:
            self._show_proc(rules)
        rules.close()
        ours.sendall(b"g")
        listener = self._take_listener(ours)
        ours.close()
        null = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        for descriptor in (null, plan["status"], *plan["pass"]):
            os.close(descriptor)
        return self._watch(wakeup, listener)

    # ------------------------------------------------------------------ the command's process

    def _command(self, link: socket.socket, rules: Any, parent: int) -> None:
        """In the child: lay everything on, become the command; never returns."""
        plan = self._plan
        try:
            self._prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent or link.recv(1) != b"g":
                os._exit(1)
            os.setsid()
            os.close(plan["control"])
            for number in (*range(1, 32), *range(34, 65)):
                if number not in (signal.SIGKILL, signal.SIGSTOP):
                    signal.signal(number, signal.SIG_DFL)
            os.umask(0o022)
            os.chdir(plan["cwd"])
            rules.restrict()
            rules.close()
            if plan["notified"]:
                listener = self._load_with_listener(bytes.fromhex(plan["notified"]))
                socket.send_fds(link, [b"l"], [listener])
                os.close(listener)
            link.close()
            for program in plan["filters"]:
                self._load(bytes.fromhex(program))
            for limit, value in plan["limits"]:
                resource.setrlimit(limit, (value, value))
            for descriptor in plan["pass"]:
                os.set_inheritable(descriptor, True)
            os.execve(plan["argv"][0], plan["argv"], plan["env"])  # noqa: S606
        except BaseException as error:  # noqa: BLE001 - this process may do nothing else
            os.write(plan["status"], f"{plan['argv'][0]}: {error}".encode())
            os._exit(126)

    def _load(self, program: bytes) -> None:
        description = _Filter(len(program) // 8, program)
        self._prctl(
            "PR_SET_SECCOMP", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(description)
        )

    def _load_with_listener(self, program: bytes) -> int:
        description = _Filter(len(program) // 8, program)
        descriptor = int(
            self._libc.syscall(
                ctypes.c_long(self._plan["seccomp"]),
                ctypes.c_uint(_SECCOMP_SET_MODE_FILTER),
                ctypes.c_uint(_SECCOMP_NEW_LISTENER),
                ctypes.byref(description),
            )
        )
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), "seccomp with a listener")
        return descriptor

    # ------------------------------------------------------------------ before it starts

    def _become(self, uid: int, gid: int) -> None:
        """Be the sandbox's user, for good and without any capability."""
        for capability in range(64):
            if self._libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                if ctypes.get_errno() == errno.EINVAL:
                    break  # the first one that this kernel doesn't know
                raise Failure("the bounding set can't be emptied: CAP_SETPCAP is missing")
        self._libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        except OSError as error:
            raise Failure(f"no change to user {uid} ({error}): CAP_SETUID, CAP_SETGID") from None
        header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
        if self._libc.capset(header, bytes(24)) != 0:
            raise Failure("the capabilities can't be dropped")

    def _show_proc(self, rules: Any) -> None:
        """Let the command see its own part of /proc, and what is general.

        The kernel forgets a rule with the entry that it was made for, so the entries are held.
        """
        own = [f"/proc/{self._child}/{name}" for name in _OWN_PROC]
        for path in (*own, *(f"/proc/{name}" for name in _GENERAL_PROC)):
            with contextlib.suppress(FileNotFoundError):
                held = os.open(path, os.O_PATH | os.O_CLOEXEC)
                self._pins.append(held)
                rules.allow(held, self._landlock.READ)

    def _take_listener(self, link: socket.socket) -> int:
        if not self._plan["notified"]:
            return -1
        _, descriptors, _, _ = socket.recv_fds(link, 1, 1)
        return descriptors[0] if descriptors else -1  # -1: it failed, and says so by itself

    # ------------------------------------------------------------------ its life

    def _watch(self, wakeup: int, listener: int) -> int:
        plan = self._plan
        clerk = None
        poll = select.poll()
        poll.register(plan["control"], select.POLLIN)
        poll.register(wakeup, select.POLLIN)
        if listener >= 0:
            names = {int(number): name for number, name in plan["names"].items()}
            gate = (plan["port"], bytes.fromhex(plan["token"]))
            clerk = self._clerk.Clerk(listener, names, plan["roots"], gate)
            poll.register(listener, select.POLLIN)
        status: int | None = None
        while status is None:
            ready = dict(poll.poll())
            if wakeup in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wakeup, 4096)
                status = self._reap()
            if status is None and plan["control"] in ready:
                orders = os.read(plan["control"], 64)
                if not orders or 0 in orders:
                    break
                for number in orders:
                    with contextlib.suppress(OSError):
                        os.kill(self._child, number)
            if clerk and listener in ready:
                if ready[listener] & select.POLLIN:
                    clerk.answer()
                else:
                    poll.unregister(listener)  # nobody is left who could call
                    clerk = None
        last = self._tree.end_all(self._child)
        status = last if status is None else status
        return status if status >= 0 else 128 - status

    def _reap(self) -> int | None:
        """Collect the dead; the command's status if it is among them (negative: its signal)."""
        status: int | None = self._tree.reap(self._child)
        return status

    def _prctl(self, name: str, *arguments: Any) -> None:
        padding = (0,) * (5 - len(arguments))
        if self._libc.prctl(*arguments, *padding) != 0:
            raise OSError(ctypes.get_errno(), f"prctl({name})")


def _neighbour(name: str) -> ModuleType:
    """A module of this folder, by its path: there is no package here."""
    path = str(Path(__file__).resolve().with_name(f"{name}.py"))
    spec = importlib.util.spec_from_file_location(f"keyless_{name}", path)
    if spec is None or spec.loader is None:
        raise Failure(f"{path} can't be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Run the plan that the descriptor on the command line holds."""
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        plan = json.loads(file.read())
    for name in ("status", "control"):
        os.set_inheritable(plan[name], False)
    try:
        status = Jail(plan).run()
    except (Failure, OSError) as error:
        with contextlib.suppress(OSError):
            os.write(plan["status"], str(error).encode())
        status = 126
    os._exit(status)


if __name__ == "__main__":
    main()
