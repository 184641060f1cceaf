"""Landlock: rules for files, TCP ports, sockets and signals that a process lays on itself for good.

Used by the wrapper of the landlock levels (:mod:`keyless_kernel.confine.jail`), and as a second
wall inside bubblewrap's sandboxes by the kernel's launcher and the sidecar's gate.  Some of these
have no package on their path and execute this file's text: standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable

#: First version with scopes for signals and abstract sockets: what the landlock levels need.
ABI_NEEDED = 6

EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
_REMOVE = 1 << 4 | 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 9, 1 << 10, 1 << 12
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_IOCTL_DEV = 1 << 15

#: Look at files and folders.
READ = READ_FILE | READ_DIR
#: Change, make, move and remove them, but make no device.
WRITE = (
    WRITE_FILE
    | _REMOVE
    | _MAKE_DIR
    | _MAKE_REG
    | _MAKE_SOCK
    | _MAKE_FIFO
    | _MAKE_SYM
    | _REFER
    | _TRUNCATE
)
#: Use a device file.
DEVICE = READ_FILE | WRITE_FILE | _TRUNCATE | _IOCTL_DEV
#: Rights that a rule on a file, not a folder, may name.
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL_DEV

_NET_BIND, _NET_CONNECT = 1, 2
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1, 2

# The same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION = 1
_RULE_PATH = 1
_PR_SET_NO_NEW_PRIVS = 38


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"landlock: {os.strerror(code)}")
    return result


def abi() -> int:
    """Version of Landlock in the running kernel; 0 where there is none."""
    try:
        return _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_GET_VERSION))
    except OSError:
        return 0


def handled_files(version: int) -> int:
    """All file rights that a version knows."""
    rights = (1 << 13) - 1
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        if version >= since:
            rights |= right
    return rights


class Ruleset:
    """Rules in the making: everything that this kernel's Landlock can deny is, until allowed.

    Args:
        network: whether TCP bind and connect are denied as well (from version 4 on).

    Raises:
        OSError: the kernel has no Landlock.
    """

    def __init__(self, *, network: bool) -> None:
        version = abi()
        if version == 0:
            raise OSError(errno.ENOSYS, "this Linux kernel has no Landlock")
        self._files = handled_files(version)
        ports = _NET_BIND | _NET_CONNECT if network and version >= 4 else 0
        scopes = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if version >= 6 else 0
        # An older kernel takes the longer structure as long as what it doesn't know is zero.
        attributes = struct.pack("=QQQ", self._files, ports, scopes)
        size = ctypes.c_size_t(len(attributes))
        self.descriptor = _call(_CREATE_RULESET, attributes, size, ctypes.c_uint(0))

    def allow(self, place: str | int, rights: int) -> None:
        """Allow rights on a file, or on a folder and everything below.

        Args:
            place: a path, or an O_PATH descriptor that stays the caller's.
            rights: of this module's constants; those that don't fit a plain file are left out.

        Raises:
            OSError: it does not exist.
        """
        opened = place if isinstance(place, int) else os.open(place, os.O_PATH | os.O_CLOEXEC)
        try:
            rights &= self._files
            if not stat.S_ISDIR(os.fstat(opened).st_mode):
                rights &= _OF_FILES
            rule = struct.pack("=Qi", rights, opened)
            _call(_ADD_RULE, self.descriptor, _RULE_PATH, rule, ctypes.c_uint(0))
        finally:
            if opened is not place:
                os.close(opened)

    def restrict(self) -> None:
        """Lay the rules on this thread and all that it starts.

        Raises:
            OSError: not possible.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
        _call(_RESTRICT_SELF, self.descriptor, ctypes.c_uint(0))

    def close(self) -> None:
        """Free the descriptor; rules in force stay."""
        os.close(self.descriptor)


def stack(writable: Iterable[str]) -> bool:
    """A second wall in a sandbox of namespaces: nothing but these folders can be changed.

    Signals and abstract sockets stay inside, other processes' memory is out of reach, and what is
    mounted can't be changed, even where the first wall has a hole.

    Args:
        writable: folders; those that do not exist are left out.

    Returns:
        Whether it is in force: ``False`` where the kernel has no Landlock.

    Raises:
        OSError: there is Landlock, and it failed.
    """
    if abi() == 0:
        return False
    rules = Ruleset(network=False)
    try:
        rules.allow("/", READ | EXECUTE)
        rules.allow("/dev", READ | DEVICE)
        for folder in writable:
            if os.path.isdir(folder):  # noqa: PTH112
                rules.allow(folder, READ | WRITE | EXECUTE)
        rules.restrict()
    finally:
        rules.close()
    return True
