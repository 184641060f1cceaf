"""Limits of tools and kernels, with real processes: what is exceeded is named where one looks."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.leftovers import descendants
from tests.support.limits import best, groups_of, mechanism
from tests.support.mounts import Mounts, private_mounts
from tests.support.sidecar import Sidecar, eventually, leaky

from keyless.protocol.messages import Status, StatusQuery
from keyless_kernel.confine.metering import WATCHDOG

from .conftest import StartSidecar
from .test_kernel_life import kernel, run

__all__ = ["mechanism", "private_mounts"]

MIB = 1024**2
#: For a cell that fails: the kernel would abort one that comes right after it.
GOING_ON = {"stop_on_error": False}


def limited(start: StartSidecar, tools: dict[str, Any] | None = None, **limits: Any) -> Sidecar:
    section = {"declared": {"leaky": leaky()}, "aws": False, **(tools or {})}
    sidecar = start(config={"Tools": section, "Limits": limits})
    assert sidecar.status.get("ready"), sidecar.status
    sidecar.hello()
    return sidecar


# ---------------------------------------------------------------------------------- tools


def test_memory_of_a_tool(start_sidecar: StartSidecar, mechanism: str) -> None:
    sidecar = limited(start_sidecar, tool_memory=64 * MIB)
    result = sidecar.run("childreneat", "4", str(30 * MIB))
    assert result.failed.kind == "LimitExceeded", (mechanism, result.stdout, result.stderr)
    assert "leaky was ended: more than 64 MiB of memory" in result.failed.message
    assert "c.Limits.tool_memory" in result.failed.message
    assert sidecar.records()[-1]["fields"]["outcome"] == "LimitExceeded"
    # the limit is one command's: the next one has all of it
    assert sidecar.run("eat", str(20 * MIB)).stdout.endswith("ate 20 MiB\n")


def test_processes_of_a_tool(start_sidecar: StartSidecar, mechanism: str) -> None:
    sidecar = limited(start_sidecar, tool_processes=20)
    begin = time.monotonic()
    failed = sidecar.run("forks", "400", "3").failed
    assert failed.kind == "LimitExceeded", mechanism
    assert "more than 20 processes (c.Limits.tool_processes)" in failed.message
    assert time.monotonic() - begin < 10


def test_refused_processes_are_a_note_where_the_tool_copes(start_sidecar: StartSidecar) -> None:
    if best() == WATCHDOG:
        pytest.skip("only a control group counts refusals")
    sidecar = limited(start_sidecar, tool_processes=20)
    finished = sidecar.run("forks", "400", "0").finished
    expected = (
        "It asked for more than 20 processes (c.Limits.tool_processes), and was refused some."
    )
    assert finished.notes[-1] == expected


def test_file_size_of_a_tool(start_sidecar: StartSidecar) -> None:
    sidecar = limited(start_sidecar, tools={"max_written": 8 * MIB})
    # In its TMPDIR, which it may write at every level (the supervisor opens the way to it).
    sidecar.scratch.chmod(0o711)
    result = sidecar.run("large", "", str(9 * MIB))
    assert result.stderr == ""
    failed = result.failed
    assert failed.kind == "LimitExceeded"
    assert "a file of more than 8 MiB (c.Tools.max_written)" in failed.message
    assert not list(sidecar.workspace.iterdir())


def test_all_files_of_a_tool(start_sidecar: StartSidecar) -> None:
    sidecar = limited(start_sidecar, tools={"max_written": 8 * MIB})
    if not sidecar.records()[0]["fields"]["facts"]["overlay"]:
        pytest.skip("tools leave no files at this level")
    failed = sidecar.run("spread", "30").failed
    assert failed.kind == "LimitExceeded"
    assert "more than 8 MiB in the files it writes" in failed.message
    assert not list(sidecar.workspace.iterdir())


def test_open_files_of_a_tool(start_sidecar: StartSidecar) -> None:
    sidecar = limited(start_sidecar, tool_open_files=16)
    result = sidecar.run("opens", "50")
    assert result.finished.exit_code != 0
    assert "Too many open files" in result.stderr


def test_processors_of_a_tool(start_sidecar: StartSidecar) -> None:
    if best() == WATCHDOG:
        pytest.skip("only a control group limits processors")
    sidecar = limited(start_sidecar, tool_cpus=0.2)
    result = sidecar.run("burn", "2")
    used = float(result.stdout)
    assert used < 2 * 0.2 + 0.2, result.stdout


def test_a_tool_at_its_limit_leaves_the_others_alone(start_sidecar: StartSidecar) -> None:
    sidecar = limited(start_sidecar, tool_memory=64 * MIB, tool_processes=20)
    bomb = sidecar.start("forks", "1000", "3")
    hog = sidecar.start("childreneat", "4", str(30 * MIB))
    good = sidecar.start("sleep", "1")
    assert sidecar.collect(good).finished.exit_code == 0
    ends = {
        reply.id: getattr(reply, "kind", "")
        for number in (bomb, hog)
        for reply in sidecar.replies.get(number, [])
    }
    for number in (bomb, hog):
        kind = ends.get(number) or sidecar.collect(number).failed.kind
        assert kind == "LimitExceeded"


def test_the_groups_of_a_sidecar_go_with_their_commands(start_sidecar: StartSidecar) -> None:
    if best() == WATCHDOG:
        pytest.skip("no control groups here")
    sidecar = limited(start_sidecar)
    request = sidecar.start("sleep", "1")
    sidecar.collect(request, until=lambda result: result.started is not None)
    assert len(groups_of(sidecar.process.pid)) == 1
    sidecar.collect(request)
    assert groups_of(sidecar.process.pid) == set()


def test_what_is_in_force_is_told(start_sidecar: StartSidecar, mechanism: str) -> None:
    sidecar = limited(start_sidecar)
    sidecar.send(StatusQuery(id=sidecar.next_id()))
    status = sidecar.receive()
    assert isinstance(status, Status)
    word = "watchdog" if mechanism == WATCHDOG else "control groups"
    assert any("limits by" in line and word in line for line in status.guarantees)
    facts = sidecar.records()[0]["fields"]["facts"]["limits"]
    assert facts["mechanism"] == mechanism
    assert facts["memory"] == "4 GiB"


def test_an_unknown_limit_stops_the_start(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar(config={"Limits": {"tool_memroy": 1}})
    assert "c.Limits.tool_memroy" in sidecar.status["error"]


# ---------------------------------------------------------------------------------- kernels


def configure(home: Path, **limits: Any) -> None:
    lines = [f"c.Limits.{name} = {value!r}\n" for name, value in limits.items()]
    (home / "config" / "jupyter_keyless_config.py").write_text("".join(lines))


@pytest.fixture
def warnings_of_the_server(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """What the provisioner logged as warnings."""
    logger = logging.getLogger("traitlets")
    logger.addHandler(caplog.handler)
    return lambda: "\n".join(record.getMessage() for record in caplog.records)


async def died(manager: Any) -> None:
    deadline = time.monotonic() + 20
    while await manager.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.05)


FORK_AND_EAT = """
import os, time
for _ in range(8):
    if not os.fork():
        kept = b"x" * (100 << 20)
        time.sleep(20)
        os._exit(0)
