"""From an overlay's upper folder into the workspace: what gets there, and what never does."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyless_sidecar.execution.acting import acting_as
from keyless_sidecar.execution.outputs import Collected, OutputLimits, collect
from keyless_sidecar.sanitize import Patterns
from keyless_sidecar.workspace import WorkspaceRoot

SECRET = "kJ7vQ2xW9mZ4tR8bN3cY6hL1pD5sF0gA"
ROOT = os.geteuid() == 0


class Place:
    """An upper folder and a workspace."""

    def __init__(self, folder: Path) -> None:
        self.upper = folder / "upper"
        self.workspace = folder / "workspace"
        self.upper.mkdir()
        self.workspace.mkdir()
        self.root = WorkspaceRoot(self.workspace)

    def collect(self, uid: int = os.geteuid(), **limits: int) -> Collected:
        descriptor = os.open(self.upper, os.O_RDONLY | os.O_DIRECTORY)
        patterns = Patterns.build([("canary", SECRET.encode())])
        try:
            with acting_as(uid, uid):
                return collect(
                    descriptor, self.root, patterns, OutputLimits(**limits), uid=uid, gid=uid
                )
        finally:
            os.close(descriptor)

    def names(self) -> list[str]:
        return sorted(str(p.relative_to(self.workspace)) for p in self.workspace.rglob("*"))

    def whiteout(self, name: str) -> None:
        os.mknod(self.upper / name, 0o020000, os.makedev(0, 0))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.root.close()


def test_files_and_folders(place: Place) -> None:
    (place.upper / "a/b").mkdir(parents=True)
    (place.upper / "a/b/file").write_text("content")
    (place.upper / "a/b/file").chmod(0o6711)
    (place.upper / "empty").mkdir(mode=0o700)
    (place.upper / "ünïcode name").write_text("")
    got = place.collect()
    assert place.names() == ["a", "a/b", "a/b/file", "empty", "ünïcode name"]
    assert [(file.path, file.size) for file in got.files] == [("a/b/file", 7), ("ünïcode name", 0)]
    assert (place.workspace / "a/b/file").stat().st_mode & 0o7777 == 0o755
    assert (place.workspace / "ünïcode name").stat().st_mode & 0o7777 == 0o644
    assert (place.workspace / "empty").stat().st_mode & 0o7777 == 0o755
    assert got.notes == []


def test_contents_with_a_secret(place: Place) -> None:
    (place.upper / "plain").write_text(f"token={SECRET}\n")
    (place.upper / "zipped").write_bytes(gzip.compress(SECRET.encode()))
    (place.upper / "hex").write_text(SECRET.encode().hex())
    (place.upper / "fine").write_text("fine")
    got = place.collect()
    assert place.names() == ["fine"]
    assert got.redactions["canary"] >= 3
    assert "hex was withheld: it holds canary." in got.notes
    assert SECRET not in str(got)


def test_names_with_a_secret(place: Place) -> None:
    (place.upper / f"x{SECRET}").write_text("fine")
    spread = place.upper / SECRET[:6] / SECRET[6:12] / SECRET[12:18] / SECRET[18:24] / SECRET[24:]
    spread.mkdir(parents=True)
    (spread / "file").write_text("fine")
    got = place.collect()
    assert got.files == []
    assert not any(SECRET in name.replace("/", "") for name in place.names())
    assert got.notes == ["A file or folder was withheld: its name holds canary."]


def test_names_that_are_not_utf8_or_not_printable(place: Place) -> None:
    Path(os.fsdecode(os.fsencode(place.upper) + b"/bad\xff")).write_text("x")
    (place.upper / "link\x1b[31m").symlink_to("x")
    got = place.collect()
    assert place.names() == []
    assert got.notes[0] == "A file was withheld: its name is not valid UTF-8."
    assert "\\x1b[31m was not written" in got.notes[1]


def test_links_and_special_files(place: Place) -> None:
    (place.upper / "link").symlink_to(SECRET)
    os.mkfifo(place.upper / "pipe")
    got = place.collect()
    assert place.names() == []
    assert len(got.notes) == 2
    assert SECRET not in str(got.notes)


def test_links_in_the_workspace_are_replaced_not_followed(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("untouched")
    (place.workspace / "file").symlink_to(outside / "file")
    (place.workspace / "folder").symlink_to(outside)
    (place.upper / "file").write_text("new")
    (place.upper / "folder").mkdir()
    (place.upper / "folder/file").write_text("new")
    place.collect()
    assert (outside / "file").read_text() == "untouched"
    assert sorted(path.name for path in outside.iterdir()) == ["file"]
    assert not (place.workspace / "file").is_symlink()
    assert (place.workspace / "folder/file").read_text() == "new"


@pytest.mark.skipif(not ROOT, reason="device files need root")
def test_deletions(place: Place, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("untouched")
    (place.workspace / "tree/deep").mkdir(parents=True)
    (place.workspace / "tree/deep/file").write_text("x")
    (place.workspace / "file").write_text("x")
    (place.workspace / "link").symlink_to(tmp_path / "outside")
    for name in ("tree", "file", "link", "never-there"):
        place.whiteout(name)
    assert place.collect().notes == []
    assert place.names() == []
    assert (tmp_path / "outside").read_text() == "untouched"


@pytest.mark.skipif(not ROOT, reason="trusted attributes need root")
@pytest.mark.parametrize("space", ["trusted", "user"])
def test_folders_made_anew_forget_what_was_there(place: Place, space: str) -> None:
    (place.workspace / "tree").mkdir()
    (place.workspace / "tree/old").write_text("x")
    (place.upper / "tree").mkdir()
    (place.upper / "tree/new").write_text("x")
    os.setxattr(place.upper / "tree", f"{space}.overlay.opaque", b"y")
    place.collect()
    assert place.names() == ["tree", "tree/new"]


def test_marks_of_unprivileged_overlays(place: Place) -> None:
    for name in ("gone", "same"):
        (place.workspace / name).write_text("old")
        (place.upper / name).write_text("")
    os.setxattr(place.upper / "gone", "user.overlay.whiteout", b"")
    os.setxattr(place.upper / "same", "user.overlay.metacopy", b"")
    (place.upper / "moved").mkdir()
    os.setxattr(place.upper / "moved", "user.overlay.redirect", b"elsewhere")
    got = place.collect()
    assert place.names() == ["same"]
    assert (place.workspace / "same").read_text() == "old"
    assert "renamed folder" in got.notes[0]


def test_a_file_takes_a_folders_place_and_the_other_way_round(place: Place) -> None:
    (place.workspace / "a").mkdir()
    (place.workspace / "a/x").write_text("x")
    (place.workspace / "b").write_text("x")
    (place.upper / "a").write_text("file now")
    (place.upper / "b").mkdir()
    place.collect()
    assert (place.workspace / "a").read_text() == "file now"
    assert (place.workspace / "b").is_dir()


def test_limits(place: Place) -> None:
    for number in range(5):
        (place.upper / f"f{number}").write_text("12345")
    got = place.collect(entries=3)
    assert place.names() == ["f0", "f1", "f2"]
    assert "more than 3 files" in got.notes[0]
    got = place.collect(size=12)
    assert [file.path for file in got.files] == ["f0", "f1"]
    assert all("more than 12 bytes" in note for note in got.notes)


def test_folders_nested_too_deep(place: Place) -> None:
    deep = place.upper
    for _ in range(70):
        deep /= "d"
    deep.mkdir(parents=True)
    got = place.collect()
    assert "nested too deep" in got.notes[0]


@pytest.mark.skipif(not ROOT, reason="only root changes its ids")
def test_a_place_that_the_sandbox_may_not_write_stays_as_it_is(
    place: Place, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    private = place.workspace / "private"
    private.mkdir(mode=0o700)  # and stays root's
    (place.upper / "private").mkdir()
    (place.upper / "private/file").write_text("x")
    (place.upper / "ok").write_text("x")
    for path in (place.workspace, place.upper, *place.upper.rglob("*")):
        os.chown(path, 61000, 61000)
    got = place.collect(61000)
    assert not list(private.iterdir())
    assert (place.workspace / "ok").stat().st_uid == 61000
    assert got.notes == ["private was not written: it may not be opened."]


@pytest.mark.skipif(not ROOT, reason="only root changes its ids")
def test_acting_as_somebody_ends_with_the_block(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    with acting_as(61000, 61000), pytest.raises(PermissionError):
        secret.read_text()
    assert secret.read_text() == "x"
    with acting_as(0, 0):
        assert secret.read_text() == "x"
