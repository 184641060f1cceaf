"""Filters for sandboxes that share the host's namespaces: more is refused, and some handed over.

What a namespace would hide must not be reachable by any call: other processes' limits and
priorities, System V memory and message queues, sockets, files' owners and attributes anywhere.
Connections and changes of mode and times go to the wrapper (:mod:`keyless_kernel.confine.clerk`).
Landlock does the rest.  See :mod:`keyless_kernel.confine.seccomp` for what all levels have.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import socket
from typing import Any

from keyless_kernel.confine import seccomp as common
from keyless_kernel.confine.clerk import MODE_CALLS, TIME_CALLS

_SYSTEM_WIDE = """
mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd
semctl semget semop semtimedop shmat shmctl shmdt shmget
"""
#: By path on any file of the same user, by descriptor on any that can be read.
_ATTRIBUTES = """
chown fchown lchown fchownat setxattr fsetxattr lsetxattr removexattr fremovexattr lremovexattr
"""
#: Types of ioctl requests that change a file's attributes by a descriptor that can only read.
_FILE_REQUESTS = (ord("f") << 8, ord("X") << 8)
_F_SETLEASE, _F_NOTIFY = 1024, 1026
#: Tells when files change that can't be opened.
_WATCHES = "inotify_add_watch"
#: First argument: the process; 0 is the caller.
_OF_OTHERS = ("prlimit64", "sched_setaffinity", "sched_setattr", "sched_setparam")
_SERVING = ("bind", "listen", "accept", "accept4")
_SOCKET_TYPE = 0xF
_TCP = 6
_MSG_FASTOPEN = 0x20000000


@dataclasses.dataclass(frozen=True)
class SharedFilters:
    """Filters for one sandbox.

    Attributes:
        programs: two programs, as :func:`keyless_kernel.confine.seccomp.filters` makes them.
        notified: the program that hands calls over; it must be loaded with a listener.
        names: system-call number → name, of those that it hands over.
        seccomp_number: number of the call that loads it.
    """

    programs: tuple[bytes, bytes]
    notified: bytes
    names: dict[int, str]
    seccomp_number: int


@functools.cache  # compiling takes milliseconds, and every command needs them
def filters(*, unix_sockets: bool, connections: bool) -> SharedFilters:
    """Filters for the landlock levels.

    Args:
        unix_sockets: whether AF_UNIX stream sockets may be made; none can ever be connected.
        connections: whether TCP sockets may be made, whose connections are handed over.  Such a
            sandbox can't serve: what listens here would be reachable for everybody.

    Raises:
        ConfinementUnavailable: libseccomp is missing.
    """
    seccomp = common.library()
    families: set[int] = set()
    if unix_sockets:
        families.add(socket.AF_UNIX)
    if connections:
        families.add(socket.AF_INET)
    arguments = common.argument_rules(seccomp, families)
    arg, masked, greater = seccomp.Arg, seccomp.MASKED_EQ, seccomp.GT

    def refuse(error: int, name: str, *comparisons: object) -> None:
        if seccomp.resolve_syscall(seccomp.system_arch(), name) >= 0:
            arguments.add_rule(seccomp.ERRNO(error), name, *comparisons)

    for name in _SYSTEM_WIDE.split():
        refuse(errno.ENOSYS, name)
    for name in _ATTRIBUTES.split():
        refuse(errno.EPERM, name)
    for request in _FILE_REQUESTS:
        refuse(errno.EPERM, "ioctl", arg(1, masked, 0xFF00, request))
    for command in (_F_SETLEASE, _F_NOTIFY):
        refuse(errno.EACCES, "fcntl", arg(1, masked, 0xFFFFFFFF, command))
    refuse(errno.EACCES, _WATCHES)
    for name in _OF_OTHERS:
        refuse(errno.EPERM, name, arg(0, greater, 0))
    # libzmq gives its threads the policy that they have, by number, and aborts if that fails: it
    # may believe that something was done.
    refuse(0, "sched_setscheduler", arg(0, greater, 0), arg(1, seccomp.EQ, 0))
    refuse(errno.EPERM, "sched_setscheduler", arg(0, greater, 0), arg(1, greater, 0))
    refuse(errno.EPERM, "setpriority", arg(0, greater, 0))
    refuse(errno.EPERM, "setpriority", arg(1, greater, 0))
    _only_streams(refuse, seccomp, families)
    for call, position in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        refuse(errno.EOPNOTSUPP, call, arg(position, masked, _MSG_FASTOPEN, _MSG_FASTOPEN))
    if connections or not unix_sockets:
        for call in _SERVING:
            refuse(errno.EACCES, call)
    if not connections:
        refuse(errno.EACCES, "connect")
    handed = [*MODE_CALLS, *TIME_CALLS, *(["connect"] if connections else [])]
    numbers = {seccomp.resolve_syscall(seccomp.system_arch(), name): name for name in handed}
    names = {number: name for number, name in numbers.items() if number >= 0}
    notified = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in names.values():
        notified.add_rule(seccomp.NOTIFY, name)
    return SharedFilters(
        programs=(common.number_program(seccomp), common.export(arguments)),
        notified=common.export(notified),
        names=names,
        seccomp_number=seccomp.resolve_syscall(seccomp.system_arch(), "seccomp"),
    )


def _only_streams(refuse: Any, seccomp: Any, families: set[int]) -> None:
    """No datagrams, which need no connection to reach a named socket; plain TCP only."""
    arg, masked, greater = seccomp.Arg, seccomp.MASKED_EQ, seccomp.GT
    for call in ("socket", "socketpair"):
        for family in families | {socket.AF_UNIX} if call == "socketpair" else families:
            is_family = arg(0, masked, 0xFFFFFFFF, family)
            for kind in range(_SOCKET_TYPE + 1):
                if kind != socket.SOCK_STREAM:
                    of_kind = arg(1, masked, _SOCKET_TYPE, kind)
                    refuse(errno.EPROTONOSUPPORT, call, is_family, of_kind)
            if family == socket.AF_INET:
                stream = arg(1, masked, _SOCKET_TYPE, socket.SOCK_STREAM)
                others = [arg(2, masked, 0xFFFFFFFF, protocol) for protocol in range(1, _TCP)]
                for protocol in (*others, arg(2, greater, _TCP)):
                    refuse(errno.EPROTONOSUPPORT, call, is_family, stream, protocol)
