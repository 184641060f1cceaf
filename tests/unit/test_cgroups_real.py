"""Control groups of this machine, where there are some: entering, killing, removing."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from keyless_kernel.confine.cgroups import Groups, entering, find, remove_folder
from keyless_kernel.confine.limits import Ceiling

CEILING = Ceiling(memory=64 * 1024**2, processes=20, cpus=0, setting="kernel")


@pytest.fixture
def groups() -> Groups:
    found, reason = find()
    if found is None:
        pytest.skip(reason)
    return found


def folders(groups: Groups, entry: tuple[str, ...]) -> list[Path]:
    return [Path(file).parent for file in entry]


def test_a_command_is_in_the_group_from_its_first_instruction(groups: Groups) -> None:
    group = groups.make(CEILING)
    try:
        answer = subprocess.run(
            entering(group.entry, ["/bin/cat", "/proc/self/cgroup"]),
            capture_output=True,
            text=True,
            check=True,
        )
        name = folders(groups, group.entry)[0].name
        assert answer.stdout.count(name) >= len(group.entry)
    finally:
        group.remove()
    assert not any(folder.exists() for folder in folders(groups, group.entry))


def test_removing_kills_what_is_left(groups: Groups) -> None:
    group = groups.make(CEILING)
    script = "setsid sleep 600 & setsid sleep 600 & wait"
    with subprocess.Popen(entering(group.entry, ["/bin/sh", "-c", script])) as process:
        deadline = time.monotonic() + 10
        procs = Path(group.entry[0])
        while len(procs.read_text().split()) < 3:
            assert time.monotonic() < deadline
        group.remove()
        assert process.wait(10) == -9
    assert not any(folder.exists() for folder in folders(groups, group.entry))


def test_memory_and_processes_are_counted_together(groups: Groups) -> None:
    group = groups.make(CEILING)
    try:
        script = "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; wait"
        bomb = subprocess.run(
            entering(group.entry, ["/bin/sh", "-c", script]), capture_output=True, check=False
        )
        assert bomb.returncode != 0
        assert group.exceeded() == "processes"
    finally:
        group.remove()
    group = groups.make(CEILING)
    try:
        hog = "head -c 200000000 /dev/zero | tail -c 200000000 | wc -c"
        subprocess.run(
            entering(group.entry, ["/bin/sh", "-c", hog]), capture_output=True, check=False
        )
        assert group.exceeded() == "memory"
    finally:
        group.remove()


def test_killing_and_removing_in_v2() -> None:
    """The parts of v2 that need no controllers, wherever a v2 hierarchy is writable."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            top = Path(line.split(" ")[4])
            break
    else:
        pytest.skip("no cgroup v2 here")
    if not os.access(top, os.W_OK):
        pytest.skip("cgroup v2 isn't writable")
    folder = top / f"keyless-test-{os.getpid()}"
    folder.mkdir()
    command = entering([str(folder / "cgroup.procs")], ["/bin/sleep", "600"])
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + 10
        while not (folder / "cgroup.procs").read_text():
            assert time.monotonic() < deadline
        remove_folder(folder)
        assert process.wait(10) == -9
    assert not folder.exists()
