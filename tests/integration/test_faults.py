"""Things that break while Keyless runs: nothing hangs, nothing is left, and one is told."""

from __future__ import annotations

import ast
import asyncio
import os
import random
import resource
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop
from tests.support.leftovers import (
    adopt_orphans,
    descendants,
    files_below,
    find,
    the_sidecar,
    wait_until_gone,
)
from tests.support.limits import groups_of
from tests.support.mounts import Mounts, private_mounts
from tests.support.sidecar import LEAKY, SECRET, eventually, leaky

from keyless_sidecar.audit.reading import verify

from .conftest import StartSidecar
from .test_kernel_life import kernel, run

__all__ = ["private_mounts"]

KILLS = int(os.environ.get("KEYLESS_KILLS", "12"))
ROOT = Path(__file__).parents[2]
MIB = 1024**2
CREDENTIALS = [
    {"name": "canary", "kind": "generic", "fields": {"value": SECRET}, "tools": ["leaky"]}
]


@pytest.fixture
def tool(jupyter_home: Path) -> Path:
    """The leaking tool where kernels started by a provisioner find it."""
    program = jupyter_home / "leaky.py"
    shutil.copy(LEAKY, program)
    program.chmod(0o755)
    declared = {"leaky": leaky(path=str(program))}
    (jupyter_home / "config" / "jupyter_keyless_config.py").write_text(
        f"c.Tools.aws = False\nc.Tools.declared = {declared!r}\n"
    )
    return program


def command(*argv: str) -> str:
    return f"from keyless import secure_exec; secure_exec('leaky', {list(argv)!r})"


# ---------------------------------------------------------------------------------- sidecar


async def test_sidecar_killed_during_a_command(jupyter_home: Path, tool: Path) -> None:
    adopt_orphans()
    others = set(descendants())
    async with kernel(keyless_credentials=CREDENTIALS) as (manager, client):
        before = set(descendants())
        sidecar = the_sidecar(others)
        # Else the kernel could abort the next cell too, which is sent so soon after the error.
        cell = client.execute(command("ignore", "60"), stop_on_error=False)
        assert await asyncio.to_thread(eventually, lambda: bool(find("leaky.py ignore")))
        begin = time.monotonic()
        os.kill(sidecar, signal.SIGKILL)
        reply = await client.get_shell_msg(timeout=30)
        while reply["parent_header"].get("msg_id") != cell:
            reply = await client.get_shell_msg(timeout=30)
        assert time.monotonic() - begin < 3
        assert reply["content"]["ename"] == "SidecarUnavailable"
        assert "restart" in reply["content"]["evalue"].lower()
        # the command is gone, with everything but the kernel itself
        assert eventually(lambda: set(descendants()) <= before - {sidecar}), descendants()
        assert eventually(lambda: groups_of(sidecar) == set())
        assert (await run(client, "1+1"))["result"] == "2"
        await manager.restart_kernel(now=True)
        await client.wait_for_ready(timeout=60)
        assert (await run(client, command("rc", "0")))["error"] is None


@pytest.mark.timeout(900)
async def test_sidecar_killed_while_it_starts_a_command(jupyter_home: Path, tool: Path) -> None:
    """A bubblewrap that hasn't asked to die with its parent yet comes to the supervisor."""
    adopt_orphans()
    moments = random.Random(30)
    others = set(descendants())
    async with kernel(keyless_credentials=CREDENTIALS) as (manager, client):
        for _ in range(KILLS):
            before = set(descendants())
            sidecar = the_sidecar(others)
            client.execute(command("ignore", "60"))
            deadline = time.monotonic() + 10
            # From the moment when there is the first process of the new sandbox.
            while set(descendants()) <= before:
                assert time.monotonic() < deadline
            time.sleep(moments.uniform(0, 0.03))
            os.kill(sidecar, signal.SIGKILL)
            allowed = before - {sidecar}
            assert eventually(lambda: set(descendants()) <= allowed), descendants()  # noqa: B023
            assert eventually(lambda: groups_of(sidecar) == set())  # noqa: B023
            await manager.restart_kernel(now=True)
            await client.wait_for_ready(timeout=60)


async def test_supervisor_killed_leaves_groups_only_until_the_next_start(
    jupyter_home: Path,
) -> None:
    adopt_orphans()
    others = set(descendants())
    async with kernel() as _:
        (supervisor,) = find("keyless_kernel.supervisor", besides=others)
        os.kill(supervisor, signal.SIGKILL)
        assert eventually(lambda: not find("keyless_", besides=others))
    assert groups_of(supervisor) == set()


# ---------------------------------------------------------------------------------- disks


