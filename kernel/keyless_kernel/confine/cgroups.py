"""Control groups: one for each sandbox, made below the group in which this process lies itself.

:func:`find` tries a group out before it promises any: a delegated cgroup v2 first, then cgroup v1
as root.  Sandboxes are started inside their group (:func:`entering`), so that no process of theirs
ever ran outside.  A group's name tells who made it; :func:`Groups.sweep` removes those whose maker
was killed.  Used through :mod:`keyless_kernel.confine.metering`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from keyless_kernel.confine.limits import Ceiling

V2, V1 = "cgroup-v2", "cgroup-v1"
#: CPU period in microseconds; a quota is a number of these.
_PERIOD = 100_000
#: Half of the usual weight: under load the Jupyter server comes first.
_SHARES_V1, _WEIGHT_V2 = 512, 50
_NAME = re.compile(r"keyless-(\d+)-(\d+)-(\d+)-(\d+)")
#: Enters each named group, then becomes the command.
_ENTER = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit 125; shift; done; shift; exec "$@"'


class NoGroup(Exception):
    """A group can't be made here; the message says why."""


def entering(files: Sequence[str], command: Sequence[str]) -> list[str]:
    """``command`` so that it runs in the groups whose ``cgroup.procs`` files are named."""
    return ["/bin/sh", "-c", _ENTER, "keyless", *files, "--", *command] if files else [*command]


class Group:
    """One sandbox's control group: a folder in v2, one for each controller in v1.

    Args:
        folders: controller → folder.  In v2 they are all the same.
        ceiling: the limits in force.
        version: :data:`V1` or :data:`V2`.
    """

    def __init__(self, folders: dict[str, Path], ceiling: Ceiling, version: str) -> None:
        self._folders = folders
        self._ceiling = ceiling
        self._version = version
        self._seen: dict[str, int] = {}

    @property
    def entry(self) -> tuple[str, ...]:
        """The files into which a process writes itself to be in the group."""
        folders = dict.fromkeys(self._folders.values())
        return tuple(str(folder / "cgroup.procs") for folder in folders)

    def set_limits(self) -> None:
        """Write the limits.

        Raises:
            OSError: one of them can't be set.
        """
        ceiling = self._ceiling
        quota = max(int(ceiling.cpus * _PERIOD), 1000)
        memory, pids = self._folders["memory"], self._folders["pids"]
        cpu = self._folders.get("cpu")
        (pids / "pids.max").write_text(str(ceiling.processes))
        if self._version == V2:
            (memory / "memory.max").write_text(str(ceiling.memory))
            if (memory / "memory.swap.max").exists():
                (memory / "memory.swap.max").write_text("0")
            if cpu:
                (cpu / "cpu.weight").write_text(str(_WEIGHT_V2))
                (cpu / "cpu.max").write_text(f"{quota if ceiling.cpus else 'max'} {_PERIOD}")
            return
        (memory / "memory.limit_in_bytes").write_text(str(ceiling.memory))
        swap = memory / "memory.memsw.limit_in_bytes"
        if swap.exists():
            swap.write_text(str(ceiling.memory))
        if cpu:
            (cpu / "cpu.shares").write_text(str(_SHARES_V1))
            if ceiling.cpus:
                (cpu / "cpu.cfs_period_us").write_text(str(_PERIOD))
                (cpu / "cpu.cfs_quota_us").write_text(str(quota))

    def exceeded(self) -> str:
        """Which limit was hit since the last call: ``"memory"``, ``"processes"`` or ``""``.

        Memory counts when a process was killed for it; processes when a new one was refused.
        """
        memory = self._folders["memory"]
        name = "memory.events" if self._version == V2 else "memory.oom_control"
        killed = _counter(memory / name, "oom_kill")
        refused = _counter(self._folders["pids"] / "pids.events", "max")
        hit = ""
        if refused > self._seen.get("processes", 0):
            hit = "processes"
        if killed > self._seen.get("memory", 0):
            hit = "memory"
        self._seen = {"memory": killed, "processes": refused}
        return hit

    def remove(self) -> None:
        """Remove it; what still runs in it is killed.  What can't be removed is swept later."""
        for folder in set(self._folders.values()):
            remove_folder(folder)


@dataclasses.dataclass(frozen=True)
class Groups:
    """Where groups can be made.

    Args:
        version: :data:`V1` or :data:`V2`.
        bases: controller → folder below which they are made.
    """

    version: str
    bases: dict[str, Path]

    def make(self, ceiling: Ceiling) -> Group:
        """A new group with its limits set.

        Raises:
            NoGroup: the system refuses.
        """
        name = f"{_own_name()}-{time.monotonic_ns()}"
        folders: dict[str, Path] = {}
        group = Group(folders, ceiling, self.version)
        try:
            for controller, base in self.bases.items():
                folder = base / name
                if folder not in folders.values():
                    folder.mkdir(mode=0o755)
                folders[controller] = folder
            group.set_limits()
        except OSError as error:
            group.remove()
            raise NoGroup(f"{self.version}: {error}") from None
        return group

    def sweep(self) -> None:
        """Remove the groups of makers that are gone, with whatever runs in them."""
        for base in set(self.bases.values()):
            with contextlib.suppress(OSError):
                for folder in list(base.iterdir()):
                    if _abandoned(folder.name):
                        remove_folder(folder)


