"""Reading the policy file, or the built-in policy where there is none.  Called at the start."""

from __future__ import annotations

import os
import stat
from importlib.resources import files
from pathlib import Path

from keyless_sidecar.policy.engine import DEFAULT_SOURCE, CedarPolicy, Principal
from keyless_sidecar.policy.names import check_names
from keyless_sidecar.policy.source import PolicyInvalid, Problem

__all__ = ["EXAMPLES", "built_in_text", "load_policy", "read_policy"]

#: Policies that come with Keyless, by the name that people give.
EXAMPLES = ("default", "deploy-only", "read-only", "teaching")

_LARGEST = 256 * 1024
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def load_policy(path: Path | None, principal: Principal) -> CedarPolicy:
    """The policy that is in force.

    Args:
        path: the file a person may have written; None: there is no such place.
        principal: the kernel that acts.

    Raises:
        PolicyInvalid: there is a file and it can't be used, whatever the reason.  The built-in
            policy never stands in for a broken file.
    """
    text = read_policy(path) if path is not None else None
    if text is None or path is None:
        return CedarPolicy(built_in_text("default"), principal, DEFAULT_SOURCE)
    policy = CedarPolicy(text, principal, path.name)
    wrong = [problem for problem in check_names(policy.rules) if not problem.warning]
    if wrong:
        raise PolicyInvalid(path.name, wrong)
    return policy


def read_policy(path: Path) -> str | None:
    """The text of a policy file that only its owner, or root, can have written.

    Returns:
        None where there is no file.

    Raises:
        PolicyInvalid: it is no plain file, could be changed by others, or is too large.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, f"its folder can't be opened: {error.strerror}") from None
    try:
        _require_private(folder, path, f"the folder {path.parent}")
        data = _read(folder, path)
    finally:
        os.close(folder)
    if data is None:
        return None
    if len(data) > _LARGEST:
        raise _unusable(path, f"it is larger than {_LARGEST // 1024} KiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyInvalid(path.name, [Problem(line, "This is not UTF-8.")]) from None


def built_in_text(name: str) -> str:
    """The text of a policy that comes with Keyless: one of `EXAMPLES`."""
    if name not in EXAMPLES:
        raise ValueError(f"there is no policy {name!r}")
    here = files("keyless_sidecar.policy")
    place = here / "default.cedar" if name == "default" else here / "examples" / f"{name}.cedar"
    return place.read_text(encoding="utf-8")


def _read(folder: int, path: Path) -> bytes | None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path.name, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, f"it can't be opened as a plain file: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise _unusable(path, "it must be a plain file")
        _require_private(fd, path, "it")
        with open(fd, "rb", closefd=False) as file:
            return file.read(_LARGEST + 1)
    finally:
        os.close(fd)


def _require_private(fd: int, path: Path, what: str) -> None:
    info = os.fstat(fd)
    if info.st_uid not in (0, os.geteuid()):
        raise _unusable(path, f"{what} belongs to another user (uid {info.st_uid})")
    if info.st_mode & _WRITABLE_BY_OTHERS:
        raise _unusable(path, f"{what} can be written by other users: chmod go-w it")


def _unusable(path: Path, why: str) -> PolicyInvalid:
    return PolicyInvalid(path.name, [Problem(0, f"{why[0].upper()}{why[1:]}.")])
