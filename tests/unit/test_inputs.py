"""What a command reads is held as it was checked, in a layer that the kernel side can't touch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from keyless_sidecar.execution import inputs
from keyless_sidecar.execution.inputs import Fixed, InputChanged, fix
from keyless_sidecar.tools import CheckedFile
from keyless_sidecar.workspace import WorkspaceRoot

Fix = Callable[..., Fixed]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "in.txt").write_text("content")
    (folder / "empty").touch()
    return folder


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    folder = tmp_path / "layer"
    folder.mkdir()
    return folder


@pytest.fixture
def fixed(workspace: Path, layer: Path) -> Fix:
    def call(*files: CheckedFile) -> Fixed:
        for old in reversed(names(layer)):
            (layer / old).rmdir() if (layer / old).is_dir() else (layer / old).unlink()
        with WorkspaceRoot(workspace) as root:
            return fix(files, root, layer)

    return call


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_content_owner_mode_and_time_are_kept(fixed: Fix, workspace: Path, layer: Path) -> None:
    source = workspace / "a/b/in.txt"
    source.chmod(0o640)
    os.utime(source, (1, 2))
    if os.geteuid() == 0:
        os.chown(source, 61000, 61001)
    found = fixed(CheckedFile("a/b/in.txt", "read"), CheckedFile("empty", "read"))
    assert found.bound == []
    assert names(layer) == ["a", "a/b", "a/b/in.txt", "empty"]
    copy, kept = (layer / "a/b/in.txt").stat(), source.stat()
    assert (layer / "a/b/in.txt").read_text() == "content"
    assert copy.st_ino != kept.st_ino
    for field in ("st_uid", "st_gid", "st_mode", "st_mtime_ns", "st_nlink"):
        assert getattr(copy, field) == getattr(kept, field)


def test_named_twice_is_fine(fixed: Fix, layer: Path) -> None:
    fixed(
        CheckedFile("a", "folder"),
        CheckedFile("a/b/in.txt", "read"),
        CheckedFile("a/b/in.txt", "read", json=False),
        CheckedFile("a/b", "folder"),
        CheckedFile("", "folder"),
    )
    assert names(layer) == ["a", "a/b", "a/b/in.txt"]


def test_what_is_written_or_made_later_is_not_needed(fixed: Fix, layer: Path) -> None:
    fixed(
        CheckedFile("new/out.txt", "write"),
        CheckedFile("new", "folder"),
        CheckedFile("new/deeper", "folder"),
        CheckedFile("a", "folder"),
    )
    assert names(layer) == ["a"]


def test_folders_keep_a_mode_that_lets_nobody_write(
    fixed: Fix, workspace: Path, layer: Path
) -> None:
    (workspace / "a").chmod(0o555)
    fixed(CheckedFile("a/b/in.txt", "read"))
    (workspace / "a").chmod(0o755)
    assert (layer / "a").stat().st_mode & 0o7777 == 0o555
    (layer / "a").chmod(0o755)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "symbolic link"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "FIFO"),
        (lambda path: (path.unlink(), path.mkdir()), "folder"),
        (lambda path: os.link(path, path.with_name("other")), "hard link"),
        (
            lambda path: (path.parent.rename(path.parents[1] / "c"), path.parent.symlink_to("c")),
            "symbolic link",
        ),
    ],
)
def test_what_changed_since_the_rules_saw_it_is_refused(
    fixed: Fix, workspace: Path, change: Callable[[Path], object], reason: str
) -> None:
    change(workspace / "a/b/in.txt")
    with pytest.raises(InputChanged, match=reason):
        fixed(CheckedFile("a/b/in.txt", "read"))


def test_json_is_checked_on_what_is_kept(fixed: Fix, workspace: Path) -> None:
    (workspace / "good.json").write_text('  {"Key": 1}')
    fixed(CheckedFile("good.json", "read", json=True))
    with pytest.raises(InputChanged, match="JSON"):
        fixed(CheckedFile("a/b/in.txt", "read", json=True))


def test_large_files_are_handed_on_as_descriptors(
    fixed: Fix, workspace: Path, layer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "MOST_COPIED", 4)
    found = fixed(CheckedFile("a/b/in.txt", "read"), CheckedFile("empty", "read"))
    ((path, descriptor),) = found.bound
    assert path == "a/b/in.txt"
    assert (layer / path).read_text() == ""
    (workspace / path).rename(workspace / "elsewhere")
    assert os.pread(descriptor, 100, 0) == b"content"
    found.close()
    found.close()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(descriptor)
    with pytest.raises(InputChanged, match="too large"):
        fixed(CheckedFile("elsewhere", "read", json=True))


def test_copies_and_descriptors_have_a_limit(
    fixed: Fix, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        (workspace / f"n{number}").write_text("1234")
    files = [CheckedFile(f"n{number}", "read") for number in range(5)]
    monkeypatch.setattr(inputs, "MOST_COPIED_TOGETHER", 9)
    found = fixed(*files)
    assert [path for path, _ in found.bound] == ["n2", "n3", "n4"]
    found.close()
    monkeypatch.setattr(inputs, "MOST_BOUND", 2)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(InputChanged, match="too large"):
        fixed(*(CheckedFile(f"n{number}", "read") for number in range(4, -1, -1)))
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_copying_without_the_system_call_for_it(
    fixed: Fix, layer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    fixed(CheckedFile("a/b/in.txt", "read"))
    assert (layer / "a/b/in.txt").read_text() == "content"
