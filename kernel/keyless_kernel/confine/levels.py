"""The isolation levels by name, from strong to weak, and what each one guarantees."""

from __future__ import annotations

NAMESPACES_ROOT = "namespaces-root"
NAMESPACES = "namespaces"
LANDLOCK_ROOT = "landlock-root"
LANDLOCK = "landlock"

#: Strongest first.
LEVELS = (NAMESPACES_ROOT, NAMESPACES, LANDLOCK_ROOT, LANDLOCK)

_SHARED = (
    "own pid, mount, network, ipc and uts namespaces: no foreign process or socket is visible",
    "no network but the loopback of its own namespace",
    "system libraries and interpreter read-only; nothing else of the host's files",
    "system calls filtered: no ptrace, keyrings, mounts, namespaces, io_uring, bpf",
)

_SHARED_LANDLOCK = (
    "files: only its workspace and private folders can be changed; system libraries and the "
    "interpreter can be read; nothing else can be opened",
    "no network socket but for a tool, whose connections all end at the sidecar's gate; no named "
    "or abstract unix socket can be connected to",
    "no signal, trace or memory access to a process outside",
    "system calls filtered: no ptrace, keyrings, mounts, namespaces, io_uring, bpf, shared memory",
    "not hidden: names, sizes and times of files outside, and which process numbers are in use",
    "not there: a file system of its own, so tools see the workspace read-only, the place for "
    "temporary files is TMPDIR, and there are no terminals and no shared memory (multiprocessing "
    "locks)",
    "a process that outruns its end is hunted by a wrapper process, not ended by the kernel",
)

GUARANTEES = {
    NAMESPACES_ROOT: ("runs as a user of its own, without any capability", *_SHARED),
    NAMESPACES: (
        "own user namespace, in which further ones are disabled",
        *_SHARED,
        "outside the sandbox the processes count as yours: the namespaces separate, not the uid",
    ),
    LANDLOCK_ROOT: ("runs as a user of its own, without any capability", *_SHARED_LANDLOCK),
    LANDLOCK: (
        *_SHARED_LANDLOCK,
        "the processes are yours outside too: rules and filters separate, not the uid",
    ),
}

#: Said where Landlock is a second wall inside the namespaces, or missing.
STACKED = "Landlock as a second wall inside: nothing but its own folders can be changed"
NOT_STACKED = "no second wall inside: this Linux kernel has no Landlock"


def at_least(level: str, minimum: str) -> bool:
    """Whether ``level`` is as strong as ``minimum``.

    Raises:
        ValueError: a name that is no level.
    """
    for name in (level, minimum):
        if name not in LEVELS:
            raise ValueError(f"unknown isolation level {name!r} (known: {', '.join(LEVELS)})")
    return LEVELS.index(level) <= LEVELS.index(minimum)
