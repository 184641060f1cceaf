"""Paths beneath a folder that someone hostile owns: resolved in one step, never through a link.

The kernel side owns the workspace and may change it at any moment, so each access resolves the
path anew, with openat2, beneath a descriptor of the folder itself.  :mod:`workspace` is what the
sidecar and the host API use; it stands on this.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat as stat_module
from typing import Literal

from keyless_kernel.confine.sandbox import WORKSPACE

__all__ = [
    "Reason",
    "WorkspaceError",
    "encoded",
    "kind_of",
    "open_beneath",
    "relative",
    "translate",
]

Reason = Literal["missing", "not-regular", "symlink", "outside", "links", "too-large", "other"]

_SYS_OPENAT2 = 437  # the same number on every architecture
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x01, 0x02, 0x04, 0x08
_RESOLVE = _NO_XDEV | _NO_MAGICLINKS | _NO_SYMLINKS | _BENEATH
_LIBC = ctypes.CDLL(None, use_errno=True)


class WorkspaceError(Exception):
    """A path in the workspace can't be used.

    Attributes:
        reason: what is wrong, for code.
        message: a few words that continue "the file ...", for people; it holds no path.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message


_MESSAGES: dict[int, tuple[Reason, str]] = {
    errno.ENOENT: ("missing", "does not exist in the workspace"),
    errno.ENOTDIR: ("missing", "does not exist in the workspace"),
    errno.ELOOP: ("symlink", "is reached through a symbolic link, which is not followed"),
    errno.EXDEV: ("outside", "is outside the workspace"),
    errno.ENXIO: ("not-regular", "is not a regular file"),
    errno.EISDIR: ("not-regular", "is a folder"),
    errno.ENODEV: ("not-regular", "is not a regular file"),
    errno.ENAMETOOLONG: ("other", "has a name that is too long"),
    errno.EACCES: ("other", "may not be opened"),
    errno.ENOSYS: ("other", "can't be opened safely: this needs Linux 5.6 or newer (openat2)"),
}


def relative(path_in_sandbox: str, cwd: str = "", inside: str = WORKSPACE) -> str:
    """The path below the workspace that a path means inside the sandbox.

    Args:
        path_in_sandbox: absolute (``/workspace/...``) or relative to ``cwd``.
        cwd: the command's folder, relative to the workspace (or absolute in the sandbox).
        inside: where the workspace is in the sandbox.

    Returns:
        A path without ``.``, ``..`` and double slashes; ``""`` is the workspace itself.

    Raises:
        WorkspaceError: it is empty, holds a NUL, or leads outside.
    """
    if not path_in_sandbox or "\0" in path_in_sandbox or "\0" in cwd:
        raise WorkspaceError("other", "is not a usable path")
    whole = os.path.join(inside, cwd, path_in_sandbox)  # noqa: PTH118 - text only, no I/O
    below = inside.strip("/").split("/")
    parts: list[str] = []
    for part in whole.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            # Leaving the workspace is wrong even where a later part leads back in.
            if parts == below or not parts:
                raise WorkspaceError("outside", "is outside the workspace")
            parts.pop()
        else:
            parts.append(part)
    if parts[: len(below)] != below:
        raise WorkspaceError("outside", "is outside the workspace")
    return "/".join(parts[len(below) :])


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_beneath(root: int, rel: str, flags: int) -> int:
    """Open a path beneath a folder; no link is followed, no other mount entered.

    Args:
        root: descriptor of the folder.
        rel: relative to it, as :func:`relative` makes it; empty is the folder itself.
        flags: as for :func:`os.open`; ``O_CLOEXEC`` is added.

    Returns:
        A descriptor; the caller closes it.

    Raises:
        WorkspaceError: it can't be opened so.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE)
    path = encoded(rel or ".")
    for _ in range(100):
        fd: int = _LIBC.syscall(_SYS_OPENAT2, root, path, ctypes.byref(how), ctypes.sizeof(how))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        # EAGAIN: something was renamed meanwhile, so the kernel could not prove "beneath".
        if code not in (errno.EAGAIN, errno.EINTR):
            raise translate(code)
    raise WorkspaceError("other", "is being renamed all the time")


def encoded(path: str) -> bytes:
    """The path as the system gets it."""
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise WorkspaceError("other", "is not a usable path") from error
    if b"\0" in encoded:
        raise WorkspaceError("other", "is not a usable path")
    return encoded


def translate(code: int | None) -> WorkspaceError:
    """The error for an ``errno``."""
    known = _MESSAGES.get(code or 0)
    if known is not None:
        return WorkspaceError(*known)
    return WorkspaceError("other", f"can't be used: {os.strerror(code or 0)}")


def kind_of(mode: int) -> str:
    """What a file is, in words."""
    for test, name in (
        (stat_module.S_ISDIR, "a folder"),
        (stat_module.S_ISFIFO, "a FIFO"),
        (stat_module.S_ISSOCK, "a socket"),
        (stat_module.S_ISLNK, "a symbolic link"),
        (stat_module.S_ISREG, "a regular file"),
    ):
        if test(mode):
            return name
    return "a device"