def test_disk_of_the_audit_full(
    start_sidecar: StartSidecar, jupyter_home: Path, private_mounts: Mounts
) -> None:
    private_mounts.disk(jupyter_home / "keyless", "5m", mode="0700")
    sidecar = start_sidecar()
    sidecar.hello()
    running = sidecar.start("sleep", "2")
    sidecar.collect(running, until=lambda result: result.started is not None)
    ballast = fill_up(jupyter_home / "keyless" / "ballast")
    request = sidecar.start("rc", "0")
    while (answer := sidecar.collect(request)).end is None:
        pass
    # What runs gets its record from the reserve; what is new may run as long as there is some.
    for _ in range(400):
        if answer.end is not None and answer.end.__class__.__name__ == "Failed":
            break
        answer = sidecar.run("argv", *["x" * 4000] * 16)
    assert answer.failed.kind == "SidecarUnavailable"
    assert "audit log can't be written, so nothing runs" in answer.failed.message
    assert str(jupyter_home) not in answer.failed.message
    ended = [r for r in sidecar.replies.get(running, []) if r.__class__.__name__ == "Finished"]
    assert ended or sidecar.collect(running).finished.exit_code == 0
    ballast.unlink()
    assert sidecar.run("rc", "0").finished.exit_code == 0
    (path,) = (sidecar.data / "audit").glob("*.jsonl")
    assert verify(path).ok


