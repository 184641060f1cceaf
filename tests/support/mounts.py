"""A mount namespace for one test: small disks, and covered folders, that nobody else sees."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_CLONE_NEWNS = 0x00020000


class Mounts:
    """Mounts that the test's thread, and every process it starts, sees; gone with the test."""

    def disk(self, folder: Path, size: str, *, mode: str = "0755") -> None:
        """Mount a disk of its own at ``folder`` (made where missing): a tmpfs."""
        folder.mkdir(exist_ok=True)
        _mount("-t", "tmpfs", "-o", f"size={size},mode={mode}", "disk", str(folder))

    def cover(self, folder: Path) -> None:
        """Hide what is in ``folder``."""
        _mount("-t", "tmpfs", "-o", "size=1m,ro", "cover", str(folder))

    def read_only(self, folder: Path) -> None:
        """Make the disk mounted at ``folder`` read-only."""
        _mount("-o", "remount,ro", str(folder))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


@pytest.fixture
def private_mounts() -> Iterator[Mounts]:
    """A mount namespace for the test's thread."""
    if os.geteuid() != 0:
        pytest.skip("mounts are for root")
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    folder = Path.cwd()
    if libc.unshare(_CLONE_NEWNS) != 0:
        os.close(before)
        pytest.skip(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    try:
        _mount("--make-rprivate", "/")
        yield Mounts()
    finally:
        if libc.setns(before, _CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(before)
        os.chdir(folder)
