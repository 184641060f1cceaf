"""A tool reads what was checked, whatever the kernel side does to the workspace meanwhile."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.leftovers import descendants, files_of_commands
from tests.support.sidecar import Result, Sidecar, eventually

from keyless.protocol.messages import Failed, Finished
from keyless_sidecar.execution.inputs import MOST_COPIED

#: Levels without a file system of their own: tools open the live workspace there.
NO_LAYER = dict.fromkeys(
    ("landlock-root", "landlock"),
    "a file system of its own is missing there, so the tool opens the live workspace by name",
)
WAITING = "waiting for the files\n"


def give(path: Path, user: int) -> None:
    if os.geteuid() == 0:
        os.chown(path, user, user, follow_symlinks=False)


def until_it_waits(sidecar: Sidecar, request: int) -> Result:
    # Its first words, since the line's end may be held back until more comes.
    return sidecar.collect(request, until=lambda result: "waiting" in result.stdout)


def until_one_waits(sidecar: Sidecar) -> None:
    """A sandbox waits for the next command of the tool."""
    sidecar.run("rc", "0")
    assert eventually(lambda: _gates(sidecar) == 1)
    time.sleep(0.3)  # the gate has handed out its listener; the sidecar is about to know


def _gates(sidecar: Sidecar) -> int:
    """Gates that wait for a command."""
    return sum(
        "Hand the listener out" in line
        and "prlimit" not in line
        and Path(f"/proc/{pid}/wchan").read_text().startswith("unix_stream_read")
        for pid, line in descendants(sidecar.process.pid).items()
    )


def prepared(sidecar: Sidecar) -> bool:
    """Whether the last command's sandbox had been made beforehand."""
    results = [record for record in sidecar.records() if record["kind"] == "exec.result"]
    return bool(results[-1]["fields"]["prepared"])


def text(first: Result, last: Result) -> str:
    return (first.stdout + last.stdout).removeprefix(WAITING)


@pytest.mark.attack(
    wall="inputs held by descriptor and content",
    title="Rewrite or exchange a file between the check of a command and its reading.",
    open_at=NO_LAYER,
)
@pytest.mark.parametrize("start", ["made", "waited"])
@pytest.mark.parametrize("change", ["rewritten", "replaced", "linked", "folder linked", "removed"])
def test_what_happens_after_the_start_changes_nothing(
    sidecar: Sidecar, sandbox_user: int, change: str, start: str
) -> None:
    if start == "waited":
        until_one_waits(sidecar)
    folder = sidecar.workspace / "data"
    folder.mkdir()
    give(folder, sandbox_user)
    (folder / "in.txt").write_text("checked")
    request = sidecar.start("read", "1.5", "data/in.txt")
    first = until_it_waits(sidecar, request)
    if change == "rewritten":
        (folder / "in.txt").write_text("changed")
    elif change == "replaced":
        (folder / "other").write_text("changed")
        (folder / "other").rename(folder / "in.txt")
    elif change == "removed":
        (folder / "in.txt").unlink()
    elif change == "linked":
        (folder / "in.txt").unlink()
        (folder / "in.txt").symlink_to("/etc/passwd")
    else:
        folder.rename(sidecar.workspace / "moved")
        folder.symlink_to("/etc")
    assert text(first, sidecar.collect(request)) == "checked\n"
    assert prepared(sidecar) == (start == "waited")


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_sandbox_that_waited_shows_the_workspace_of_now(
    sidecar: Sidecar, sandbox_user: int, what: str
) -> None:
    """Also what took the place of something else after it was made."""
    old = sidecar.workspace / "data"
    old.mkdir()
    (old / "in.txt").write_text("old")
    (old / "gone.txt").write_text("gone")
    give(old, sandbox_user)
    until_one_waits(sidecar)
    if what == "folder":
        old.rename(sidecar.workspace / "before")
        old.mkdir()
        give(old, sandbox_user)
    (old / "gone.txt").unlink(missing_ok=True)
    (old / "in.txt").write_text("new")
    (old / "more.txt").write_text("more")
    result = sidecar.run("read", "0", "data/in.txt")
    assert result.stdout.removeprefix(WAITING) == "new\n"
    assert prepared(sidecar)
    until_one_waits(sidecar)
    listed = sidecar.run("list", "data").stdout
    assert listed == "['in.txt', 'more.txt']"
    assert prepared(sidecar)


