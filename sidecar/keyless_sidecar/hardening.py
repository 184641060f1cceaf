"""Keep other processes out of this one's memory, and its memory off the disk.

:func:`harden` is called by the sidecar first of all, before it reads its settings, and by the
commands that handle secrets.  It says what is in force; the audit's first record keeps that.

``PR_SET_NO_NEW_PRIVS`` is not set here: the sidecar starts bubblewrap, which may need its rights.
"""

from __future__ import annotations

import ctypes
import os
import resource
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Hardening", "HardeningError", "harden"]

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAP_IPC_LOCK = 14


class HardeningError(Exception):
    """The process can't be closed to others; the message is one sentence."""


@dataclass(frozen=True)
class Hardening:
    """What is in force.

    Attributes:
        dumpable: False, or :func:`harden` would have failed.
        core_dumps: likewise.
        memory_locked: ``all`` (also what is allocated later), ``current`` (what was there at the
            start), or ``no``.
        memory_note: why not ``all``, empty where it is.
        swap: True where the host has swap space, so that unlocked memory may reach the disk.
    """

    dumpable: bool
    core_dumps: bool
    memory_locked: str
    memory_note: str
    swap: bool

    def facts(self) -> dict[str, str | bool]:
        """The same for the audit."""
        return asdict(self)


def harden() -> Hardening:
    """Close this process: not dumpable, no core files, memory locked as far as the host allows.

    Raises:
        HardeningError: it stays dumpable, or core files can't be switched off.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 or libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0):
        raise HardeningError("The process can't be made undumpable: prctl is denied on this host")
    try:
        # 1 and not 0 where possible: that keeps dumps from the host's handler too, and sandboxes
        # that this process starts can have the same limit.
        most = 0 if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 else 1
        resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    except (OSError, ValueError):
        raise HardeningError("Core files can't be switched off on this host") from None
    locked, note = _lock_memory(libc)
    return Hardening(False, False, locked, note, _has_swap())


def _lock_memory(libc: ctypes.CDLL) -> tuple[str, str]:
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != hard:
        # Raising the soft limit to the hard one is always allowed.
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    if hard == resource.RLIM_INFINITY or _has_capability(_CAP_IPC_LOCK):
        # On fault: lock pages as they are used instead of filling every reserved mapping.
        if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0:
            return "all", ""
        return "no", f"mlockall: {os.strerror(ctypes.get_errno())}"
    # Under a limit MCL_FUTURE would make later allocations fail: lock what is there, if it fits.
    note = f"RLIMIT_MEMLOCK is {hard // 1024} KiB"
    return ("current" if libc.mlockall(_MCL_CURRENT) == 0 else "no"), note


def _has_capability(number: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _has_swap() -> bool:
    try:
        return len(Path("/proc/swaps").read_text().splitlines()) > 1
    except OSError:
        return True
