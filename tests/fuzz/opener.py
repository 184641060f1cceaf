"""Fuzz target: the workspace's opener, on random trees and paths.

A value is ``[ENTRIES, STEPS]``: entries ``[kind, path, target]`` make a tree, steps ``[method,
path]`` are called on it.  Nothing outside is read or changed, nothing but ``WorkspaceError`` comes.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import tempfile
from pathlib import Path

from hypothesis import strategies as st

from keyless_sidecar.workspace import WorkspaceError, WorkspaceRoot, relative

_names = st.sampled_from(["a", "b", "c", "..", ".", "", "é", "x" * 256, "a\0", "\udc80", "new"])
_plain = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)
_paths = st.one_of(
    _plain,
    st.lists(_names, max_size=5).map("/".join),
    st.lists(_names, max_size=4).map(lambda parts: "/workspace/" + "/".join(parts)),
    st.text(max_size=8),
    st.just("/".join(["a"] * 200)),
)
_targets = st.sampled_from(
    ["", "/", ".", "..", "a", "b/c", "../outside", "../outside/secret", "{outside}/secret",
     "{outside}", "/proc/self/root", "/proc/self/cwd/secret", "{self}", "nowhere", "/dev/null"]
)  # fmt: skip
_kinds = st.sampled_from(["file", "folder", "symlink", "hardlink", "hardlink in", "fifo", "socket"])
_methods = st.sampled_from(
    ["open_read", "stat", "folder", "check_output", "replace", "remove", "make_folder"]
)
STRATEGY = st.tuples(
    st.lists(st.tuples(_kinds, _plain, _targets), max_size=8),
    st.lists(st.tuples(_methods, _paths), min_size=1, max_size=8),
)

_SECRET = b"content of a file outside"
_FRESH = b"written by the opener"


def _make(root: Path, outside: Path, kind: str, path: str, target: str) -> None:
    """Make one entry.  Never through a link made before: that would leave the tree."""
    place = root
    for part in Path(path).parts[:-1]:
        place /= part
        if not place.is_symlink() and not place.exists():
            place.mkdir()
        if place.is_symlink() or not place.is_dir():
            return
    place /= Path(path).name
    if place.is_symlink() or place.exists():
        return
    if kind == "file":
        place.write_bytes(b"inside")
    elif kind == "folder":
        place.mkdir()
    elif kind == "symlink":
        place.symlink_to(target.format(outside=outside, self=root) or "a")
    elif kind == "hardlink":
        place.hardlink_to(outside / "secret")
    elif kind == "hardlink in":
        place.hardlink_to(root / "a")
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        os.mknod(place, stat.S_IFSOCK | 0o600)


def _state(folder: Path) -> list[tuple[str, int, int, bytes]]:
    found = []
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found.append((str(path), info.st_mode, info.st_ino, data))
    return found


def check(value: tuple[list[tuple[str, str, str]], list[tuple[str, str]]]) -> None:
    """All that must hold for one tree and the calls on it."""
    entries, steps = value
    top = Path(tempfile.mkdtemp(prefix="keyless-fuzz-", dir=_memory()))
    try:
        root, outside = top / "root", top / "outside"
        for folder in (root, outside):
            folder.mkdir()
        (outside / "secret").write_bytes(_SECRET)
        for kind, path, target in entries:
            with contextlib.suppress(OSError):
                _make(root, outside, kind, path, target)
        before = _state(outside)
        descriptors = _descriptors()
        with WorkspaceRoot(root) as workspace:
            for method, path in steps:
                _step(workspace, method, path)
        assert _descriptors() == descriptors, "a descriptor is left open"
        assert _state(outside) == before, "something outside was changed"
        for folder in (root, root / "a", root / "a/b"):
            with contextlib.suppress(OSError):
                assert not list(folder.glob(".*.part")), "a temporary file is left"
    finally:
        subprocess.run(["/bin/rm", "-rf", str(top)], check=True)


def _step(workspace: WorkspaceRoot, method: str, path: str) -> None:
    for text in (path, _canonical(path)):
        if text is None:
            continue
        try:
            if method == "replace":
                workspace.replace(text, _FRESH, uid=-1, gid=-1, mode=0o644)
                continue
            result = getattr(workspace, method)(text)
        except WorkspaceError as error:
            assert error.reason
            assert path not in error.message or len(path) < 12, "a path in the message"
            continue
        if method in ("open_read", "folder"):
            try:
                _look_at(method, result)
            finally:
                os.close(result)
        elif method == "stat":
            assert not stat.S_ISLNK(result.st_mode), "a link was accepted"


def _look_at(method: str, descriptor: int) -> None:
    info = os.fstat(descriptor)
    if method == "folder":
        assert stat.S_ISDIR(info.st_mode)
        return
    assert stat.S_ISREG(info.st_mode), "not a regular file"
    assert info.st_nlink == 1, "a file with another name"
    assert os.read(descriptor, 100) != _SECRET, "a file outside was read"
    assert os.get_blocking(descriptor)


def _canonical(path: str) -> str | None:
    try:
        rel = relative(path)
    except WorkspaceError:
        return None
    assert not rel.startswith("/")
    assert not {"..", "."} & set(rel.split("/"))
    return rel


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
