"""The sidecar's own system-call filter: what neither it nor anything that it starts has a use for.

:mod:`keyless_sidecar.server` calls :func:`restrict` before it starts anything.  A filter is
inherited by every child, and bubblewrap needs mounts, namespaces and ``pivot_root``; so this is a
deny-list.  Each sandbox has an allow-list of its own on top
(:mod:`keyless_kernel.confine.seccomp`).
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keyless_sidecar.hardening import HardeningError

__all__ = ["DENIED", "restrict"]

_OTHER_PROCESSES = """
ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd
move_pages migrate_pages
"""
_KERNEL = """
bpf perf_event_open kexec_load kexec_file_load init_module finit_module delete_module create_module
query_module get_kernel_syms nfsservctl uselib lookup_dcookie syslog acct quotactl quotactl_fd
swapon swapoff reboot iopl ioperm vm86 vm86old modify_ldt vhangup fanotify_init
"""
_SECRETS_OF_OTHERS = "keyctl add_key request_key open_by_handle_at"
_LARGE_SURFACE = "userfaultfd io_uring_setup io_uring_enter io_uring_register"
_CLOCK = "settimeofday stime clock_settime clock_adjtime adjtimex"

#: Answered with EPERM.
DENIED = frozenset(
    f"{_OTHER_PROCESSES} {_KERNEL} {_SECRETS_OF_OTHERS} {_LARGE_SURFACE} {_CLOCK}".split()
)

#: bubblewrap brings up the loopback by netlink, and name resolution asks it for addresses.
_FAMILIES = frozenset({socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK})
_HIGHEST_FAMILY = 45
_SOCKET_TYPE = 0xF
_TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_MASK32 = 0xFFFFFFFF


def restrict(bwrap: str = "") -> str:
    """Put the filter in force for this process, all its threads and whatever it starts.

    No new privileges are possible afterwards either.

    Args:
        bwrap: bubblewrap's path, where there is one.  A set-id bubblewrap would lose the rights
            that it lives by, so there is no filter with it.

    Returns:
        Why there is no filter; empty where it is in force.

    Raises:
        HardeningError: it can't be put in force, and no reason is known.
    """
    if bwrap and os.geteuid() != 0 and Path(bwrap).stat().st_mode & (stat.S_ISUID | stat.S_ISGID):
        return "bubblewrap is set-id here, and a filter would take its rights away"
    try:
        import pyseccomp as seccomp

        program = seccomp.SyscallFilter(seccomp.ALLOW)
        program.set_attr(seccomp.Attr.CTL_TSYNC, 1)  # threads that run already, too
        program.set_attr(seccomp.Attr.CTL_OPTIMIZE, 2)  # a tree: few steps for each call
        for name in sorted(DENIED):
            if seccomp.resolve_syscall(seccomp.system_arch(), name) >= 0:
                program.add_rule(seccomp.ERRNO(errno.EPERM), name)
        for function, code, *comparisons in _arguments(seccomp):
            program.add_rule(seccomp.ERRNO(code), function, *comparisons)
        program.load()
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise HardeningError(
            f"The sidecar's own system-call filter can't be put in force ({error}); on Debian: "
            "apt-get install libseccomp2"
        ) from None
    return ""


def _arguments(seccomp: Any) -> Iterator[tuple[Any, ...]]:
    """Socket families, raw sockets, and what types into terminals: error, call, comparisons."""
    arg, masked = seccomp.Arg, seccomp.MASKED_EQ
    for call in ("socket", "socketpair"):
        for family in set(range(_HIGHEST_FAMILY + 1)) - _FAMILIES:
            yield call, errno.EAFNOSUPPORT, arg(0, masked, _MASK32, family)
        yield call, errno.EAFNOSUPPORT, arg(0, seccomp.GT, _HIGHEST_FAMILY)
    raw = arg(1, masked, _SOCKET_TYPE, socket.SOCK_RAW)
    for family in (socket.AF_INET, socket.AF_INET6):
        yield "socket", errno.EPERM, arg(0, masked, _MASK32, family), raw
    for request in _TERMINAL_INJECTION:
        yield "ioctl", errno.EPERM, arg(1, masked, _MASK32, request)