time.sleep(15)
"""


async def test_one_cell_that_wants_too_much_memory(jupyter_home: Path, mechanism: str) -> None:
    configure(jupyter_home, kernel_memory=400 * MIB)
    async with kernel() as (_, client):
        assert (await run(client, "x = bytearray(600 << 20)", **GOING_ON))["error"] == "MemoryError"
        assert (await run(client, "1+1"))["result"] == "2"


async def test_processes_that_together_want_too_much_memory(
    jupyter_home: Path, mechanism: str, warnings_of_the_server: Callable[[], str]
) -> None:
    configure(jupyter_home, kernel_memory=400 * MIB)
    async with kernel() as (manager, client):
        if mechanism == WATCHDOG:
            client.execute(FORK_AND_EAT)
            await died(manager)
            expected = "the kernel was ended: more than 400 MiB of memory"
            await manager.restart_kernel(now=True)
            await client.wait_for_ready(timeout=60)
        else:
            await run(client, FORK_AND_EAT)
            expected = "a process of this kernel was killed: more than 400 MiB of memory"
            await run(client, "import time; time.sleep(1)")
        said = await run(client, "1+1")
        assert said["result"] == "2"
        if mechanism == WATCHDOG:
            assert f"Keyless: Before its restart, {expected}" in said["text"]
        assert await manager.is_alive()  # looks at what the supervisor says, as servers do
        assert expected in warnings_of_the_server()


async def test_a_kernel_killed_for_its_memory_says_so_after_the_restart(
    jupyter_home: Path, warnings_of_the_server: Callable[[], str]
) -> None:
    if best() == WATCHDOG:
        pytest.skip("without a control group the watchdog ends the kernel")
    configure(jupyter_home, kernel_memory=400 * MIB)
    async with kernel() as (manager, client):
        # Shared pages, which setrlimit doesn't count: the system kills the kernel itself.
        client.execute(
            "import mmap; m = mmap.mmap(-1, 1 << 30)\nfor i in range(1 << 18): m[i << 12] = 1"
        )
        await died(manager)
        await manager.restart_kernel(now=True)
        await client.wait_for_ready(timeout=60)
        said = await run(client, "1+1")
        expected = "the kernel was ended: more than 400 MiB of memory (c.Limits.kernel_memory)"
        assert f"Keyless: Before its restart, {expected}." in said["text"]
        assert said["result"] == "2"
        assert "Keyless" not in (await run(client, "2+2"))["text"]
        assert expected in warnings_of_the_server()
    (first, _) = sorted((jupyter_home / "data" / "keyless" / "audit").glob("*.jsonl"))
    ends = [json.loads(line) for line in first.read_text().splitlines()]
    assert [r["fields"]["reason"] for r in ends if r["kind"] == "kernel.ended"] == [expected]


async def test_a_child_killed_for_its_memory_is_named_in_the_notebook(jupyter_home: Path) -> None:
    if best() == WATCHDOG:
        pytest.skip("without a control group the watchdog ends the kernel")
    configure(jupyter_home, kernel_memory=400 * MIB)
    async with kernel() as (_, client):
        said = await run(client, FORK_AND_EAT)
        expected = "Keyless: A process of this kernel was killed: more than 400 MiB of memory"
        assert expected in said["text"]


async def test_a_fork_bomb(jupyter_home: Path, mechanism: str) -> None:
    configure(jupyter_home, kernel_processes=64)
    async with kernel() as (manager, client):
        bomb = (
            "import os, time\n"
            "for _ in range(200):\n"
            "    if not os.fork(): time.sleep(20); os._exit(0)\n"
        )
        if mechanism == WATCHDOG and manager.provisioner.level != "namespaces":
            # All sandboxes have one user, so that its own limit can't be this kernel's.
            client.execute(bomb + "time.sleep(20)")
            await died(manager)
            await manager.restart_kernel(now=True)
            await client.wait_for_ready(timeout=60)
            said = await run(client, "1+1")
            assert "the kernel was ended: more than 64 processes" in said["text"]
            return
        # As long as its children live, a kernel can't start a thread either.
        contained = (
            "import os, time\npids = []\n"
            "try:\n"
            "    for _ in range(200):\n"
            "        pid = os.fork()\n"
            "        if not pid: time.sleep(20); os._exit(0)\n"
            "        pids.append(pid)\n"
            "finally:\n"
            "    for pid in pids: os.kill(pid, 9); os.waitpid(pid, 0)\n"
        )
        said = await run(client, contained, **GOING_ON)
        assert said["error"] == "BlockingIOError"
        text = said["text"]
        for code in ("import time; time.sleep(2)", "1+1"):
            said = await run(client, code, **GOING_ON)
            assert said["error"] is None, said
            text += said["text"]
        assert said["result"] == "2", said
        if mechanism == WATCHDOG:
            return  # nobody counts refusals there; the exception has said it all
        assert "A new process was refused: more than 64 processes" in text


async def test_open_files_and_file_size(jupyter_home: Path) -> None:
    configure(jupyter_home, kernel_open_files=128, kernel_file_size=4 * MIB)
    async with kernel() as (_, client):
        said = await run(client, "kept = [open('/dev/null') for _ in range(200)]", **GOING_ON)
        assert said["error"] == "OSError"
        await run(client, "kept = []")
        said = await run(client, "open('big', 'wb').truncate(5 << 20)")
        assert said["error"] == "OSError"


async def test_run_time(jupyter_home: Path, warnings_of_the_server: Callable[[], str]) -> None:
    configure(jupyter_home, kernel_run_time=4.0)
    async with kernel() as (manager, _):
        await died(manager)
    assert "it ran for more than 4 s (c.Limits.kernel_run_time)" in warnings_of_the_server()


async def test_the_disk_of_the_workspace(
    jupyter_home: Path,
    private_mounts: Mounts,
    sandbox_user: int,
    warnings_of_the_server: Callable[[], str],
) -> None:
    disk = jupyter_home / "disk"
    private_mounts.disk(disk, "400m", mode="0777")
    configure(jupyter_home, workspace_reserve=1024 * MIB)
    async with kernel(keyless_workspace=str(disk)) as (manager, client):
        client.execute("i = 0\nwhile True:\n    open(f'f{i}', 'wb').write(bytes(1 << 20)); i += 1")
        await died(manager)
        await manager.restart_kernel(now=True)
        await client.wait_for_ready(timeout=60)
        said = await run(client, "1+1")
        # 5% of 400 MiB
        expected = "less than 20 MiB was left on the disk of the workspace"
        assert expected in said["text"]
    assert expected in warnings_of_the_server()


async def test_a_disk_that_others_fill(jupyter_home: Path, private_mounts: Mounts) -> None:
    disk = jupyter_home / "disk"
    private_mounts.disk(disk, "400m")
    (disk / "workspace").mkdir()
    (disk / "workspace").chmod(0o777)
    async with kernel(keyless_workspace=str(disk / "workspace")) as (_, client):
        (disk / "other").write_bytes(bytes(385 * MIB))
        time.sleep(2)
        assert (await run(client, "1+1"))["result"] == "2"


async def test_the_size_of_the_workspace(
    jupyter_home: Path, warnings_of_the_server: Callable[[], str]
) -> None:
    configure(jupyter_home, workspace_size=8 * MIB)
    async with kernel() as (manager, client):
        await run(client, "open('big', 'wb').write(bytes(20 << 20))")
        await died(manager)
    assert "more than 8 MiB in the workspace (c.Limits.workspace_size)" in warnings_of_the_server()


async def test_a_kernel_runs_in_its_group_from_the_start(jupyter_home: Path) -> None:
    if best() == WATCHDOG:
        pytest.skip("no control groups here")
    async with kernel() as (_, client):
        (supervisor,) = [p for p, line in descendants().items() if "supervisor" in line]
        (name,) = groups_of(supervisor)
        listed = {
            int(pid)
            for folder in Path("/sys/fs/cgroup").rglob(name)
            for pid in (folder / "cgroup.procs").read_text().split()
        }
        running = {p for p, line in descendants().items() if "launcher" in line or "bwrap" in line}
        assert running <= listed
        assert (await run(client, "1+1"))["result"] == "2"
    assert eventually(lambda: groups_of(supervisor) == set())
