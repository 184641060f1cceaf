"""What commands leave in the workspace: their files, and nothing that holds a secret."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import time
from pathlib import Path

import pytest
from tests.support.leftovers import files_of_commands
from tests.support.sidecar import SECRET, Sidecar, eventually, leaky

from .conftest import StartSidecar


def everything(folder: Path) -> str:
    """Names, link targets, contents, attributes and times below a folder, as one text."""
    found = []
    for path in folder.rglob("*"):
        found.append(str(path.relative_to(folder)))
        if path.is_symlink():
            found.append(str(path.readlink()))
            continue
        found += [repr(os.getxattr(path, name)) for name in os.listxattr(path)]
        if path.is_file():
            data = path.read_bytes()
            found.append(data.decode("latin-1"))
            if data[:2] == b"\x1f\x8b":
                found.append(gzip.decompress(data).decode("latin-1"))
    return "\n".join(found)


def holds_secret(text: str) -> bool:
    return any(
        form in text
        for form in (SECRET, base64.b64encode(SECRET.encode()).decode(), SECRET.encode().hex())
    )


def test_a_file_arrives(sidecar: Sidecar, sandbox_user: int) -> None:
    result = sidecar.run("file", "out.txt", "none")
    path = sidecar.workspace / "out.txt"
    assert path.read_text() == "fine\n"
    assert path.stat().st_uid == sandbox_user
    assert abs(path.stat().st_mtime - time.time()) < 30
    (written,) = result.finished.files
    assert (written.path, written.size) == ("out.txt", 5)
    assert written.sha256 == hashlib.sha256(b"fine\n").hexdigest()
    assert not result.finished.notes
    assert eventually(lambda: not files_of_commands(sidecar.scratch))


@pytest.mark.parametrize(
    "arguments",
    [
        ("file", "out", "plain"),
        ("file", "out", "b64"),
        ("file", "out", "gz"),
        ("name", "."),
        ("symlink", "link"),
    ],
)
def test_what_holds_a_secret_stays_out(sidecar: Sidecar, arguments: tuple[str, ...]) -> None:
    result = sidecar.run(*arguments)
    assert result.finished.files == []
    (note,) = result.finished.notes
    assert "was withheld" in note or "symbolic link" in note
    assert SECRET not in note
    assert list(sidecar.workspace.iterdir()) == []


def test_attributes_and_times_do_not_come_along(sidecar: Sidecar) -> None:
    sidecar.run("xattr", "a")
    path = sidecar.workspace / "a"
    assert path.read_text() == "fine\n"
    assert os.listxattr(path) == []
    sidecar.run("times", ".")
    times = [path.stat().st_mtime for path in sidecar.workspace.glob("m*")]
    assert len(times) == len(SECRET)
    assert all(abs(mtime - time.time()) < 60 for mtime in times)
    assert not holds_secret(everything(sidecar.workspace))


def test_special_files_stay_out(sidecar: Sidecar) -> None:
    result = sidecar.run("fifo", "pipe")
    assert "special file" in result.finished.notes[0]
    assert list(sidecar.workspace.iterdir()) == []


def test_deletions_replacements_and_folders(sidecar: Sidecar, sandbox_user: int) -> None:
    (sidecar.workspace / "tree").mkdir()
    for name in ("doomed.txt", "kept.txt", "tree/leaf.txt"):
        (sidecar.workspace / name).write_text(name)
    if os.geteuid() == 0:
        for path in sidecar.workspace.rglob("*"):
            os.chown(path, sandbox_user, sandbox_user)
    result = sidecar.run("changes")
    assert result.finished.exit_code == 0, result.stderr
    names = sorted(str(p.relative_to(sidecar.workspace)) for p in sidecar.workspace.rglob("*"))
    assert names == ["kept.txt", "new", "new/deep", "new/deep/file", "tree"]
    assert (sidecar.workspace / "tree").read_text() == "fine\n"
    mode = (sidecar.workspace / "new/deep/file").stat().st_mode & 0o7777
    assert mode == 0o755


def test_too_many_files(start_sidecar: StartSidecar) -> None:
    tools = {"declared": {"leaky": leaky()}, "aws": False, "max_files": 10}
    sidecar = start_sidecar(config={"Tools": tools})
    sidecar.hello()
    result = sidecar.run("many", "50")
    assert len(result.finished.files) == 10
    assert "more than 10 files" in result.finished.notes[0]


def test_files_that_are_too_large(start_sidecar: StartSidecar) -> None:
    tools = {"declared": {"leaky": leaky()}, "aws": False, "max_written": 12}
    sidecar = start_sidecar(config={"Tools": tools})
    sidecar.hello()
    result = sidecar.run("many", "3")
    assert [file.path for file in result.finished.files] == ["n00000", "n00001"]
    assert "n00002" in result.finished.notes[0]


def test_files_of_an_ended_command_are_discarded(sidecar: Sidecar) -> None:
    failed = sidecar.run("daemon", "beat", "30", timeout=0.5)
    assert failed.end is not None
    assert sidecar.run("ignore", "9", timeout=0.5).failed.kind == "CommandTimeout"
    assert eventually(lambda: not files_of_commands(sidecar.scratch))


def test_a_file_is_read_from_the_live_workspace(sidecar: Sidecar) -> None:
    (sidecar.workspace / "in.txt").write_text("x")
    for number in range(3):
        result = sidecar.run("file", f"out{number}", "none")
        assert result.finished.exit_code == 0
    names = sorted(path.name for path in sidecar.workspace.iterdir())
    assert names == ["in.txt", "out0", "out1", "out2"]


def test_arguments_that_name_traps(sidecar: Sidecar) -> None:
    os.mkfifo(sidecar.workspace / "trap")
    (sidecar.workspace / "link").symlink_to("/etc/passwd")
    assert sidecar.run("argv", "trap").failed.kind == "InvalidRequest"
    assert sidecar.run("argv", "link").failed.kind == "InvalidRequest"
