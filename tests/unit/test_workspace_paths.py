"""The workspace as the sidecar touches it: what counts as inside, and that nothing else opens."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless_sidecar.workspace import WORKSPACE, WorkspaceError, WorkspaceRoot, relative


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "ws"
    path.mkdir()
    return path


@pytest.fixture
def root(folder: Path) -> Iterator[WorkspaceRoot]:
    with WorkspaceRoot(folder) as opened:
        yield opened


def reason(call: object, *arguments: object, **named: object) -> str:
    with pytest.raises(WorkspaceError) as caught:
        call(*arguments, **named)  # type: ignore[operator]
    return caught.value.reason


@pytest.mark.parametrize(
    ("path", "cwd", "expected"),
    [
        ("a.txt", "", "a.txt"),
        ("./a//b/./c", "", "a/b/c"),
        ("a.txt", "sub", "sub/a.txt"),
        ("../a.txt", "sub", "a.txt"),
        ("sub/../a", "", "a"),
        ("/workspace/a", "sub", "a"),
        ("/workspace", "", ""),
        (".", "", ""),
        ("a", "/workspace/sub", "sub/a"),
        ("-", "", "-"),
    ],
)
def test_relative(path: str, cwd: str, expected: str) -> None:
    assert relative(path, cwd) == expected


@pytest.mark.parametrize(
    ("path", "cwd"),
    [
        ("..", ""),
        ("../workspace/a", ""),
        ("a/../../b", ""),
        ("/etc/passwd", ""),
        ("/workspace2/a", ""),
        ("/workspace/../etc/passwd", ""),
        ("../../a", "sub"),
        ("a", "../x"),
        ("/proc/self/root/workspace/a", ""),
        ("//etc/passwd", ""),
    ],
)
def test_relative_refuses_what_leads_outside(path: str, cwd: str) -> None:
    assert reason(relative, path, cwd) == "outside"


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_relative_refuses_what_is_no_path(path: str) -> None:
    assert reason(relative, path) == "other"


@given(st.text(alphabet="ab./~$ \\-é", max_size=30), st.sampled_from(["", "s", "s/t"]))
def test_relative_never_leaves_the_workspace(path: str, cwd: str) -> None:
    try:
        rel = relative(path, cwd)
    except WorkspaceError:
        return
    assert not rel.startswith("/")
    assert not {"..", ".", ""} & set(rel.split("/") if rel else [])
    assert relative(f"{WORKSPACE}/{rel}") == rel


def test_reads_a_file_and_blocks_again(root: WorkspaceRoot, folder: Path) -> None:
    (folder / "a").write_bytes(b"text")
    fd = root.open_read("a")
    try:
        assert os.read(fd, 10) == b"text"
        assert os.get_blocking(fd)
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_each_bad_file_has_its_own_reason(root: WorkspaceRoot, folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (folder / "link").symlink_to(outside / "secret")
    (folder / "inner").symlink_to("plain")
    (folder / "plain").write_text("x")
    (folder / "out").symlink_to(outside)
    (folder / "hard").hardlink_to(outside / "secret")
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "sock"))
    (folder / "dir").mkdir()

    assert reason(root.open_read, "missing") == "missing"
    assert reason(root.open_read, "plain/x") == "missing"
    assert reason(root.open_read, "link") == "symlink"
    assert reason(root.open_read, "inner") == "symlink"
    assert reason(root.open_read, "out/secret") == "symlink"
    assert reason(root.open_read, "hard") == "links"
    assert reason(root.open_read, "fifo") == "not-regular"
    assert reason(root.open_read, "sock") == "not-regular"
    assert reason(root.open_read, "dir") == "not-regular"
    assert reason(root.open_read, "../outside/secret") == "outside"
    assert reason(root.open_read, str(outside / "secret")) == "outside"
    assert reason(root.open_read, "a\0b") == "other"
    assert reason(root.open_read, "\udc80\ud800") == "other"
    assert reason(root.open_read, "x" * 300) == "other"
    assert reason(root.open_read, "plain", max_size=0) == "too-large"
    assert reason(root.stat, "link") == "symlink"
    assert reason(root.folder, "plain") == "missing"
    assert root.stat("plain").st_size == 1


def test_other_file_systems_are_outside(root: WorkspaceRoot) -> None:
    with WorkspaceRoot("/") as system:
        assert reason(system.open_read, "proc/self/environ") == "outside"
        assert reason(system.open_read, "proc/self/root/etc/passwd") in ("outside", "symlink")


def test_a_workspace_that_is_not_there() -> None:
    assert reason(WorkspaceRoot, "/nonexistent/workspace") == "missing"


def test_closed(folder: Path) -> None:
    root = WorkspaceRoot(folder)
    root.close()
    root.close()
    assert reason(root.open_read, "a") == "other"


def test_replace(root: WorkspaceRoot, folder: Path) -> None:
    uid, gid = os.getuid(), os.getgid()
    assert root.replace("new", b"abc", uid=uid, gid=gid, mode=0o4755) == 3
    assert (folder / "new").read_bytes() == b"abc"
    assert (folder / "new").stat().st_mode & 0o7777 == 0o755
    (folder / "big").write_bytes(b"x" * 3_000_000)
    fd = os.open(folder / "big", os.O_RDONLY)
    try:
        assert root.replace("new", fd, uid=uid, gid=gid, mode=0o600) == 3_000_000
    finally:
        os.close(fd)
    assert (folder / "new").stat().st_size == 3_000_000
    assert sorted(path.name for path in folder.iterdir()) == ["big", "new"]


def test_replace_puts_a_file_where_a_link_was(root: WorkspaceRoot, folder: Path) -> None:
    outside = folder.parent / "kept"
    outside.write_text("kept")
    (folder / "link").symlink_to(outside)
    root.replace("link", b"new", uid=-1, gid=-1, mode=0o644)
    assert outside.read_text() == "kept"
    assert not (folder / "link").is_symlink()


def test_replace_fails_whole(root: WorkspaceRoot, folder: Path) -> None:
    (folder / "dir" / "full").mkdir(parents=True)
    (folder / "out").symlink_to(folder.parent)
    assert reason(root.replace, "dir", b"x", uid=-1, gid=-1, mode=0o644) == "not-regular"
    assert reason(root.replace, "out/x", b"x", uid=-1, gid=-1, mode=0o644) == "symlink"
    assert reason(root.replace, "no/x", b"x", uid=-1, gid=-1, mode=0o644) == "missing"
    assert reason(root.replace, "", b"x", uid=-1, gid=-1, mode=0o644) == "other"
    assert sorted(path.name for path in folder.iterdir()) == ["dir", "out"]


def test_remove_and_make_folder(root: WorkspaceRoot, folder: Path) -> None:
    root.make_folder("a/b/c", mode=0o750)
    root.make_folder("a/b/c")
    root.make_folder("")
    assert (folder / "a/b/c").stat().st_mode & 0o777 == 0o750
    (folder / "a/b/file").write_text("x")
    (folder / "a/link").symlink_to(folder.parent)
    root.remove("a/link")
    root.remove("a")
    root.remove("a")
    root.remove("a/b")
    assert list(folder.iterdir()) == []
    assert folder.parent.is_dir()
    (folder / "link").symlink_to(folder.parent)
    assert reason(root.make_folder, "link/x") == "symlink"
    assert reason(root.remove, "link/x") == "symlink"
    (folder / "file").write_text("x")
    assert reason(root.make_folder, "file") == "missing"


def test_check_output(root: WorkspaceRoot, folder: Path) -> None:
    (folder / "file").write_text("x")
    (folder / "out").symlink_to(folder.parent)
    os.mkfifo(folder / "fifo")
    (folder / "twice").write_text("x")
    (folder / "again").hardlink_to(folder / "twice")
    for good in ("file", "new", "new/deeper/x"):
        root.check_output(good)
    assert reason(root.check_output, "out") == "symlink"
    assert reason(root.check_output, "out/x") == "symlink"
    assert reason(root.check_output, "out/x/y") == "symlink"
    assert reason(root.check_output, "fifo") == "not-regular"
    assert reason(root.check_output, "twice") == "links"
    assert reason(root.check_output, "file/x") == "other"


def test_a_race_never_reads_outside(root: WorkspaceRoot, folder: Path) -> None:
    secret = folder.parent / "secret"
    secret.mkdir()
    (secret / "data").write_bytes(b"SECRET")
    good = folder / "good"
    good.mkdir()
    (good / "data").write_bytes(b"mine")
    way = folder / "way"
    stop = threading.Event()

    def flip() -> None:
        """``way`` is in turn our folder, a link to theirs, and a link to their file."""
        while not stop.is_set():
            good.rename(way)
            stop.wait(0.0005)
            way.rename(good)
            for target in (secret, secret / "data"):
                way.symlink_to(target)
                stop.wait(0.0002)
                way.unlink()

    flipper = threading.Thread(target=flip)
    flipper.start()
    seen: dict[str, int] = {}
    attempts = 0
    deadline = time.monotonic() + 60
    try:
        while attempts < 2000 or not {"read", "symlink"} <= set(seen):
            assert time.monotonic() < deadline, seen
            attempts += 1
            for path in ("way/data", "way"):
                try:
                    fd = root.open_read(path)
                except WorkspaceError as error:
                    seen[error.reason] = seen.get(error.reason, 0) + 1
                    continue
                try:
                    assert os.read(fd, 16) == b"mine"
                    seen["read"] = seen.get("read", 0) + 1
                finally:
                    os.close(fd)
    finally:
        stop.set()
        flipper.join()


def test_a_folder_of_any_depth_is_removed(folder: Path) -> None:
    """Deeper than Python's recursion and the limit of descriptors."""
    at = os.open(folder, os.O_RDONLY)
    for name in ["deep"] + ["x"] * 2500:
        os.mkdir(name, dir_fd=at)
        deeper = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=at))
        os.close(at)
        at = deeper
    os.close(at)
    with WorkspaceRoot(folder) as root:
        root.remove("deep")
    assert not (folder / "deep").exists()
