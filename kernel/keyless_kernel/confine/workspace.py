"""The workspace as the trusted side touches it: never through a link, never outside.

Every method resolves its path anew beneath a descriptor of the workspace (:mod:`beneath`).  The
sidecar's rules look at the files that a command names, its execution reads inputs and puts outputs
back; the host API reads and writes files for the person's program.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat as stat_module
from collections.abc import Iterator

from keyless_kernel.confine.beneath import (
    WorkspaceError,
    encoded,
    kind_of,
    open_beneath,
    relative,
    translate,
)
from keyless_kernel.confine.sandbox import WORKSPACE

__all__ = ["WorkspaceRoot"]

_COPY_SIZE = 1 << 20
#: Levels of a folder that is removed; more only where someone goes on adding to it.
_MOST_ROUNDS = 100_000


class WorkspaceRoot:
    """A held descriptor of the workspace; every method resolves beneath it.

    Args:
        path: the workspace on the host.
        inside: where the sandboxed processes see it.

    Raises:
        WorkspaceError: the folder does not exist or can't be opened.

    Paths are relative, as :func:`relative` makes them.  All methods raise
    :class:`WorkspaceError`.  May be used from several threads; :meth:`close` comes last.
    """

    def __init__(self, path: str | os.PathLike[str], inside: str = WORKSPACE) -> None:
        self.inside = inside
        try:
            self._root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise translate(error.errno) from error

    def relative(self, path: str, cwd: str = "") -> str:
        """:func:`relative` for this workspace."""
        return relative(path, cwd, self.inside)

    def close(self) -> None:
        """Give the descriptor back.  Idempotent."""
        root, self._root = self._root, -1
        if root >= 0:
            os.close(root)

    def __enter__(self) -> WorkspaceRoot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------ reading

    def open_read(self, rel: str, *, max_size: int | None = None) -> int:
        """Open a regular file that has one name only.

        Args:
            rel: the file.
            max_size: largest size in bytes.

        Returns:
            A blocking descriptor; the caller closes it.
        """
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        fd = self._open(rel, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            info = os.fstat(fd)
            if not stat_module.S_ISREG(info.st_mode):
                raise WorkspaceError(
                    "not-regular", f"is {kind_of(info.st_mode)}, not a regular file"
                )
            if info.st_nlink > 1:
                raise WorkspaceError("links", "has more than one hard link, which may lie outside")
            if max_size is not None and info.st_size > max_size:
                raise WorkspaceError("too-large", f"is larger than {max_size} bytes")
            flags = fcntl.fcntl(fd, fcntl.F_GETFL)
            fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def stat(self, rel: str) -> os.stat_result:
        """What the path names right now, of whatever kind but a symbolic link."""
        fd = self._open(rel, os.O_PATH | os.O_NOFOLLOW)
        try:
            info = os.fstat(fd)
        finally:
            os.close(fd)
        if stat_module.S_ISLNK(info.st_mode):
            raise translate(errno.ELOOP)
        return info

    def folder(self, rel: str) -> int:
        """Open a folder for listing and for ``dir_fd``; the caller closes the descriptor."""
        return self._open(rel, os.O_RDONLY | os.O_DIRECTORY)

    def check_output(self, rel: str) -> None:
        """Make sure that a file may be written here: no link, nothing but a plain file there now.

        Folders on the way may be missing.
        """
        try:
            info = self.stat(rel)
        except WorkspaceError as error:
            if error.reason != "missing":
                raise
        else:
            if not stat_module.S_ISREG(info.st_mode):
                raise WorkspaceError(
                    "not-regular", f"is {kind_of(info.st_mode)}, not a regular file"
                )
            if info.st_nlink > 1:
                raise WorkspaceError("links", "has more than one hard link, which may lie outside")
            return
        parts = rel.split("/")[:-1]
        while parts:
            try:
                parent = self.stat("/".join(parts))
            except WorkspaceError as error:
                if error.reason != "missing":
                    raise
                parts.pop()
                continue
            if not stat_module.S_ISDIR(parent.st_mode):
                raise WorkspaceError("other", "lies in something that is not a folder")
            return

    # ------------------------------------------------------------------ changing

    def replace(self, rel: str, source: int | bytes, *, uid: int, gid: int, mode: int) -> int:
        """Put a whole file into place, or nothing.

        Args:
            rel: the file; its folder must exist.
            source: the content, or a descriptor that is read from its present offset.
            uid: owner (set where we are root).
            gid: group (set where we are root).
            mode: permission bits; set-id and sticky bits are dropped.

        Returns:
            The number of bytes.
        """
        with self._parent(rel) as (folder, name):
            temporary = f".{secrets.token_hex(8)}.part"
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(temporary, flags, 0o600, dir_fd=folder)
                try:
                    size = _copy(source, fd)
                    if os.geteuid() == 0:
                        os.fchown(fd, uid, gid)
                    os.fchmod(fd, mode & 0o777)
                finally:
                    os.close(fd)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise translate(error.errno) from error
        return size

    def remove(self, rel: str) -> None:
        """Remove a file, a link, or a whole folder; nothing there is fine."""
        try:
            with self._parent(rel) as (folder, name):
                try:
                    info = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    if stat_module.S_ISDIR(info.st_mode):
                        _remove_folder(name, folder)
                    else:
                        os.unlink(name, dir_fd=folder)
                except OSError as error:
                    raise translate(error.errno) from error
        except WorkspaceError as error:
            if error.reason != "missing":
                raise

    def make_folder(self, rel: str, *, uid: int = -1, gid: int = -1, mode: int = 0o755) -> None:
        """Make a folder and those above it; one that exists is left as it is."""
        parts = rel.split("/") if rel else []
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            with self._parent(path) as (parent, name):
                try:
                    os.mkdir(name, 0o700, dir_fd=parent)
                except FileExistsError:
                    os.close(self.folder(path))
                    continue
                except OSError as error:
                    raise translate(error.errno) from error
            fd = self.folder(path)
            try:
                if os.geteuid() == 0:
                    os.fchown(fd, uid, gid)
                os.fchmod(fd, mode & 0o777)
            finally:
                os.close(fd)

    # ------------------------------------------------------------------ inside

    @contextlib.contextmanager
    def _parent(self, rel: str) -> Iterator[tuple[int, str]]:
        """The open folder of a path, and the path's last name."""
        head, _, name = rel.rpartition("/")
        if encoded(name) in (b"", b".", b".."):
            raise WorkspaceError("other", "is not a usable path")
        fd = self._open(head, os.O_PATH | os.O_DIRECTORY)
        try:
            yield fd, name
        finally:
            os.close(fd)

    def _open(self, rel: str, flags: int) -> int:
        if self._root < 0:
            raise WorkspaceError("other", "can't be opened: the workspace is closed")
        return open_beneath(self._root, rel, flags)


