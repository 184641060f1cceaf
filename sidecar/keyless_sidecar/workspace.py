"""The workspace as the sidecar touches it: never through a link, never outside.

The kernel side owns the workspace and may change it at any moment, so each access resolves the
path anew in one step, with openat2, beneath a descriptor of the workspace itself.  The rules
(``keyless_sidecar.tools``) look at the files that a command names; the execution reads its inputs
and puts a tool's outputs back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
import stat as stat_module
from collections.abc import Iterator
from typing import Literal

from keyless_kernel.confine import WORKSPACE

__all__ = ["WORKSPACE", "Reason", "WorkspaceError", "WorkspaceRoot", "relative"]

Reason = Literal["missing", "not-regular", "symlink", "outside", "links", "too-large", "other"]

_SYS_OPENAT2 = 437  # the same number on every architecture
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x01, 0x02, 0x04, 0x08
_RESOLVE = _NO_XDEV | _NO_MAGICLINKS | _NO_SYMLINKS | _BENEATH
_COPY_SIZE = 1 << 20
#: Levels of a folder that is removed; more only where someone goes on adding to it.
_MOST_ROUNDS = 100_000


class WorkspaceError(Exception):
    """A path in the workspace can't be used.

    Attributes:
        reason: what is wrong, for code.
        message: a few words that continue "the file ...", for people; it holds no path.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message


_MESSAGES: dict[int, tuple[Reason, str]] = {
    errno.ENOENT: ("missing", "does not exist in the workspace"),
    errno.ENOTDIR: ("missing", "does not exist in the workspace"),
    errno.ELOOP: ("symlink", "is reached through a symbolic link, which is not followed"),
    errno.EXDEV: ("outside", "is outside the workspace"),
    errno.ENXIO: ("not-regular", "is not a regular file"),
    errno.EISDIR: ("not-regular", "is a folder"),
    errno.ENODEV: ("not-regular", "is not a regular file"),
    errno.ENAMETOOLONG: ("other", "has a name that is too long"),
    errno.EACCES: ("other", "may not be opened"),
    errno.ENOSYS: ("other", "can't be opened safely: this needs Linux 5.6 or newer (openat2)"),
}


def relative(path_in_sandbox: str, cwd: str = "", inside: str = WORKSPACE) -> str:
    """The path below the workspace that a path means inside the sandbox.

    Args:
        path_in_sandbox: absolute (``/workspace/...``) or relative to ``cwd``.
        cwd: the command's folder, relative to the workspace (or absolute in the sandbox).
        inside: where the workspace is in the sandbox.

    Returns:
        A path without ``.``, ``..`` and double slashes; ``""`` is the workspace itself.

    Raises:
        WorkspaceError: it is empty, holds a NUL, or leads outside.
    """
    if not path_in_sandbox or "\0" in path_in_sandbox or "\0" in cwd:
        raise WorkspaceError("other", "is not a usable path")
    whole = os.path.join(inside, cwd, path_in_sandbox)  # noqa: PTH118 - text only, no I/O
    below = inside.strip("/").split("/")
    parts: list[str] = []
    for part in whole.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            # Leaving the workspace is wrong even where a later part leads back in.
            if parts == below or not parts:
                raise WorkspaceError("outside", "is outside the workspace")
            parts.pop()
        else:
            parts.append(part)
    if parts[: len(below)] != below:
        raise WorkspaceError("outside", "is outside the workspace")
    return "/".join(parts[len(below) :])


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


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
        self._libc = ctypes.CDLL(None, use_errno=True)
        try:
            self._root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _translate(error.errno) from error

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
                raise WorkspaceError("not-regular", f"is {_kind(info.st_mode)}, not a regular file")
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
            raise _translate(errno.ELOOP)
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
                raise WorkspaceError("not-regular", f"is {_kind(info.st_mode)}, not a regular file")
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
                raise _translate(error.errno) from error
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
                    raise _translate(error.errno) from error
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
                    raise _translate(error.errno) from error
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
        if _encoded(name) in (b"", b".", b".."):
            raise WorkspaceError("other", "is not a usable path")
        fd = self._open(head, os.O_PATH | os.O_DIRECTORY)
        try:
            yield fd, name
        finally:
            os.close(fd)

    def _open(self, rel: str, flags: int) -> int:
        if self._root < 0:
            raise WorkspaceError("other", "can't be opened: the workspace is closed")
        how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE)
        path = _encoded(rel or ".")
        for _ in range(100):
            fd: int = self._libc.syscall(
                _SYS_OPENAT2, self._root, path, ctypes.byref(how), ctypes.sizeof(how)
            )
            if fd >= 0:
                return fd
            code = ctypes.get_errno()
            # EAGAIN: something was renamed meanwhile, so the kernel could not prove "beneath".
            if code not in (errno.EAGAIN, errno.EINTR):
                raise _translate(code)
        raise WorkspaceError("other", "is being renamed all the time")


def _encoded(path: str) -> bytes:
    """The path as the system gets it."""
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise WorkspaceError("other", "is not a usable path") from error
    if b"\0" in encoded:
        raise WorkspaceError("other", "is not a usable path")
    return encoded


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


def _translate(code: int | None) -> WorkspaceError:
    known = _MESSAGES.get(code or 0)
    if known is not None:
        return WorkspaceError(*known)
    return WorkspaceError("other", f"can't be used: {os.strerror(code or 0)}")


def _kind(mode: int) -> str:
    for test, name in (
        (stat_module.S_ISDIR, "a folder"),
        (stat_module.S_ISFIFO, "a FIFO"),
        (stat_module.S_ISSOCK, "a socket"),
        (stat_module.S_ISLNK, "a symbolic link"),
        (stat_module.S_ISREG, "a regular file"),
    ):
        if test(mode):
            return name
    return "a device"


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
