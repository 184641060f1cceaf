"""What a command reads in the workspace stays what it was when it was checked for the last time.

:mod:`keyless_sidecar.execution.command` calls :func:`fix` in a thread, just before the sandbox is
made.  The kernel side may rename and rewrite the workspace at any moment, so a path that was
checked says nothing about what the tool would open by it.  Each file that the command names is
opened once, beneath the workspace; the checks are made on that descriptor; then

- its content goes into a private folder, which lies as a layer of its own over the workspace, or
- where it is large, the descriptor itself is bound there.

The folders on the way are real folders of that layer, so no link can take their place either.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from keyless_sidecar.tools import CheckedFile, shown
from keyless_sidecar.workspace import WorkspaceError, WorkspaceRoot

#: Larger files are not copied, nor what goes beyond the second number for one command; bytes.
MOST_COPIED, MOST_COPIED_TOGETHER = 64 * 1024**2, 256 * 1024**2
#: Files that may be bound by their descriptors for one command.
MOST_BOUND = 64
#: Bytes of the files that a person approved, for one command: those are always copied.
MOST_APPROVED = 4 * 1024**3
_CHUNK = 16 * 1024**2
_HEAD = 4096


class InputChanged(Exception):
    """A file is no longer what the rules saw; the message is one sentence for the cell."""


@dataclasses.dataclass
class Fixed:
    """What the sandbox is to show instead of what the workspace holds.  Close it.

    Args:
        layer: folder that lies over the workspace.
        bound: path in the workspace and descriptor of each file that is shown by itself.
    """

    layer: str
    bound: list[tuple[str, int]] = dataclasses.field(default_factory=list)

    def close(self) -> None:
        """Free the descriptors.  Idempotent."""
        while self.bound:
            os.close(self.bound.pop()[1])


def fix(files: Iterable[CheckedFile], workspace: WorkspaceRoot, layer: Path) -> Fixed:
    """Open, check and keep what a command reads.  Blocks.

    Args:
        files: what the rules let through; only files that are read, and folders, matter.
        workspace: where they lie.
        layer: an empty private folder on the host.

    Raises:
        InputChanged: one of them is no longer what the rules saw, or too large.
        OSError: the layer can't be written.
    """
    fixed = Fixed(str(layer))
    keeper = _Keeper(workspace, layer, fixed)
    try:
        for file in files:
            try:
                if file.use == "read":
                    keeper.file(file)
                elif file.use == "folder":
                    keeper.folder(file.path)
            except WorkspaceError as error:
                raise InputChanged(
                    f"The file {shown(file.path)} {error.message}; run the command again when "
                    "nothing changes it."
                ) from None
        keeper.finish()
    except BaseException:
        fixed.close()
        raise
    return fixed


def unchanged(files: Iterable[CheckedFile], workspace: WorkspaceRoot) -> None:
    """Look once more at what a person approved, where no layer can hold it.  Blocks.

    Raises:
        InputChanged: one of them is no longer what was shown.
    """
    for file in files:
        if not file.sha256:
            continue
        try:
            descriptor = workspace.open_read(file.path, max_size=MOST_APPROVED)
        except WorkspaceError as error:
            raise InputChanged(f"The file {shown(file.path)} {error.message}.") from None
        try:
            if sha256_of(descriptor) != file.sha256:
                raise _not_as_approved(file)
        finally:
            os.close(descriptor)


def sha256_of(descriptor: int) -> str:
    """Digest of a file from its beginning; its offset stays.  Blocks."""
    digest = hashlib.sha256()
    place = 0
    while data := os.pread(descriptor, 1024**2, place):
        digest.update(data)
        place += len(data)
    return digest.hexdigest()


def _not_as_approved(file: CheckedFile) -> InputChanged:
    return InputChanged(
        f"The file {shown(file.path)} is no longer what was approved; run the command again."
    )


class _Keeper:
    def __init__(self, workspace: WorkspaceRoot, layer: Path, fixed: Fixed) -> None:
        self._workspace = workspace
        self._layer = layer
        self._fixed = fixed
        self._done: set[str] = {""}
        self._left = MOST_COPIED_TOGETHER
        self._approved = 0
        self._modes: list[tuple[Path, int]] = []

    def finish(self) -> None:
        """Folders get their own modes last: some can't be written in, not even by us."""
        for folder, mode in reversed(self._modes):
            folder.chmod(mode)

    def file(self, file: CheckedFile) -> None:
        if file.path in self._done:
            return
        self.folder(file.path.rpartition("/")[0])
        source = self._workspace.open_read(file.path)
        try:
            size = os.fstat(source).st_size
            copied = size <= min(MOST_COPIED, self._left)
            if file.sha256:  # what was approved is held, whatever its size
                copied = size <= MOST_APPROVED - self._approved
                self._approved += size
            if not copied and (file.json or file.sha256 or len(self._fixed.bound) >= MOST_BOUND):
                raise WorkspaceError(
                    "too-large", f"is too large to be held fixed ({size} bytes) while it is read"
                )
            target = self._layer / file.path
            self._copy(source, target, size if copied else 0)
            if file.json:
                _require_json(target)
            if file.sha256:
                _require_approved(target, file)
            if not copied:
                self._fixed.bound.append((file.path, source))
                source = -1
        finally:
            if source >= 0:
                os.close(source)
        self._done.add(file.path)

    def folder(self, path: str) -> None:
        """A folder of the layer for one of the workspace; what is in it stays visible."""
        if path in self._done:
            return
        self.folder(path.rpartition("/")[0])
        try:
            source = self._workspace.folder(path)
        except WorkspaceError as error:
            if error.reason == "missing":  # the command is going to make it
                return
            raise
        try:
            info = os.fstat(source)
        finally:
            os.close(source)
        target = self._layer / path
        with contextlib.suppress(FileNotFoundError):  # below one that is missing
            target.mkdir(mode=0o700)
            _give(target, info)
            self._modes.append((target, stat.S_IMODE(info.st_mode) & 0o777))
        self._done.add(path)

    def _copy(self, source: int, target: Path, size: int) -> None:
        """Owner, mode, time and the first ``size`` bytes of a file."""
        info = os.fstat(source)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(target, flags, 0o600)
        try:
            self._left -= _copy_bytes(source, fd, size)
            _give(target, info)
            os.fchmod(fd, stat.S_IMODE(info.st_mode) & 0o777)
            os.utime(fd, ns=(info.st_atime_ns, info.st_mtime_ns))
        finally:
            os.close(fd)


def _give(target: Path, info: os.stat_result) -> None:
    # An ordinary user's copies are his own; he could read the files as well.
    if os.geteuid() == 0:
        os.chown(target, info.st_uid, info.st_gid, follow_symlinks=False)


def _copy_bytes(source: int, target: int, size: int) -> int:
    """Copy at most ``size`` bytes from the start, by reference where the file system can."""
    done = 0
    while done < size:
        try:
            moved = os.copy_file_range(source, target, min(_CHUNK, size - done), done, done)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            data = os.pread(source, min(_CHUNK, size - done), done)
            moved = os.pwrite(target, data, done) if data else 0
        if moved == 0:
            break
        done += moved
    return done


def _require_approved(path: Path, file: CheckedFile) -> None:
    """The copy, which nobody else can change, is what was shown."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if sha256_of(fd) != file.sha256:
            raise _not_as_approved(file)
    finally:
        os.close(fd)


def _require_json(path: Path) -> None:
    """The rules' check once more, on what the tool is going to read."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.read(fd, _HEAD).lstrip()[:1] not in (b"{", b"["):
            raise WorkspaceError("other", "no longer holds JSON")
    finally:
        os.close(fd)
