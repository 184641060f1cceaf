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

#: By level; those without an entry can't be put in force by this version.
GUARANTEES = {
    NAMESPACES_ROOT: ("runs as a user of its own, without any capability", *_SHARED),
    NAMESPACES: (
        "own user namespace, in which further ones are disabled",
        *_SHARED,
        "outside the sandbox the processes count as yours: the namespaces separate, not the uid",
    ),
}


def at_least(level: str, minimum: str) -> bool:
    """Whether ``level`` is as strong as ``minimum``.

    Raises:
        ValueError: a name that is no level.
    """
    for name in (level, minimum):
        if name not in LEVELS:
            raise ValueError(f"unknown isolation level {name!r} (known: {', '.join(LEVELS)})")
    return LEVELS.index(level) <= LEVELS.index(minimum)
