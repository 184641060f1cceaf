"""Where control groups can be made, and what is done in them: on a model of the file system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keyless_kernel.confine import cgroups
from keyless_kernel.confine.cgroups import V1, V2, Group, Groups, NoGroup, entering
from keyless_kernel.confine.limits import Ceiling

CEILING = Ceiling(memory=300 * 1024**2, processes=50, cpus=1.5, setting="kernel")


def model(folder: Path, own: str, mounts: list[str]) -> Path:
    """A /proc/self with these groups and mounts."""
    proc = folder / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(own)
    (proc / "mountinfo").write_text(
        "".join(f"{number} 1 0:{number} {line}\n" for number, line in enumerate(mounts))
    )
    return proc


def v2_group(folder: Path, handed_down: str = "memory pids cpu") -> Path:
    folder.mkdir(parents=True)
    (folder / "cgroup.subtree_control").write_text(handed_down)
    (folder / "cgroup.procs").write_text("")
    return folder


def only(candidates: list[Groups | str]) -> list[Groups]:
    return [each for each in candidates if isinstance(each, Groups)]


def test_v2_uses_the_nearest_group_that_hands_controllers_down(tmp_path: Path) -> None:
    v2_group(tmp_path / "fs", "memory pids")
    slice_ = v2_group(tmp_path / "fs" / "app.slice")
    v2_group(slice_ / "jupyter.service", "")
    proc = model(
        tmp_path, "0::/app.slice/jupyter.service\n", [f"/ {tmp_path}/fs rw - cgroup2 cgroup2 rw"]
    )
    (groups,) = only(cgroups._candidates(proc))
    assert (groups.version, set(groups.bases.values())) == (V2, {slice_})
    assert set(groups.bases) == {"memory", "pids", "cpu"}


def test_v2_without_delegation_is_not_used(tmp_path: Path) -> None:
    v2_group(tmp_path / "fs", "cpu")
    v2_group(tmp_path / "fs" / "mine", "")
    proc = model(tmp_path, "0::/mine\n", [f"/ {tmp_path}/fs rw - cgroup2 cgroup2 rw"])
    v2, v1 = cgroups._candidates(proc)
    assert "hands memory and pids down" in str(v2)
    assert "can't be used" in str(v1)


def test_v1_is_made_below_the_own_group_of_each_controller(tmp_path: Path) -> None:
    for name in ("memory/mine", "pids", "cpu"):
        (tmp_path / name).mkdir(parents=True)
    proc = model(
        tmp_path,
        "3:memory:/mine\n2:pids:/\n1:cpu,cpuacct:/\n0::/\n",
        [
            f"/ {tmp_path}/memory rw - cgroup cgroup rw,memory",
            f"/ {tmp_path}/pids rw - cgroup cgroup rw,pids",
            f"/ {tmp_path}/cpu rw - cgroup cgroup rw,cpu,cpuacct",
        ],
    )
    (groups,) = only(cgroups._candidates(proc))
    assert groups.bases == {
        "memory": tmp_path / "memory" / "mine",
        "pids": tmp_path / "pids",
        "cpu": tmp_path / "cpu",
    }


def test_a_container_that_shows_only_its_own_part(tmp_path: Path) -> None:
    for name in ("memory", "pids"):
        (tmp_path / name).mkdir(parents=True)
    mounts = [
        f"/docker/1 {tmp_path}/{name} rw - cgroup cgroup rw,{name}" for name in ("memory", "pids")
    ]
    proc = model(tmp_path, "2:memory:/docker/1\n1:pids:/docker/1\n", mounts)
    (groups,) = only(cgroups._candidates(proc))
    assert groups.bases["memory"] == tmp_path / "memory"
    (proc / "cgroup").write_text("2:memory:/elsewhere\n1:pids:/docker/1\n")
    assert not only(cgroups._candidates(proc))


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (
            V2,
            {
                "memory.max": "314572800",
                "pids.max": "50",
                "cpu.max": "150000 100000",
                "cpu.weight": "50",
            },
        ),
        (
            V1,
            {
                "memory.limit_in_bytes": "314572800",
                "pids.max": "50",
                "cpu.cfs_quota_us": "150000",
                "cpu.shares": "512",
            },
        ),
    ],
)
def test_limits_are_written(tmp_path: Path, version: str, expected: dict[str, str]) -> None:
    Group(dict.fromkeys(("memory", "pids", "cpu"), tmp_path), CEILING, version).set_limits()
    assert {name: (tmp_path / name).read_text() for name in expected} == expected


def test_what_was_exceeded_is_told_once(tmp_path: Path) -> None:
    group = Group(dict.fromkeys(("memory", "pids"), tmp_path), CEILING, V2)
    assert group.exceeded() == ""
    (tmp_path / "pids.events").write_text("max 3\n")
    assert group.exceeded() == "processes"
    assert group.exceeded() == ""
    (tmp_path / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 1\n")
    (tmp_path / "pids.events").write_text("max 4\n")
    assert group.exceeded() == "memory"
    assert group.exceeded() == ""


def test_a_group_that_can_not_be_made(tmp_path: Path) -> None:
    bases = dict.fromkeys(("memory", "pids"), tmp_path / "missing")
    with pytest.raises(NoGroup):
        Groups(V2, bases).make(CEILING)


def test_only_abandoned_groups_are_swept(tmp_path: Path) -> None:
    namespace = cgroups._pid_namespace()
    alive = f"keyless-{namespace}-{os.getpid()}-{cgroups._start_time(os.getpid())}-1"
    gone = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = f"keyless-{namespace}-{gone.pid}-{cgroups._start_time(gone.pid)}-1"
    gone.communicate(b"\n")
    reused = f"keyless-{namespace}-{os.getpid()}-1-1"
    others = f"keyless-{namespace + 1}-{gone.pid}-1-1"
    for name in (alive, dead, reused, others, "docker", "keyless-mine"):
        (tmp_path / name).mkdir()
    Groups(V1, dict.fromkeys(("memory", "pids"), tmp_path)).sweep()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {alive, others, "docker", "keyless-mine"}


def test_entering_writes_into_every_group_first(tmp_path: Path) -> None:
    files = [tmp_path / "one", tmp_path / "with space"]
    for file in files:
        file.write_text("")
    command = [sys.executable, "-c", "import sys; print(sys.argv[1:])", "--", "$HOME", ""]
    answer = subprocess.run(
        entering([str(file) for file in files], command),
        capture_output=True,
        text=True,
        check=True,
        env={},
    )
    assert answer.stdout == "['--', '$HOME', '']\n"
    assert [file.read_text() for file in files] == ["0\n", "0\n"]


def test_a_group_that_can_not_be_entered_means_no_command(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    answer = subprocess.run(
        entering([str(tmp_path / "no" / "file")], ["/usr/bin/touch", str(marker)]),
        capture_output=True,
        check=False,
        env={},
    )
    assert answer.returncode == 125
    assert not marker.exists()
    assert entering([], ["/bin/true"]) == ["/bin/true"]