def _remove_folder(name: str, parent: int) -> None:
    """Remove a folder of any depth, with two descriptors and without recursion.

    What is nested is lifted, level by level, into the folder itself, so no step leads upwards.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    top = os.open(name, flags, dir_fd=parent)
    try:
        for _ in range(_MOST_ROUNDS):
            names = os.listdir(top)  # noqa: PTH208 - of a descriptor
            for each in names:
                _remove_entry(each, top, lift_to=top)
            if not names:
                break
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _remove_entry(name: str, folder: int, *, lift_to: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
        return
    except FileNotFoundError:
        return  # the kernel side was faster
    except IsADirectoryError:
        pass
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    inner = os.open(name, flags, dir_fd=folder)
    try:
        for each in os.listdir(inner):  # noqa: PTH208 - of a descriptor
            try:
                os.unlink(each, dir_fd=inner)
            except IsADirectoryError:
                os.rename(each, secrets.token_hex(8), src_dir_fd=inner, dst_dir_fd=lift_to)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=folder)


def _copy(source: int | bytes, target: int) -> int:
    """Write all of ``source``; returns the number of bytes."""
    size = 0
    if isinstance(source, bytes):
        view = memoryview(source)
        while view:
            written = os.write(target, view)
            view = view[written:]
            size += written
        return size
    while chunk := os.read(source, _COPY_SIZE):
        size += _copy(chunk, target)
    return size
