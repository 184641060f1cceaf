"""The system-call filter, by libseccomp: an allow-list, and a second filter for arguments.

Two stacked programs.  The first allows system calls by number and answers ENOSYS to all others, as
an old kernel would, so that libraries fall back.  The second looks at arguments; it masks them to
the 32 bits that the kernel reads, since a filter that compares 64 can be passed with the upper
half set.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
from typing import Any

from keyless_kernel.confine.errors import ConfinementUnavailable

_FILES = """
access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 eventfd eventfd2
faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl
fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync ftruncate
futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init inotify_init1
inotify_rm_watch ioctl lchown lgetxattr link linkat listxattr llistxattr lremovexattr lseek
lsetxattr lstat memfd_create mkdir mkdirat mknod mknodat newfstatat open openat openat2 pipe pipe2
pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv
removexattr rename renameat renameat2 rmdir sendfile setxattr splice stat statfs statx symlink
symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat utime utimensat utimes
vmsplice write writev
"""
_MEMORY = """
brk cachestat get_mempolicy madvise map_shadow_stack mbind membarrier mincore mlock mlock2
mlockall mmap mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
pkey_mprotect remap_file_pages set_mempolicy
"""
_PROCESSES = """
alarm arch_prctl capget capset clone execve execveat exit exit_group fork futex futex_requeue
futex_wait futex_waitv futex_wake get_robust_list get_thread_area getcpu getegid geteuid getgid
getgroups getitimer getpgid getpgrp getpid getppid getpriority getresgid getresuid getrlimit
getrusage getsid gettid getuid ioprio_get kill landlock_add_rule landlock_create_ruleset
landlock_restrict_self pause personality pidfd_open pidfd_send_signal prctl prlimit64
restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp
set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer
setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setuid sigaltstack
sysinfo tgkill time times tkill uname vfork wait4 waitid
"""
_EVENTS_AND_TIME = """
clock_getres clock_gettime clock_nanosleep epoll_create epoll_create1 epoll_ctl epoll_ctl_old
epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old getrandom gettimeofday nanosleep poll ppoll
pselect6 select signalfd signalfd4 timer_create timer_delete timer_getoverrun timer_gettime
timer_settime timerfd_create timerfd_gettime timerfd_settime
"""
_SOCKETS_AND_IPC = """
accept accept4 bind connect getpeername getsockname getsockopt listen mq_getsetattr mq_notify
mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd recvfrom recvmmsg
recvmsg semctl semget semop semtimedop sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt
shmget shutdown socket socketpair
"""

ALLOWED = frozenset(
    f"{_FILES} {_MEMORY} {_PROCESSES} {_EVENTS_AND_TIME} {_SOCKETS_AND_IPC}".split()
)

#: CLONE_NEWTIME is missing: in clone() its bit belongs to the exit signal.
_NEW_NAMESPACE_FLAGS = (
    0x00020000,  # CLONE_NEWNS
    0x02000000,  # CLONE_NEWCGROUP
    0x04000000,  # CLONE_NEWUTS
    0x08000000,  # CLONE_NEWIPC
    0x10000000,  # CLONE_NEWUSER
    0x20000000,  # CLONE_NEWPID
    0x40000000,  # CLONE_NEWNET
)
_TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_WEAK_PERSONALITIES = (0x0040000, 0x0400000)  # ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC
_HIGHEST_FAMILY = 45
_MASK32 = 0xFFFFFFFF


#: Groups of device-independent requests, by their second byte, that a process with the right to
#: enter namespaces may not make: those that lead from one namespace to others, and those that stop
#: or rearrange whole file systems.
_ADMINISTRATIVE_REQUESTS = (0xB7, ord("X"), ord("f"), 0x94)


@functools.cache  # compiling takes milliseconds, and every command needs them
def filters(*, unix_sockets: bool = True, joins: bool = False) -> tuple[bytes, bytes]:
    """The two filter programs, as classic BPF.

    Args:
        unix_sockets: whether ``socket(AF_UNIX)`` is allowed (``socketpair`` always is).
        joins: whether namespaces may be entered (``setns``).

    Raises:
        ConfinementUnavailable: libseccomp is missing.
    """
    seccomp = library()
    families: set[int] = {socket.AF_INET, socket.AF_INET6}
    if unix_sockets:
        families.add(socket.AF_UNIX)
    arguments = argument_rules(seccomp, families)
    if joins:
        for group in _ADMINISTRATIVE_REQUESTS:
            request = seccomp.Arg(1, seccomp.MASKED_EQ, 0xFF00, group << 8)
            arguments.add_rule(seccomp.ERRNO(errno.EPERM), "ioctl", request)
    further = frozenset({"setns"}) if joins else frozenset[str]()
    return number_program(seccomp, further), export(arguments)


def library() -> Any:
    """libseccomp's module.

    Raises:
        ConfinementUnavailable: it is missing.
    """
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfinementUnavailable(
            f"libseccomp is missing ({error}); on Debian: apt-get install libseccomp2"
        ) from None
    return pyseccomp


def number_program(seccomp: Any, further: frozenset[str] = frozenset()) -> bytes:
    """The first program: system calls by number.

    Args:
        seccomp: the library.
        further: calls that are allowed as well.
    """
    numbers = seccomp.SyscallFilter(seccomp.ERRNO(errno.ENOSYS))
    for name in sorted(ALLOWED | further):
        if seccomp.resolve_syscall(seccomp.system_arch(), name) >= 0:
            numbers.add_rule(seccomp.ALLOW, name)
    return export(numbers)


def argument_rules(seccomp: Any, families: set[int]) -> Any:
    """What the second program refuses at every level; more may be added.

    Args:
        seccomp: the library.
        families: those that sockets may have (``socketpair`` always AF_UNIX as well).
    """
    arguments = seccomp.SyscallFilter(seccomp.ALLOW)

    def refuse(error: int, name: str, *comparisons: object) -> None:
        if seccomp.resolve_syscall(seccomp.system_arch(), name) >= 0:
            arguments.add_rule(seccomp.ERRNO(error), name, *comparisons)

    masked, greater = seccomp.MASKED_EQ, seccomp.GT
    for flag in _NEW_NAMESPACE_FLAGS:
        refuse(errno.EPERM, "clone", seccomp.Arg(0, masked, flag, flag))
    for request in _TERMINAL_INJECTION:
        refuse(errno.EPERM, "ioctl", seccomp.Arg(1, masked, _MASK32, request))
    for call in ("socket", "socketpair"):
        allowed = families | {socket.AF_UNIX} if call == "socketpair" else families
        for family in range(_HIGHEST_FAMILY + 1):
            if family in allowed:
                continue
            # libzmq aborts on EAFNOSUPPORT for netlink
            code = errno.EOPNOTSUPP if family == socket.AF_NETLINK else errno.EAFNOSUPPORT
            refuse(code, call, seccomp.Arg(0, masked, _MASK32, family))
        refuse(errno.EAFNOSUPPORT, call, seccomp.Arg(0, greater, _HIGHEST_FAMILY))
    for persona in _WEAK_PERSONALITIES:
        refuse(errno.EPERM, "personality", seccomp.Arg(0, masked, persona, persona))
    return arguments


def export(program: Any) -> bytes:
    """The program as bytes, by way of an anonymous file (libseccomp writes to descriptors)."""
    descriptor = os.memfd_create("seccomp")
    with os.fdopen(descriptor, "w+b") as file:
        program.export_bpf(file)
        file.seek(0)
        return file.read()
