"""Limits as numbers and words, the watchdog's sums, the disk's watch, and the notices."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.mounts import Mounts, private_mounts

from keyless.magics.notices import Notices
from keyless_kernel.confine import ConfigError, watchdog
from keyless_kernel.confine.config import section_from
from keyless_kernel.confine.disk import DiskWatch
from keyless_kernel.confine.limits import (
    Limits,
    kernel_ceiling,
    machine_memory,
    size_text,
    tool_ceiling,
)

__all__ = ["private_mounts"]

MIB = 1024**2


def test_nobody_gets_more_than_the_machine_has() -> None:
    huge = section_from(Limits, {"Limits": {"kernel_memory": 1 << 60, "tool_memory": 1 << 60}})
    most = int(machine_memory() * 0.8)
    assert kernel_ceiling(huge).memory == tool_ceiling(huge).memory == most
    assert kernel_ceiling(Limits()).memory == most


@pytest.mark.parametrize(
    ("section", "said"),
    [({"kernel_memroy": 1}, "kernel_memroy does not exist"), ({"tool_processes": "x"}, "c.Limits")],
)
def test_wrong_limits_are_refused(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        section_from(Limits, {"Limits": section})


@pytest.mark.parametrize(
    ("size", "text"),
    [(4 << 30, "4 GiB"), (300 << 20, "300 MiB"), (3 << 29, "1.5 GiB"), (900, "900 bytes")],
)
def test_sizes_in_words(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.fixture
def tree() -> Iterator[int]:
    """A process with two children and a grandchild, each holding 20 MiB, one of them shared."""
    script = (
        "import os, sys, time\n"
        "shared = b'x' * (20 << 20)\n"
        "if os.fork() and os.fork():\n"
        "    os.fork() or time.sleep(60)\n"
        "print('up', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", script], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    yield process.pid
    os.killpg(process.pid, 9)
    process.communicate()


def test_a_tree_is_counted_whole(tree: int) -> None:
    coarse = watchdog.usage([tree], enough=1 << 40)
    assert coarse.tasks == 4
    assert coarse.memory > 80 * MIB
    exact = watchdog.usage([tree], enough=0)
    assert 20 * MIB < exact.memory < 60 * MIB
    assert watchdog.usage([tree, tree], enough=1 << 40).tasks == 4


def test_a_tree_that_is_gone() -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    assert watchdog.usage([process.pid], enough=0) == watchdog.Usage(0, 0)


def finished(watch: DiskWatch) -> str:
    """Look until it has looked at all files."""
    for _ in range(100):
        words = watch.exceeded()
        if words or watch._look is None:
            return words
    raise AssertionError("it never comes to an end")


def test_a_size_counts_what_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(bytes(3 * MIB))
    watch = DiskWatch(str(tmp_path), reserve=0, size=5 * MIB)
    assert finished(watch) == ""
    watch._looked = time.monotonic() - 60
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_bytes(bytes(3 * MIB))
    os.link(tmp_path / "new" / "file", tmp_path / "new" / "again")
    (tmp_path / "new" / "outside").symlink_to("/usr")
    assert "more than 5 MiB in the workspace" in finished(watch)


def test_the_reserve_of_a_disk(tmp_path: Path, private_mounts: Mounts) -> None:
    private_mounts.disk(tmp_path / "disk", "400m")
    (tmp_path / "disk" / "before").write_bytes(bytes(300 * MIB))
    mine = tmp_path / "disk" / "workspace"
    mine.mkdir()
    watch = DiskWatch(str(mine), reserve=1 << 30)
    assert finished(watch) == ""
    # Somebody else writes: the disk is below the reserve of 20 MiB, and it isn't our doing.
    (tmp_path / "disk" / "other").write_bytes(bytes(85 * MIB))
    assert finished(watch) == ""
    (tmp_path / "disk" / "other").unlink()
    (mine / "file").write_bytes(bytes(85 * MIB))
    assert "less than 20 MiB was left" in finished(watch)


def test_an_almost_full_disk_ends_it_whoever_wrote(tmp_path: Path, private_mounts: Mounts) -> None:
    """A file that was removed while open takes space that no look at the files can find."""
    private_mounts.disk(tmp_path / "disk", "400m")
    watch = DiskWatch(str(tmp_path / "disk"), reserve=1 << 30)
    with (tmp_path / "disk" / "hidden").open("wb") as file:
        (tmp_path / "disk" / "hidden").unlink()
        file.write(bytes(392 * MIB))
        file.flush()
        assert "less than 20 MiB was left" in watch.exceeded()


def test_a_disk_that_was_full_before_is_no_reason(tmp_path: Path, private_mounts: Mounts) -> None:
    private_mounts.disk(tmp_path / "disk", "100m")
    (tmp_path / "disk" / "before").write_bytes(bytes(98 * MIB))
    watch = DiskWatch(str(tmp_path / "disk"), reserve=1 << 30)
    assert finished(watch) == ""


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    watch = DiskWatch(str(tmp_path / "gone"), reserve=1 << 30, size=1)
    assert finished(watch) == ""


def test_notices_are_printed_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read_end, write_end = os.pipe()
    monkeypatch.setenv("KEYLESS_NOTICE_FD", str(read_end))
    notices = Notices.from_environment()
    assert notices is not None
    assert "KEYLESS_NOTICE_FD" not in os.environ
    assert not os.get_inheritable(read_end)
    notices.show()
    os.write(write_end, b"One thing.\nAnother.\n")
    notices.show("ignored")
    notices.show()
    os.close(write_end)
    notices.show()
    os.close(read_end)
    notices.show()
    assert capsys.readouterr().err == "Keyless: One thing.\nKeyless: Another.\n"


@pytest.mark.parametrize("value", [None, "x", "99999", "-1"])
def test_no_notices_without_a_pipe(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("KEYLESS_NOTICE_FD", raising=False)
    if value is not None:
        monkeypatch.setenv("KEYLESS_NOTICE_FD", value)
    assert Notices.from_environment() is None


def test_standard_input_is_no_notice_pipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        monkeypatch.setenv("KEYLESS_NOTICE_FD", str(file.fileno()))
        assert Notices.from_environment() is None