def find(root: Path = Path("/proc/self")) -> tuple[Groups | None, str]:
    """Where groups can be made, tried out with a process; and why there is nothing better.

    Args:
        root: whose ``cgroup`` and ``mountinfo`` to read.
    """
    reasons = []
    for candidate in _candidates(root):
        if isinstance(candidate, str):
            reasons.append(candidate)
            continue
        candidate.sweep()
        try:
            _try(candidate)
        except (NoGroup, OSError, subprocess.SubprocessError) as error:
            reasons.append(f"{candidate.version}: {error}")
            continue
        return candidate, "; ".join(reasons)
    return None, "; ".join(reasons)


def sweep() -> None:
    """Remove what killed processes left, wherever groups can be made."""
    for candidate in _candidates(Path("/proc/self")):
        if isinstance(candidate, Groups):
            candidate.sweep()


def _try(groups: Groups) -> None:
    group = groups.make(Ceiling(memory=1 << 28, processes=16, cpus=0, setting="kernel"))
    try:
        subprocess.run(
            entering(group.entry, ["/bin/true"]),
            env={},
            check=True,
            timeout=10,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    finally:
        group.remove()


def _candidates(root: Path) -> list[Groups | str]:
    """Places worth a try, best first; a text says why one isn't."""
    try:
        own = _own_groups((root / "cgroup").read_text())
        mounts = _mounts((root / "mountinfo").read_text())
    except OSError as error:
        return [f"no cgroups: {error}"]
    return [_v2(own, mounts), _v1(own, mounts)]


def _v2(own: dict[str, str], mounts: dict[str, tuple[str, str]]) -> Groups | str:
    """The nearest group above that hands memory and pids down and lets us make children.

    A group with processes of its own can't hand controllers down, so it is rarely our own; moving
    the server's processes about is not for us to do.
    """
    if "" not in mounts or "" not in own:
        return f"{V2}: not mounted"
    folder = _folder(own[""], mounts[""])
    top = Path(mounts[""][1])
    while folder is not None:
        given = _words(folder / "cgroup.subtree_control")
        if {"memory", "pids"} <= given:
            if os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK):
                names = [name for name in ("memory", "pids", "cpu") if name in given]
                return Groups(V2, dict.fromkeys(names, folder))
            return f"{V2}: {folder} is not delegated to this user"
        if folder == top:
            break
        folder = folder.parent
    return f"{V2}: no group above this process hands memory and pids down"


def _v1(own: dict[str, str], mounts: dict[str, tuple[str, str]]) -> Groups | str:
    bases: dict[str, Path] = {}
    for name in ("memory", "pids", "cpu"):
        if name in own and name in mounts:
            folder = _folder(own[name], mounts[name])
            if folder is not None and os.access(folder, os.W_OK):
                bases[name] = folder
    missing = {"memory", "pids"} - bases.keys()
    if missing:
        return f"{V1}: {' and '.join(sorted(missing))} can't be used by this user"
    return Groups(V1, bases)


def _own_groups(text: str) -> dict[str, str]:
    """Controller → path of this process's group; v2 under the name ``""``."""
    own = {}
    for entry in text.splitlines():
        _, controllers, path = entry.split(":", 2)
        for name in controllers.split(","):
            own[name] = path
    return own


def _mounts(text: str) -> dict[str, tuple[str, str]]:
    """Controller → (root of the mount, mount point); v2 under the name ``""``."""
    mounts: dict[str, tuple[str, str]] = {}
    for entry in text.splitlines():
        head, _, tail = entry.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        fields = head.split(" ")
        if kind == "cgroup2":
            mounts.setdefault("", (fields[3], fields[4]))
        elif kind == "cgroup":
            for name in options.split(","):
                mounts.setdefault(name, (fields[3], fields[4]))
    return mounts


def _folder(path: str, mount: tuple[str, str]) -> Path | None:
    """Folder of a group under its mount, ``None`` where the mount doesn't show it."""
    inside, point = mount
    if inside != "/":
        if path != inside and not path.startswith(inside + "/"):
            return Path(point) if path == "/" else None
        path = path[len(inside) :]
    if ".." in path.split("/"):
        return None
    folder = Path(point) / path.lstrip("/")
    return folder if folder.is_dir() else None


def _own_name() -> str:
    return f"keyless-{_pid_namespace()}-{os.getpid()}-{_start_time(os.getpid())}"


def _abandoned(name: str) -> bool:
    """Whether a folder is one of ours whose maker is gone.  Others' namespaces can't be judged."""
    found = _NAME.fullmatch(name)
    if found is None or int(found[1]) != _pid_namespace():
        return False
    return _start_time(int(found[2])) != int(found[3])


def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; -1 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return -1


def _words(file: Path) -> set[str]:
    try:
        return set(file.read_text().split())
    except OSError:
        return set()


def _counter(file: Path, name: str) -> int:
    try:
        for entry in file.read_text().splitlines():
            key, _, value = entry.partition(" ")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        pass  # a kernel without this counter
    return 0


def _kill_all(folder: Path) -> None:
    with contextlib.suppress(OSError):
        (folder / "cgroup.kill").write_text("1")
        return
    with contextlib.suppress(OSError):
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def remove_folder(folder: Path, patience: float = 1.0) -> None:
    """Remove a group, killing what is in it; gives up after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                return
            _kill_all(folder)
            time.sleep(0.005)
