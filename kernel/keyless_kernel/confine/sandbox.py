"""What a sandbox is to hold: plain values, the same for every mechanism.

The supervisor describes the kernel's sandbox with these, the sidecar those of its tool children.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

#: Where the workspace lies in every sandbox, kernel and tool child alike.
WORKSPACE = "/workspace"


@dataclasses.dataclass(frozen=True)
class Bind:
    """A host path that the sandbox sees at ``target``, read-only unless ``writable``."""

    source: str
    target: str
    writable: bool = False


@dataclasses.dataclass(frozen=True)
class WorkspaceMount:
    """How the workspace appears at :data:`WORKSPACE`.

    ``overlay`` leaves ``source`` untouched: what is written lands in ``upper``; ``work`` is an
    empty folder on the same file system as ``upper``.  What is in ``layer`` lies over ``source``
    and below ``upper``.
    """

    source: str
    mode: Literal["rw", "ro", "overlay"]
    upper: str = ""
    work: str = ""
    layer: str = ""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Resource limits of each process in the sandbox (``setrlimit``); sizes in bytes."""

    file_size: int = 8 * 1024**3
    open_files: int = 8192
    #: Of the sandbox's user; 0 where a control group counts the sandbox's own.
    processes: int = 4096
    #: Private memory of each process; 0 for no limit.
    memory: int = 0
    #: 1 and not 0: only then a core dump is not piped to the host's handler either.
    core: int = 1
    #: Size of each tmpfs (HOME, /tmp, /dev/shm).
    tmpfs: int = 2 * 1024**3


@dataclasses.dataclass(frozen=True)
class Above:
    """Namespaces of a sandbox that others are made below: descriptors, which stay the caller's.

    Args:
        pid: its pid namespace.
        user: its user namespace, ``None`` where sandboxes have none of their own.
    """

    pid: int
    user: int | None


@dataclasses.dataclass(frozen=True)
class Sandbox:
    """One sandboxed command.

    Args:
        argv: absolute program first; no shell.
        env: the whole environment, nothing is inherited.
        cwd: working folder inside.
        binds: host paths beyond the system's own libraries.
        files: path inside and content of small read-only files.
        workspace: how the workspace appears, if it does.
        workspace_files: relative path and descriptor of files that are shown in the workspace,
            read-only, whatever lies there.  The overlay's ``layer`` must hold an empty file at each
            path: so no link of the workspace can lead the mount elsewhere.
        proc: whether there is a /proc.  Tools that hold a credential in their environment run
            without, so that no file name leads to it.
        home: a tmpfs of its own.
        unix_sockets: whether the command may make AF_UNIX sockets.
        terminal: whether one of the descriptors that it inherits is a terminal, which it makes its
            own.
        private: host folder, made and removed by the caller, that HOME and TMPDIR lie in where
            sandboxes have no file system of their own.
        gate_port: TCP port on 127.0.0.1 that the command may connect to, where sandboxes have no
            network of their own; 0: none, and no TCP socket at all.
        gate_token: what each of these connections begins with; the command doesn't see it.
        cgroup: ``cgroup.procs`` files into which it is put before anything of it runs.
        above: another sandbox, whose pid namespace this one's is made in, and whose user namespace
            it shares.
        joins: whether the command may enter the namespaces of sandboxes made below it, for which it
            must be handed their descriptors.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str = WORKSPACE
    binds: tuple[Bind, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()
    workspace: WorkspaceMount | None = None
    workspace_files: tuple[tuple[str, int], ...] = ()
    proc: bool = True
    home: str = "/home/keyless"
    unix_sockets: bool = True
    terminal: bool = False
    limits: Limits = Limits()
    private: str = ""
    gate_port: int = 0
    gate_token: bytes = dataclasses.field(default=b"", repr=False)
    cgroup: tuple[str, ...] = ()
    above: Above | None = None
    joins: bool = False
