"""Finds what a killed server leaves: the test process adopts every orphan, so none can hide."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Iterable
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
NURSERY = "keyless_kernel.nursery"


def adopt_orphans() -> None:
    """Make this process the one to which its descendants' orphans go."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(pid: int | None = None) -> dict[int, str]:
    """Living descendants of a process (default: this one) with their command lines.

    But for the nursery: it belongs to no kernel, holds nothing of one, and ends with its server.
    """
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if fields[0] != "Z":
                    parents[int(entry.name)] = int(fields[1])
    found: dict[int, str] = {}
    todo = [pid or os.getpid()]
    while todo:
        parent = todo.pop()
        for child, its_parent in parents.items():
            if its_parent == parent and child not in found:
                todo.append(child)
                with contextlib.suppress(OSError):
                    line = Path(f"/proc/{child}/cmdline").read_bytes()
                    found[child] = line.replace(b"\0", b" ").decode(errors="replace")
    return {child: line for child, line in found.items() if NURSERY not in line}


def of_commands(pid: int) -> dict[int, str]:
    """What a sidecar's commands run: its descendants without those that wait for commands.

    The sandboxes that wait have nothing of a command in them, which other tests show.
    """
    return {child: line for child, line in descendants(pid).items() if not _waits(child, line)}


def _waits(pid: int, line: str) -> bool:
    # A gate's command line holds its program; so do those of the bubblewraps above it.
    if "Hand the listener out" in line or line.endswith("/usr/bin/cat "):
        return True
    # A zygote's fork that runs a command has the tool's name.
    return "The program of a zygote" in line and _name(pid).startswith(("python", "bwrap"))


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def files_of_commands(scratch: Path) -> list[Path]:
    """What is left in a sidecar's scratch folder, without the empty folders of what waits."""
    return [Path(folder) / name for folder, _, names in os.walk(scratch) for name in names]


def find(text: str, pid: int | None = None, *, besides: Iterable[int] = ()) -> list[int]:
    """Living descendants of a process (default: this one) whose command lines hold a text.

    Args:
        text: looked for.
        pid: whose descendants.
        besides: processes that don't count, such as those of kernels that other tests keep.
    """
    known = set(besides)
    return [
        found for found, line in descendants(pid).items() if text in line and found not in known
    ]


def the_sidecar(besides: Iterable[int] = ()) -> int:
    """The one sidecar's pid: a process that it forks has its command line for a moment.

    Args:
        besides: processes that were there before its kernel was started.
    """
    known = set(besides)
    deadline = time.monotonic() + 10
    while len(found := find("keyless_sidecar serve", besides=known)) != 1:
        assert time.monotonic() < deadline, [(pid, descendants().get(pid)) for pid in found]
        time.sleep(0.01)
    return found[0]


def reap() -> None:
    """Collect adopted orphans that have ended (known children are left to their owners)."""
    for pid in _zombies():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def wait_until_gone(before: Iterable[int], timeout: float = 20.0) -> dict[int, str]:
    """Wait until no descendant is left but those in ``before``; what is left after ``timeout``."""
    known = set(before)
    deadline = time.monotonic() + timeout
    while True:
        left = {pid: line for pid, line in descendants().items() if pid not in known}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def files_below(folder: Path) -> list[str]:
    """Every file, socket and folder below ``folder``."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def _zombies() -> list[int]:
    mine = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if fields[0] == "Z" and int(fields[1]) == os.getpid():
                    mine.append(int(entry.name))
    return mine
