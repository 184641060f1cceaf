"""Files and folders that only their owner may touch: the vault and the audit log are kept in them.

Called by :mod:`keyless_sidecar.vault` and :mod:`keyless_sidecar.audit`.  Everything is opened
relative to a folder's descriptor and without following links, and judged by ``fstat`` on what was
opened, so that nobody can exchange it between the check and the use.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["NotPrivate", "lock", "open_folder", "read_file", "replace_file"]

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_ANY_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class NotPrivate(Exception):
    """A file or folder that others own or may change; the message is one sentence."""


def open_folder(path: Path, *, create: bool = False) -> int:
    """Open a private folder and return its descriptor, which the caller closes.

    The folder is brought to mode 0700 where its owner has left it readable to others.

    Args:
        path: the folder; with ``create`` it and its parents are made where they are missing.

    Raises:
        FileNotFoundError: it isn't there and ``create`` is off.
        NotPrivate: it is a link, not a folder, another user's, or others may write in it.
        OSError: it can't be made or opened.
    """
    if create:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        raise NotPrivate(f"{path} must be a folder, and no link to one") from None
    try:
        info = os.fstat(fd)
        _require_owner(info, path)
        if info.st_mode & _WRITABLE_BY_OTHERS:
            raise NotPrivate(f"Other users can write in {path}: look through it, then chmod 700 it")
        if info.st_mode & _ANY_BY_OTHERS:
            os.fchmod(fd, 0o700)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_file(folder: int, name: str, *, limit: int, secret: bool = False) -> bytes:
    """Read a small file in an opened folder.

    Args:
        folder: descriptor from :func:`open_folder`.
        limit: largest size in bytes.
        secret: others may not even read it (else they may not write it).

    Raises:
        FileNotFoundError: no such file.
        NotPrivate: not a regular file, another user's, open to others, or too large.
        OSError: it can't be read.
    """
    try:
        fd = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
        )
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise NotPrivate(f"{name} can't be opened as a plain file: {error.strerror}") from None
    with open(fd, "rb") as file:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise NotPrivate(f"{name} must be a plain file")
        _require_owner(info, name)
        forbidden = _ANY_BY_OTHERS if secret else _WRITABLE_BY_OTHERS
        if info.st_mode & forbidden:
            verb = "read" if secret else "change"
            raise NotPrivate(f"Other users can {verb} {name}: chmod 600 it, and change its secrets")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise NotPrivate(f"{name} is larger than {limit} bytes")
    return data


def replace_file(folder: int, name: str, data: bytes) -> None:
    """Write a file of mode 0600 so that it holds either all of ``data`` or what it held before.

    Raises:
        OSError: it can't be written; the old file is as it was.
    """
    temporary = f".{name}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=folder)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        raise
    os.fsync(folder)


@contextlib.contextmanager
def lock(folder: int, name: str) -> Iterator[None]:
    """Hold an exclusive lock, on a file of its own, against other writers of the folder."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _require_owner(info: os.stat_result, what: Path | str) -> None:
    if info.st_uid != os.geteuid():
        raise NotPrivate(f"{what} belongs to another user (uid {info.st_uid})")
