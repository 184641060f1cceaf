"""Sandboxes by Landlock and system-call filters: the levels ``landlock-root`` and ``landlock``.

For containers and hosted notebooks, where namespaces can't be made.  Paths are the host's; what a
sandbox may open is a list of rules, network is out of reach but for one port, and a wrapper process
(:mod:`keyless_kernel.confine.jail`) stands for the missing pid namespace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from keyless_kernel.confine import landlock, levels, seccomp_shared, view
from keyless_kernel.confine.base import Confiner, rlimits
from keyless_kernel.confine.cgroups import entering
from keyless_kernel.confine.errors import ConfinementUnavailable
from keyless_kernel.confine.memory import memory_file
from keyless_kernel.confine.process import Jailed
from keyless_kernel.confine.sandbox import Bind, Sandbox

_DEVICES = ("null", "zero", "full", "random", "urandom")
#: Real ones, where a sandbox of namespaces has made-up ones; none of them is private.
_ETC = ("group", "hosts", "nsswitch.conf", "passwd")
_USE = landlock.READ | landlock.EXECUTE
_CHANGE = landlock.READ | landlock.WRITE | landlock.EXECUTE

Rule = tuple[str, int]


class LandlockConfiner(Confiner):
    """Starts sandboxes without namespaces.  :func:`keyless_kernel.confine.probe` makes it.

    Args:
        level: ``landlock-root`` or ``landlock``.
        uid, gid: host ids of sandboxed processes; at ``landlock`` this process's own.
    """

    own_folders = False
    own_network = False

    def __init__(self, *, level: str, uid: int, gid: int) -> None:
        super().__init__(level=level, uid=uid, gid=gid, overlay=False)

    def workspace_path(self, source: str) -> str:
        """The host's own path, without links in it."""
        return os.path.realpath(source)

    def home_path(self, spec_home: str, private: str) -> str:
        """A folder in the private one."""
        return f"{private}/home"

    def temporary_path(self, private: str) -> str:
        """A folder in the private one."""
        return f"{private}/tmp"  # noqa: S108 - the caller's own folder

    def spawn(
        self,
        spec: Sandbox,
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        pass_fds: Sequence[int] = (),
    ) -> Jailed:
        """Start a sandboxed command; returns when it has been executed.

        Args:
            spec: what to run in which sandbox.  Where it names a ``private`` folder, that folder
                is given HOME and TMPDIR, owned by the sandbox's user.
            stdin, stdout, stderr: descriptors of the command.
            pass_fds: further descriptors that it inherits under the same numbers.

        Raises:
            ConfinementUnavailable: the sandbox could not be made, or the command not be executed.
        """
        roots = self._private_folders(spec)
        if spec.workspace and spec.workspace.mode == "rw":
            roots.append(self.workspace_path(spec.workspace.source))
        rules = self.rules(spec)
        filters = seccomp_shared.filters(
            unix_sockets=spec.unix_sockets, connections=bool(spec.gate_port)
        )
        control_read, control_write = os.pipe2(os.O_CLOEXEC)
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        root = self.level == levels.LANDLOCK_ROOT
        plan = {
            "argv": spec.argv,
            "env": {**spec.env, "PWD": spec.cwd},
            "cwd": spec.cwd,
            "identity": [self.uid, self.gid] if root else None,
            "limits": rlimits(spec.limits),
            "rules": rules,
            "proc": spec.proc,
            "roots": roots,
            "port": spec.gate_port,
            "token": spec.gate_token.hex(),
            "filters": [program.hex() for program in filters.programs],
            "notified": filters.notified.hex(),
            "names": filters.names,
            "seccomp": filters.seccomp_number,
            "pass": list(pass_fds),
            "control": control_read,
            "status": status_write,
        }
        plan_fd = memory_file(json.dumps(plan).encode())
        try:
            jail = str(Path(__file__).with_name("jail.py"))
            process = subprocess.Popen(
                entering(spec.cgroup, [sys.executable, "-I", "-S", "-B", jail, str(plan_fd)]),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env={"LANG": "C.UTF-8"},
                cwd="/",
                pass_fds=(plan_fd, control_read, status_write, *pass_fds),
                start_new_session=True,
            )
        except BaseException:
            for descriptor in (control_write, status_read):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (plan_fd, control_read, status_write):
                os.close(descriptor)
        with os.fdopen(status_read, "rb") as status:
            said = status.read().decode(errors="replace")
        jailed = Jailed(process, control_write)
        # It writes only when the command was not executed; dying without a word is no start either.
        if said or process.poll() not in (None, *range(126)):
            jailed.close()
            raise ConfinementUnavailable(
                said or f"the sandbox ended while starting (status {process.returncode})"
            )
        return jailed

    def rules(self, spec: Sandbox) -> list[Rule]:
        """Paths and rights, for what exists."""
        rules = [*_system_rules()]
        for bind in spec.binds:
            rules += _bind_rules(bind)
        if spec.files:
            raise ConfinementUnavailable(f"no files can be made up at the level {self.level}")
        if spec.workspace:
            if spec.workspace.mode == "overlay":
                raise ConfinementUnavailable(f"no overlay at the level {self.level}")
            path = self.workspace_path(spec.workspace.source)
            rules.append((path, _CHANGE if spec.workspace.mode == "rw" else landlock.READ))
        if spec.terminal:
            # For each process its own: it has none but the one that it was given.
            rules.append(("/dev/tty", landlock.DEVICE))
        if spec.private:
            for folder in (self.home_path("", spec.private), self.temporary_path(spec.private)):
                rules.append((folder, _CHANGE))
        return rules

    def _private_folders(self, spec: Sandbox) -> list[str]:
        if not spec.private:
            return []
        folders = [self.home_path(spec.home, spec.private), self.temporary_path(spec.private)]
        for folder in folders:
            if not os.path.isdir(folder):  # noqa: PTH112
                Path(folder).mkdir(mode=0o700)
                os.chown(folder, self.uid, self.gid)
        return folders


def _system_rules() -> Iterator[Rule]:
    for folder in view.system_folders():
        yield folder, _USE
    for path in view.etc_paths(_ETC):
        yield path, landlock.READ
    for name in _DEVICES:
        yield f"/dev/{name}", landlock.DEVICE


def _bind_rules(bind: Bind) -> Iterator[Rule]:
    if bind.source != bind.target:
        raise ConfinementUnavailable(
            f"{bind.source} can't be shown at another place without mounts"
        )
    source = Path(bind.source)
    if bind.writable:
        yield bind.source, _CHANGE
    elif (source / "etc" / "jupyter").is_dir():
        # What the trusted side is configured by stays hidden.
        yield from ((str(path), _USE) for path in source.iterdir() if path.name != "etc")
    else:
        yield bind.source, _USE
    if (source / "__init__.py").is_file():
        # An editable install: Python finds a package by listing the folder that it lies in.
        yield str(source.parent), landlock.READ_DIR
