"""Entering a sandbox that bubblewrap made: by whom, into what, and the proof that it is done.

A *zygote* (:mod:`keyless_sidecar.warm`) lives in a sandbox of its own and forks a process for each
command.  That process enters the namespaces of the command's sandbox, which lies below its own,
lays the same filters on itself as any command there, and gives up all rights.  :func:`shortcoming`
looks from outside whether it did: what the system says of the process counts, not what it says of
itself.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

from keyless_kernel.confine.errors import ConfinementUnavailable
from keyless_kernel.confine.sandbox import Above

#: What a zygote keeps: entering namespaces, and emptying its bounding set afterwards.
CAPABILITIES = ("sys_admin", "sys_chroot", "setpcap")
#: In the order in which they are entered: the pid namespace counts for children only.
NAMESPACES = ("net", "ipc", "uts", "cgroup", "mnt", "pid")
_CLONE_NEWUSER = 0x10000000
_TIMEOUT = 10

_FORBID = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.setns(int(sys.argv[1]), int(sys.argv[2])) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
with open("/proc/sys/user/max_user_namespaces", "w") as file:
    file.write("0")
"""


def forbid_user_namespaces(pid: int) -> None:
    """Let no further user namespace be made in or below that of ``pid``.

    bubblewrap's ``--disable-userns`` does the same by one more user namespace, in which nothing
    could enter what was made in the first.

    Raises:
        ConfinementUnavailable: it can't be forbidden.
    """
    namespace = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-B", "-c", _FORBID, str(namespace), str(_CLONE_NEWUSER)],
            pass_fds=(namespace,),
            env={},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfinementUnavailable("user namespaces could not be forbidden in time") from None
    finally:
        os.close(namespace)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise ConfinementUnavailable(f"user namespaces could not be forbidden: {reason[0]}")


def above(pid: int, *, user: bool) -> Above:
    """The namespaces of ``pid`` that other sandboxes are made below; the caller closes them.

    Args:
        pid: of a running sandbox's init.
        user: whether it has a user namespace of its own.

    Raises:
        OSError: it is gone.
    """
    namespace = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        owner = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC) if user else None
    except OSError:
        os.close(namespace)
        raise
    return Above(namespace, owner)


def open_namespaces(pid: int) -> list[int]:
    """Descriptors of a process's namespaces, in the order of :data:`NAMESPACES`.

    Raises:
        OSError: it is gone.
    """
    found: list[int] = []
    try:
        for name in NAMESPACES:
            found.append(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        for descriptor in found:
            os.close(descriptor)
        raise
    return found


def shortcoming(pid: int, like: int, *, uid: int, gid: int) -> str:
    """What keeps a process from being confined as a command in a sandbox is; empty if nothing.

    Args:
        pid: the process that entered.
        like: a command that bubblewrap itself started in that sandbox.
        uid, gid: host ids of sandboxed processes.

    Raises:
        OSError: one of them is gone.
    """
    for name in (*NAMESPACES, "user"):
        if _inode(f"/proc/{pid}/ns/{name}") != _inode(f"/proc/{like}/ns/{name}"):
            return f"another {name} namespace"
    if _inode(f"/proc/{pid}/root") != _inode(f"/proc/{like}/root"):
        return "another root"
    status, model = _status(pid), _status(like)
    wanted = {
        "Uid": [str(uid)] * 4,
        "Gid": [str(gid)] * 4,
        "Groups": model["Groups"],
        "NoNewPrivs": ["1"],
        "Seccomp": ["2"],
        "Threads": ["1"],
        **{f"Cap{name}": ["0" * 16] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")},
    }
    for name, value in wanted.items():
        if status.get(name) != value:
            return f"{name} is {' '.join(status.get(name, ['missing']))}"
    # Those of the sandbox in which it was started are below those that the command has as well.
    if int(status["Seccomp_filters"][0]) < int(model["Seccomp_filters"][0]) + 2:
        return "filters are missing"
    return ""


def first_child(pid: int) -> int:
    """The first process below ``pid``: the command, below a sandbox's init.

    Raises:
        OSError: there is none any more.
    """
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if not children:
        raise ProcessLookupError(errno.ESRCH, "the command has ended")
    return int(children[0])


def descriptors(pid: int) -> int:
    """How many files a process has open.

    Raises:
        OSError: it is gone.
    """
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208


def open_files(pid: int) -> int:
    """How many files a process has open but for devices: those carry nothing to other processes.

    Raises:
        OSError: it is gone.
    """
    folder = Path(f"/proc/{pid}/fd")
    return sum(not stat.S_ISCHR(each.stat().st_mode) for each in folder.iterdir())


def shares_memory(pid: int) -> bool:
    """Whether forks of a process could write into memory that others of them see.

    Raises:
        OSError: it is gone.
    """
    rights = (line.split()[1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines())
    return any("w" in each and each.endswith("s") for each in rights)


def threads(pid: int) -> int:
    """How many threads a process has.

    Raises:
        OSError: it is gone.
    """
    return int(_status(pid)["Threads"][0])


def _inode(path: str) -> tuple[int, int]:
    info = Path(path).stat()
    return info.st_dev, info.st_ino


def _status(pid: int) -> dict[str, list[str]]:
    text = Path(f"/proc/{pid}/status").read_text()
    lines = (line.partition(":") for line in text.splitlines())
    return {name: value.split() for name, _, value in lines}
