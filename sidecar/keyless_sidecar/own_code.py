"""The sidecar runs only code that nobody but root and its own user can change.

:mod:`keyless_sidecar.server` calls :func:`require_fixed` at its start: for the interpreter, the
folders that modules are imported from, this program's own files, and the programs of the tools.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["ChangeableCode", "own_places", "require_fixed", "require_isolated"]

_PACKAGES = ("keyless", "keyless_kernel", "keyless_sidecar")


class ChangeableCode(Exception):
    """Others could change what would be run; the message is one sentence."""


def require_isolated() -> None:
    """Refuse an interpreter that listens to its surroundings.

    Raises:
        ChangeableCode: it was started without ``-I``.
    """
    if not sys.flags.isolated:
        raise ChangeableCode(
            "The sidecar runs only as python -I -m keyless_sidecar: without -I the environment and "
            "the working folder decide what is imported"
        )


def own_places() -> Iterator[Path]:
    """What this process runs: interpreter, import path and packages of ours, whole."""
    yield Path(sys.executable)
    yield from (Path(place) for place in {sys.prefix, sys.base_prefix})
    for name in sys.path:
        place = Path(name)
        yield place
        if place.is_dir():
            # Not every file below: what can be exchanged is decided by the folders.
            yield from (entry for entry in place.iterdir() if entry.name != "__pycache__")
    for package in _PACKAGES:
        folder = Path(getattr(sys.modules.get(package), "__file__", None) or "/").parent
        if folder != Path("/"):
            yield folder
            yield from folder.rglob("*")


def require_fixed(places: Iterable[Path], *, uid: int, gid: int) -> None:
    """Refuse places that others may write: themselves, or a folder above them.

    Group members count as others where there are any but this process's own user and root.

    Args:
        places: files and folders; links are followed.  One that does not exist is fine, as long
            as nobody else can make it.
        uid, gid: ids of sandboxed processes.  Where they are this process's own, only the sandbox
            keeps them from its code, and their ids tell nothing.

    Raises:
        ChangeableCode: one of them is.
    """
    judge = _Judge(uid, gid)
    for place in places:
        if fault := judge.fault(str(place.absolute())):
            raise ChangeableCode(
                f"{place} could be changed by others: {fault}; take that right away (chmod go-w, "
                "chown), or install it elsewhere"
            )


class _Judge:
    """Looks at each path once, after the folders above it."""

    def __init__(self, uid: int, gid: int) -> None:
        self._uid = uid
        self._gid = gid
        self._fine: set[str] = set()

    def fault(self, path: str) -> str:
        """What is wrong with a path, with a folder above it or with where it leads; or empty."""
        if path in self._fine:
            return ""
        folder = os.path.dirname(path)  # noqa: PTH120 - text; pathlib takes ten times as long
        if folder != path and (above := self.fault(folder)):
            return above
        try:
            info = os.lstat(path)
        except OSError:
            # In a sticky folder others can't exchange what exists, but make what does not.
            reason = self._reason(os.lstat(folder), sticky=False) if Path(folder).is_dir() else ""
            return f"{folder} {reason}" if reason else ""
        if reason := self._reason(info):
            return f"{path} {reason}"
        self._fine.add(path)
        return self.fault(os.path.realpath(path)) if stat.S_ISLNK(info.st_mode) else ""

    def _reason(self, info: os.stat_result, *, sticky: bool = True) -> str:
        if info.st_uid == self._uid and self._uid != os.geteuid():
            return "belongs to the sandbox's user"
        if stat.S_ISLNK(info.st_mode):
            return ""
        if sticky and stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX:
            return ""
        if info.st_mode & stat.S_IWOTH:
            return "is writable for everyone"
        if info.st_mode & stat.S_IWGRP:
            if info.st_gid == self._gid and self._gid != os.getegid():
                return "is writable for the sandbox's group"
            if _has_other_members(info.st_gid):
                return f"is writable for the members of group {info.st_gid}"
        return ""


def _has_other_members(gid: int) -> bool:
    """Whether a group names members but us and root; a user's private group has none."""
    known = {"root"}
    with contextlib.suppress(KeyError):
        known.add(pwd.getpwuid(os.geteuid()).pw_name)
    try:
        return bool(set(grp.getgrgid(gid).gr_mem) - known)
    except KeyError:
        return False
