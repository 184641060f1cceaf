"""The files of the audit folder: one for each sidecar, named so that they sort by their start."""

from __future__ import annotations

import contextlib
import os
import re
from datetime import UTC, datetime, timedelta

from keyless_sidecar.audit import records

__all__ = ["SUFFIX", "create", "last_hash", "newest"]

SUFFIX = ".jsonl"
_STAMP = "%Y%m%dT%H%M%S.%fZ"


def newest(folder: int) -> str | None:
    """Name of the newest file in an opened folder."""
    names = [name for name in os.listdir(folder) if name.endswith(SUFFIX)]
    return max(names, default=None)


def create(folder: int, kernel_id: str, earlier: str | None) -> tuple[int, str]:
    """A new file that sorts after all earlier ones, even where the clock went back."""
    now = datetime.now(UTC)
    if earlier:
        with contextlib.suppress(ValueError):
            last = datetime.strptime(earlier.partition("-")[0], _STAMP).replace(tzinfo=UTC)
            now = max(now, last + timedelta(microseconds=1))
    clean = re.sub(r"[^A-Za-z0-9_-]", "_", kernel_id)[:64] or "_"
    name = f"{now.strftime(_STAMP)}-{clean}{SUFFIX}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=folder), name


def last_hash(folder: int, name: str) -> str:
    """Hash of the last whole record of an earlier file; empty where it has none."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with open(fd, "rb") as file:
        size = os.fstat(fd).st_size
        file.seek(max(0, size - 2 * records.MAX_LINE))
        lines = file.read().split(b"\n")[:-1]
    try:
        return str(records.parse(lines[-1])["hash"]) if lines else ""
    except records.BadLine:
        return ""
