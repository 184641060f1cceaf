"""The writing end of the audit: one file for each sidecar, on disk before the answer goes out.

The sidecar opens an :class:`AuditLog` at start and appends to it; when that fails it refuses to
run.  The chain tells of edits by anyone who can't also write all later hashes anew: whoever wants
proof against the owner of the folder keeps the last hash (``audit verify`` prints it) elsewhere.

A record is in the file once it is written, so that it outlives this process, and on disk once it
was brought there, so that it outlives the machine's power.  What was written in one step is brought
to disk together, before anything that follows from it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keyless_sidecar.audit import records
from keyless_sidecar.audit.files import SUFFIX, create, last_hash, newest
from keyless_sidecar.private_files import NotPrivate, lock, open_folder
from keyless_sidecar.turns import Turns

__all__ = ["SUFFIX", "AuditLog", "AuditUnavailable"]

#: Space kept free for the records of what already runs, in bytes.
RESERVE = 1024 * 1024
#: Largest file of one sidecar, so that a loop of refused requests can't fill the disk.
MAX_FILE = 1024 * 1024 * 1024

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
        # Held while the disk is waited for; taken before the other one.
        self._turn = threading.Lock()
        self._turns = Turns("keyless-audit")
        self._hash = records.ZERO
        self._size = 0
        self._on_disk = 0
        self._allocated = 0
        self._broken = ""
        self._ended = False
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
                earlier = newest(folder)
                fd, name = create(folder, kernel_id, earlier)
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
        """Write one record; it is on disk when this returns, with all before it.

        Args:
            kind: what happened, such as ``exec.request``.
            fields: JSON values without a secret; long ones are shortened.
            from_reserve: the record ends something that runs, so it may use the reserved space.

        Returns:
            The record's id.

        Raises:
            AuditUnavailable: it couldn't be written; nothing may run without it.
        """
        record_id = self.write(kind, fields, from_reserve=from_reserve)
        self.bring_to_disk()
        return record_id

    def write(self, kind: str, fields: dict[str, Any], *, from_reserve: bool = False) -> str:
        """Write one record into the file, and don't wait for the disk.

        Nothing that follows from the record may be done, or told to anyone, before
        :meth:`bring_to_disk` or :meth:`on_disk`.  Arguments and errors are those of
        :meth:`append`.
        """
        with self._lock:
            return self._append(kind, fields, from_reserve=from_reserve)

    def bring_to_disk(self) -> None:
        """Return when all that was written before this call is on disk.

        Whoever comes while others wait for the disk waits for one more time of it at most,
        together with all who came meanwhile.

        Raises:
            AuditUnavailable: it couldn't be brought there; nothing may run without it.
        """
        mark = self._size
        with self._turn:
            with self._lock:
                if self._broken:
                    raise AuditUnavailable(self._broken)
                if self._on_disk >= mark:
                    return
                size = self._size
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                # After a failed sync the kernel may have dropped the page: never trust it again.
                with self._lock:
                    self._broken = f"The disk of the audit file {self.path} failed"
                raise _unavailable("An audit record couldn't be brought to disk", error) from None
            self._on_disk = size

    async def on_disk(self) -> None:
        """The same for the event loop, which goes on meanwhile."""
        if self._on_disk >= self._size and not self._broken:
            return
        await self._turns.run(self.bring_to_disk)

    def close(self) -> None:
        """Write the closing record and end the file.  Closing twice does nothing.

        Raises:
            AuditUnavailable: the closing record couldn't be written; the file is closed anyway.
        """
        if self._ended:
            return
        try:
            with self._lock:
                try:
                    if not self._broken:
                        self._append(records.CLOSE, {"records": self.records}, from_reserve=True)
                finally:
                    self._ended = True
            if not self._broken:
                self.bring_to_disk()
        finally:
            with self._turn, self._lock:
                if not self._broken:
                    with contextlib.suppress(OSError):
                        os.ftruncate(self._fd, self._size)  # gives the reserve back
                os.close(self._fd)
                self._fd = -1
            self._turns.close()

    # ------------------------------------------------------------------ inside

    def _begin(
        self, folder: int, kernel_id: str, facts: dict[str, Any], earlier: str | None
    ) -> None:
        before = {"file": earlier, "hash": last_hash(folder, earlier)} if earlier else None
        # Held while the sidecar lives: tells a running log from one that ended by force.
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.append(records.OPEN, {"kernel_id": kernel_id, "facts": facts, "earlier": before})
        os.fsync(folder)

    def _append(self, kind: str, fields: dict[str, Any], *, from_reserve: bool = False) -> str:
        if self._ended:
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

    def _give_up(self, folder: int) -> None:
        """Leave no file behind that has no first record."""
        os.close(self._fd)
        self._fd = -1
        self._ended = True
        os.unlink(self.path.name, dir_fd=folder)


def _unavailable(what: str, error: OSError) -> AuditUnavailable:
    return AuditUnavailable(f"{what}: {os.strerror(error.errno or errno.EIO)}")


def _reserve(fd: int, size: int) -> int:
    """Reserve disk space up to ``size`` bytes without changing the file's size; errno or 0.

    ``os.posix_fallocate`` would make the file longer, and appending would go after that.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    fallocate = libc.fallocate
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return 0 if fallocate(fd, _KEEP_SIZE, 0, size) == 0 else ctypes.get_errno()