def test_audit_not_writable_while_a_command_runs(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar()
    sidecar.hello()
    running = sidecar.start("sleep", "1")
    sidecar.collect(running, until=lambda result: result.started is not None)
    # Any write of the sidecar's fails from here on, as on a disk that the system made read-only.
    before = resource.prlimit(sidecar.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(sidecar.process.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    failed = sidecar.collect(running).failed
    assert failed.kind == "SidecarUnavailable"
    assert "its result can't be recorded" in failed.message
    failed = sidecar.run("rc", "0").failed
    assert "audit log can't be written, so nothing runs" in failed.message
    resource.prlimit(sidecar.process.pid, resource.RLIMIT_FSIZE, before)
    assert sidecar.run("rc", "0").finished.exit_code == 0
    (path,) = (sidecar.data / "audit").glob("*.jsonl")
    assert verify(path).ok


def test_disk_of_the_scratch_space_full(
    start_sidecar: StartSidecar, jupyter_home: Path, private_mounts: Mounts
) -> None:
    private_mounts.disk(jupyter_home / "scratch", "6m", mode="0700")
    sidecar = start_sidecar()
    sidecar.hello()
    result = sidecar.run("spread", "30")
    if hasattr(result.end, "exit_code"):
        assert result.finished.exit_code != 0
        assert "No space left on device" in result.stderr
    else:
        assert result.failed.kind == "LimitExceeded"
        assert "disk" in result.failed.message
    # It is all free again for the next one.
    assert sidecar.run("fill", "made", "a", "2000000").finished.exit_code == 0
    assert (sidecar.workspace / "made").stat().st_size == 2_000_000


def test_disk_of_the_workspace_full(
    start_sidecar: StartSidecar, jupyter_home: Path, private_mounts: Mounts
) -> None:
    workspace = jupyter_home / "workspace"
    private_mounts.disk(workspace, "3m")
    sidecar = start_sidecar()
    sidecar.hello()
    (workspace / "made").write_text("as it was")
    os.chown(workspace / "made", 61000, 61000)
    ballast = fill_up(workspace / "ballast")
    result = sidecar.run("fill", "made", "a", "2000000")
    said = getattr(result.end, "message", "") + str(getattr(result.end, "notes", ""))
    assert "space" in said, said
    # nothing half-written, and the old file is whole
    assert sorted(path.name for path in workspace.iterdir()) == ["ballast", "made"]
    assert (workspace / "made").read_text() == "as it was"
    ballast.unlink()
    assert sidecar.run("fill", "made", "a", "2000000").finished.exit_code == 0
    assert (workspace / "made").stat().st_size == 2_000_000


def fill_up(path: Path) -> Path:
    """Write a file until the disk is full."""
    with path.open("wb", buffering=0) as file:
        size = MIB
        while size >= 512:
            try:
                if file.write(bytes(size)) < size:
                    size //= 2
            except OSError:
                size //= 2
    return path


# ---------------------------------------------------------------------------------- clocks


def test_a_clock_that_jumps(start_sidecar: StartSidecar) -> None:
    program = (str(ROOT / "tests" / "support" / "jumping.py"),)
    sidecar = start_sidecar(program=program)
    assert sidecar.status.get("ready"), sidecar.status
    sidecar.hello()
    begin = time.monotonic()
    assert sidecar.run("rc", "0").finished.duration < 20
    assert sidecar.run("sleep", "0.5", timeout=10).finished.exit_code == 0
    assert sidecar.run("sleep", "60", timeout=1).failed.kind == "CommandTimeout"
    assert time.monotonic() - begin < 30
    stamps = [record["time"] for record in sidecar.records()]
    assert stamps != sorted(stamps)
    sidecar.close()
    (path,) = (sidecar.data / "audit").glob("*.jsonl")
    assert verify(path).ok


def test_the_next_file_follows_one_from_the_future(start_sidecar: StartSidecar) -> None:
    program = (str(ROOT / "tests" / "support" / "jumping.py"),)
    for options in ({"program": program}, {}, {"program": program}, {}):
        sidecar = start_sidecar(**options)
        sidecar.hello()
        sidecar.run("rc", "0")
        sidecar.close()
    paths = sorted((sidecar.data / "audit").glob("*.jsonl"))
    assert len(paths) == 4
    assert [verify(path).ok for path in paths] == [True] * 4


def test_no_wait_goes_by_the_wall_clock() -> None:
    """``time.time`` is for what file systems and signatures say, not for waiting."""
    found = []
    for package in ("kernel", "sidecar", "extension"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Attribute)
                    and node.attr == "time"
                    and isinstance(node.value, ast.Name)
                    and node.value.id == "time"
                ):
                    found.append(path.name)
    assert set(found) <= {"disk.py", "front.py"}, found


# ---------------------------------------------------------------------------------- launchers


def test_a_kernel_outlives_the_thread_that_started_it(jupyter_home: Path, tool: Path) -> None:
    manager = KernelManager(kernel_name="keyless")
    failure: list[BaseException] = []

    def start() -> None:
        try:
            manager.start_kernel(keyless_credentials=CREDENTIALS)
        except BaseException as error:  # noqa: BLE001 - it is raised in the test
            failure.append(error)
        finally:
            ensure_event_loop().close()  # the one that the blocking manager made for this thread

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert not failure
    time.sleep(1)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        for code in ("1+1", command("rc", "0")):
            reply = client.execute_interactive(code, timeout=60)
            assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.timeout(300)
async def test_a_storm_of_restarts(jupyter_home: Path) -> None:
    adopt_orphans()
    before = descendants()
    async with kernel() as (manager, client):
        count = len(descendants())
        for number in range(10):
            if number % 3:
                await manager.restart_kernel(now=True)
            else:
                # As when somebody clicks three times: one of them must succeed, none may hang.
                ends = await asyncio.wait_for(
                    asyncio.gather(
                        *(manager.restart_kernel(now=True) for _ in range(5)),
                        return_exceptions=True,
                    ),
                    timeout=60,
                )
                assert any(end is None for end in ends), ends
        await manager.restart_kernel(now=True)
        await client.wait_for_ready(timeout=60)
        assert (await run(client, "1+1"))["result"] == "2"
        assert len(descendants()) == count
    assert wait_until_gone(before) == {}
    assert files_below(jupyter_home / "runtime") == []


async def test_two_kernels_with_one_workspace(jupyter_home: Path, tool: Path) -> None:
    workspace = jupyter_home / "shared"
    options: dict[str, Any] = {
        "keyless_workspace": str(workspace),
        "keyless_credentials": CREDENTIALS,
    }
    size = 300_000
    async with kernel(**options) as (_, one), kernel(**options) as (_, two):
        ends = asyncio.gather(
            *(several(client, letter, size) for client, letter in ((one, "a"), (two, "b")))
        )
        seen = set()
        while not ends.done():
            if (workspace / "shared.txt").exists():
                seen.add((workspace / "shared.txt").read_text())
            await asyncio.sleep(0.002)
        assert [said["error"] for said in await ends] == [None, None]
        assert seen == {"a" * size, "b" * size}
        assert [path.name for path in workspace.iterdir()] == ["shared.txt"]


async def several(client: Any, letter: str, size: int) -> dict[str, Any]:
    argv = ["fill", "shared.txt", letter, str(size)]
    return await run(
        client,
        f"from keyless import secure_exec\nfor _ in range(5): secure_exec('leaky', {argv!r})\n",
    )


async def test_two_servers_with_one_workspace_and_one_data_folder(
    jupyter_home: Path, tool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its own runtime folder; vault, audit and workspace are the same."""
    options: dict[str, Any] = {
        "keyless_workspace": str(jupyter_home / "shared"),
        "keyless_credentials": CREDENTIALS,
    }
    async with kernel(**options) as (_, one):
        (jupyter_home / "runtime2").mkdir(mode=0o700)
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(jupyter_home / "runtime2"))
        async with kernel(**options) as (_, two):
            for client in (one, two):
                assert (await run(client, command("rc", "0")))["error"] is None
            await run(one, "open('from-one', 'w').write('1')")
            assert (await run(two, "open('from-one').read()"))["result"] == "'1'"
        # the first one doesn't mind that the second has ended
        assert (await run(one, command("rc", "0")))["error"] is None
    paths = sorted((jupyter_home / "data" / "keyless" / "audit").glob("*.jsonl"))
    assert [verify(path).ok for path in paths] == [True, True]
