"""The writing end of the audit: one file for each sidecar, on disk before the answer goes out.

The sidecar opens an :class:`AuditLog` at start and appends to it; when that fails it refuses to
run.  The chain tells of edits by anyone who can't also write all later hashes anew: whoever wants
proof against the owner of the folder keeps the last hash (``audit verify`` prints it) elsewhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from keyless_sidecar.audit import records
from keyless_sidecar.private_files import NotPrivate, lock, open_folder

__all__ = ["SUFFIX", "AuditLog", "AuditUnavailable"]

SUFFIX = ".jsonl"
#: Space kept free for the records of what already runs, in bytes.
RESERVE = 1024 * 1024
#: Largest file of one sidecar, so that a loop of refused requests can't fill the disk.
MAX_FILE = 1024 * 1024 * 1024

_STAMP = "%Y%m%dT%H%M%S.%fZ"
_LOCK = ".lock"
_KEEP_SIZE = 1


class AuditUnavailable(Exception):
    """A record can't be kept, so nothing may run; the message is one sentence."""


class AuditLog:
    """One sidecar's audit file.  Any thread may append; made by :meth:`open`."""

    def __init__(self, fd: int, path: Path, prefix: str) -> None:
        self._fd = fd
        self._prefix = prefix
        self._lock = threading.Lock()
        self._hash = records.ZERO
        self._size = 0
        self._allocated = 0
        self._broken = ""
        self.path = path
        #: How many records it has.
        self.records = 0

    @classmethod
    def open(cls, directory: Path, kernel_id: str, facts: dict[str, Any]) -> AuditLog:
        """Start a file, with a first record that says for whom and how it runs.

        Args:
            directory: the audit folder; made where it is missing.
            kernel_id: which kernel the sidecar serves.
            facts: level, host, hardening and the like; no secret in it.

        Raises:
            AuditUnavailable: the folder or the file can't be had, or isn't private.
        """
        try:
            folder = open_folder(directory, create=True)
        except NotPrivate as error:
            raise AuditUnavailable(f"The audit log isn't safe to use: {error}") from None
        except OSError as error:
            raise _unavailable(f"The audit folder {directory} can't be used", error) from None
        try:
            # One at a time, so that the files make one chain.
            with lock(folder, _LOCK):
                earlier = _newest(folder)
                fd, name = _create(folder, kernel_id, earlier)
                log = cls(fd, directory / name, "k" + secrets.token_hex(3))
                try:
                    log._begin(folder, kernel_id, facts, earlier)
                except BaseException:
                    log._give_up(folder)
                    raise
        except OSError as error:
            raise _unavailable(f"No file can be made in {directory}", error) from None
        finally:
            os.close(folder)
        return log

    @property
    def head(self) -> str:
        """Hash of the last record."""
        return self._hash

    def append(self, kind: str, fields: dict[str, Any], *, from_reserve: bool = False) -> str:
        """Write one record; it is on disk when this returns.

        Args:
            kind: what happened, such as ``exec.request``.
            fields: JSON values without a secret; long ones are shortened.
            from_reserve: the record ends something that runs, so it may use the reserved space.

        Returns:
            The record's id.

        Raises:
            AuditUnavailable: it couldn't be written; nothing may run without it.
        """
        with self._lock:
            return self._append(kind, fields, from_reserve=from_reserve)

    def close(self) -> None:
        """Write the closing record and end the file.  Closing twice does nothing.

        Raises:
            AuditUnavailable: the closing record couldn't be written; the file is closed anyway.
        """
        with self._lock:
            if self._fd < 0:
                return
            try:
                if not self._broken:
                    self._append(records.CLOSE, {"records": self.records}, from_reserve=True)
                    with contextlib.suppress(OSError):
                        os.ftruncate(self._fd, self._size)  # gives the reserve back
            finally:
                os.close(self._fd)
                self._fd = -1

    # ------------------------------------------------------------------ inside

    def _begin(
        self, folder: int, kernel_id: str, facts: dict[str, Any], earlier: str | None
    ) -> None:
        before = {"file": earlier, "hash": _last_hash(folder, earlier)} if earlier else None
        # Held while the sidecar lives: tells a running log from one that ended by force.
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._append(records.OPEN, {"kernel_id": kernel_id, "facts": facts, "earlier": before})
        os.fsync(folder)

    def _append(self, kind: str, fields: dict[str, Any], *, from_reserve: bool = False) -> str:
        if self._fd < 0:
            raise AuditUnavailable("The audit log is closed")
        if self._broken:
            raise AuditUnavailable(self._broken)
        record_id = f"{self._prefix}-{self.records:06d}"
        try:
            line, digest = records.encode(
                {
                    "seq": self.records,
                    "time": datetime.now(UTC).isoformat(timespec="microseconds"),
                    "record_id": record_id,
                    "kind": kind,
                    "fields": records.shorten(fields),
                    "prev": self._hash,
                }
            )
        except (TypeError, ValueError) as error:
            raise AuditUnavailable(f"A record of {kind} can't be written: {error}") from None
        self._check_file()
        if not from_reserve:
            self._make_room(len(line))
        self._write(line)
        self._size += len(line)
        self._hash = digest
        self.records += 1
        return record_id

    def _check_file(self) -> None:
        info = os.fstat(self._fd)
        if info.st_nlink == 0 or info.st_size != self._size:
            self._broken = f"The audit file {self.path} was removed or changed by someone else"
            raise AuditUnavailable(self._broken)

    def _make_room(self, size: int) -> None:
        """See to it that the disk has room for this record and, after it, for the reserve."""
        needed = self._size + size + RESERVE
        if needed > MAX_FILE:
            raise AuditUnavailable(
                f"The audit file {self.path} has reached {MAX_FILE} bytes: restart the kernel"
            )
        if needed <= self._allocated:
            return
        target = needed + RESERVE
        code = _reserve(self._fd, target)
        if code == 0:
            self._allocated = target
        elif code not in (errno.EOPNOTSUPP, errno.ENOSYS):
            # Where the file system can't reserve, the write itself tells of a full disk.
            raise _unavailable("There is no space for the audit log", OSError(code, ""))

    def _write(self, line: bytes) -> None:
        try:
            written = 0
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError as error:
            try:
                os.ftruncate(self._fd, self._size)
            except OSError:
                self._broken = f"The audit file {self.path} holds half a record"
            self._allocated = 0
            raise _unavailable("An audit record couldn't be written", error) from None
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            # After a failed sync the kernel may have dropped the page: never trust it again.
            self._broken = f"The disk of the audit file {self.path} failed"
            raise _unavailable("An audit record couldn't be brought to disk", error) from None

    def _give_up(self, folder: int) -> None:
        """Leave no file behind that has no first record."""
        os.close(self._fd)
        self._fd = -1
        os.unlink(self.path.name, dir_fd=folder)


def _unavailable(what: str, error: OSError) -> AuditUnavailable:
    return AuditUnavailable(f"{what}: {os.strerror(error.errno or errno.EIO)}")


def _newest(folder: int) -> str | None:
    names = [name for name in os.listdir(folder) if name.endswith(SUFFIX)]
    return max(names, default=None)


def _create(folder: int, kernel_id: str, earlier: str | None) -> tuple[int, str]:
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


def _last_hash(folder: int, name: str) -> str:
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


def _reserve(fd: int, size: int) -> int:
    """Reserve disk space up to ``size`` bytes without changing the file's size; errno or 0.

    ``os.posix_fallocate`` would make the file longer, and appending would go after that.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    fallocate = libc.fallocate
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return 0 if fallocate(fd, _KEEP_SIZE, 0, size) == 0 else ctypes.get_errno()
