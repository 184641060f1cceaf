"""Watches the disk of the workspace: a reserve stays free, and a size may be set.

There is no quota on most machines, so this looks once a second at the file system (cheap), and at
the files themselves only when there is reason to.  Used by :mod:`keyless_kernel.supervisor` for
the kernel, and by the sidecar for what a tool has written so far.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from keyless_kernel.confine.limits import size_text

#: Part of a disk that the reserve takes at most.
_SHARE = 0.05
#: Seconds between two looks at the files where a size is set.
_EVERY = 5.0
#: Seconds that one step of a look at the files may take, and the whole look.
_STEP, _WHOLE = 0.05, 30.0


class DiskWatch:
    """One folder's disk.

    Args:
        folder: host path.
        reserve: bytes to stay free; less where the disk is small or was that full before.
        size: bytes that all files below ``folder`` may take; 0 for no limit.
        what: name of the folder in messages.
        setting: name of the setting behind ``size``, for messages.
    """

    def __init__(
        self, folder: str, *, reserve: int, size: int = 0, what: str = "", setting: str = ""
    ) -> None:
        self._folder = folder
        self._size = size
        self._what = what or "the workspace"
        self._setting = setting or "c.Limits.workspace_size"
        self._begin = time.time()
        self._free = free_bytes(folder)
        total = total_bytes(folder)
        # What others had used up before is not this sandbox's fault: it keeps half of what is left.
        self._reserve = min(reserve, int(total * _SHARE), self._free // 2)
        self._look: Iterator[int | None] | None = None
        self._looked = -_EVERY

    def exceeded(self) -> str:
        """Words for what was exceeded, empty for nothing.  Takes 50 ms at most."""
        free = free_bytes(self._folder)
        if free < self._reserve // 2:
            return self._full()
        now = time.monotonic()
        if self._look is None:
            due = self._size > 0 and now - self._looked >= _EVERY
            if free >= self._reserve and not due:
                return ""
            since = 0.0 if self._size else self._begin
            self._look = _used(self._folder, since)
        used = self._step()
        if used is None:
            return ""
        self._look, self._looked = None, now
        if self._size and used > self._size:
            return f"more than {size_text(self._size)} in {self._what} ({self._setting})"
        # Somebody else may fill the disk: only the one who wrote most of it is ended.
        if free < self._reserve and 2 * used >= self._free - free:
            return self._full()
        return ""

    def _step(self) -> int | None:
        """Go on looking; the sum of the files when all were seen."""
        end = time.monotonic() + _STEP
        used = None
        for used in self._look or ():
            if used is not None or time.monotonic() > end:
                break
        return used

    def _full(self) -> str:
        return (
            f"less than {size_text(self._reserve)} was left on the disk of {self._what} "
            "(c.Limits.workspace_reserve)"
        )


def _used(folder: str, since: float) -> Iterator[int | None]:
    """Sum of the blocks of files changed after ``since``; yields ``None`` while it counts.

    ``os.fwalk`` goes by descriptors and checks what it opened, so a folder that is replaced by a
    link leads nowhere.  Nothing is opened but folders.
    """
    total, seen = 0, 0
    end = time.monotonic() + _WHOLE
    links: set[tuple[int, int]] = set()
    if not Path(folder).is_dir():
        yield 0
        return
    for _, _, names, descriptor in os.fwalk(folder, onerror=None, follow_symlinks=False):
        for name in names:
            seen += 1
            if seen % 100 == 0:
                yield None
            try:
                info = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except OSError:
                continue
            if not stat.S_ISREG(info.st_mode) or info.st_ctime < since:
                continue
            if info.st_nlink > 1:
                if (info.st_dev, info.st_ino) in links:
                    continue
                links.add((info.st_dev, info.st_ino))
            total += info.st_blocks * 512
        if time.monotonic() > end:
            break
        yield None
    yield total


def free_bytes(folder: str) -> int:
    """Bytes that ordinary users may still write on a folder's disk; a vanished one is all free."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return 1 << 62
    return status.f_bavail * status.f_frsize


def total_bytes(folder: str | Path) -> int:
    """Size of a folder's disk in bytes."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return 0
    return status.f_blocks * status.f_frsize