def test_a_large_file_is_the_one_that_was_opened(sidecar: Sidecar, sandbox_user: int) -> None:
    path = sidecar.workspace / "large"
    with open(path, "wb") as file:
        file.write(b"checked")
        file.truncate(MOST_COPIED + 1)
    give(path, sandbox_user)
    request = sidecar.start("read", "1.5", "large")
    first = until_it_waits(sidecar, request)
    path.rename(sidecar.workspace / "moved")
    path.symlink_to("/etc/passwd")
    result = sidecar.collect(request)
    assert text(first, result).startswith("checked")
    assert "read-only" in result.finished.notes[0]
    assert eventually(lambda: not files_of_commands(sidecar.scratch))


def test_a_named_file_can_be_changed_by_the_tool(sidecar: Sidecar, sandbox_user: int) -> None:
    path = sidecar.workspace / "in.txt"
    path.write_text("before")
    give(path, sandbox_user)
    result = sidecar.run("file", "in.txt", "none")
    assert [file.path for file in result.finished.files] == ["in.txt"]
    assert path.read_text() == "fine\n"


def test_reading_leaves_nothing_behind(sidecar: Sidecar) -> None:
    (sidecar.workspace / "in.txt").write_text("x")
    before = (sidecar.workspace / "in.txt").stat()
    result = sidecar.run("read", "0", "in.txt")
    assert result.finished.files == []
    assert (sidecar.workspace / "in.txt").stat() == before
    assert eventually(lambda: not files_of_commands(sidecar.scratch))


#: What the path may be; only the first two are regular files with one name.
GOOD = ("alpha" * 1000, "beta" * 1000)


class Swapper:
    """The kernel side: makes a path something else, as fast as it can."""

    def __init__(self, folder: Path, name: str, user: int) -> None:
        self._folder, self._path, self._user = folder, folder / name, user
        self._number = 0
        self._stop = threading.Event()
        (folder / "linked").write_text("LINKED")
        (folder / "pointed").write_text("POINTED")
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Swapper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def swaps(self) -> int:
        return self._number

    def _run(self) -> None:
        # Always by renaming: where the rules see no file, they say nothing about one.
        choices = ["good", "good", "good", "symlink", "hard link", "fifo", "proc"]
        while not self._stop.is_set():
            self._number += 1
            new = self._folder / f".new{self._number}"
            self._make(random.choice(choices), new)
            new.rename(self._path)

    def _make(self, kind: str, new: Path) -> None:
        if kind == "good":
            new.write_text(random.choice(GOOD))
            give(new, self._user)
        elif kind == "symlink":
            new.symlink_to(random.choice(["pointed", "/etc/passwd", "/oldroot/etc/shadow"]))
        elif kind == "hard link":
            os.link(self._folder / "linked", new)
        elif kind == "fifo":
            os.mkfifo(new)
        else:
            new.symlink_to("/proc/self/environ")


@pytest.fixture
def swapper(sidecar: Sidecar, sandbox_user: int) -> Iterator[Swapper]:
    with Swapper(sidecar.workspace, "in.txt", sandbox_user) as running:
        assert eventually(lambda: running.swaps > 10)
        yield running


@pytest.mark.attack(
    wall="inputs held by descriptor and content",
    title="Exchange a file for links, pipes and other files all the time while commands read it.",
    open_at=NO_LAYER,
)
def test_race(sidecar: Sidecar, swapper: Swapper) -> None:
    """Whatever arrives is a regular file that was checked, whole; else the command is refused."""
    arrived = refused = 0
    end = time.monotonic() + 20
    while time.monotonic() < end:
        result = sidecar.run("read", "0", "in.txt", timeout=10)
        if isinstance(result.end, Failed):
            assert result.end.kind in ("InvalidRequest", "SidecarUnavailable"), result.end
            refused += 1
            continue
        assert isinstance(result.end, Finished)
        content = result.stdout.removeprefix(WAITING).rstrip("\n")
        assert content in GOOD, (content, result.stderr)
        arrived += 1
    print(f"{swapper.swaps} swaps, {arrived} arrived whole, {refused} refused")
    assert arrived > 10
    assert refused > 3
