"""Supervisors and sidecars that were forked: as closed to each other as executed ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.integration.test_kernel_life import Kernel, kernel, run
from tests.support.dumps import memory
from tests.support.leftovers import adopt_orphans, descendants, reap, wait_until_gone

from keyless_kernel import forking
from keyless_kernel.supervising import NURSERY

SECRETS = ("NURSERY-canary-of-the-first-kernel", "NURSERY-canary-of-the-second-kernel")


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def command_line(pid: int) -> str:
    """Empty for one that has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return ""


def process_of(manager: object) -> int:
    """The kernel's supervisor."""
    pid: int = manager.provisioner._supervisor.pid  # type: ignore[attr-defined]
    return pid


def sidecar_of(supervisor: int) -> int:
    (pid,) = [pid for pid, line in descendants(supervisor).items() if "keyless_sidecar" in line]
    return pid


def credential(value: str) -> dict[str, object]:
    return {"name": "canary", "kind": "generic", "fields": {"value": value}, "tools": ["leaky"]}


@pytest.fixture
def nursery() -> int:
    """It is ready: whatever kernel comes next, comes from it."""
    NURSERY.prepare()
    assert eventually(NURSERY.ready)
    return NURSERY.pid


@asynccontextmanager
async def two_kernels() -> AsyncIterator[tuple[Kernel, Kernel]]:
    """Each holds another secret; the second one is forked when the first one has its own."""
    async with contextlib.AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(kernel(keyless_credentials=[credential(secret)]))
            for secret in SECRETS
        ]
        yield first, second


async def test_no_process_holds_anything_of_another_kernel(
    jupyter_home: Path, nursery: int
) -> None:
    async with two_kernels() as kernels:
        supervisors = [process_of(manager) for manager, _ in kernels]
        sidecars = [sidecar_of(pid) for pid in supervisors]
        for number, (supervisor, sidecar) in enumerate(zip(supervisors, sidecars, strict=True)):
            assert parent(supervisor) == nursery
            assert parent(sidecar) == supervisor
            own, other = SECRETS[number].encode(), SECRETS[1 - number].encode()
            assert holds(sidecar, own), "else this test would find nothing anywhere"
            assert not holds(sidecar, other)
            assert not holds(supervisor, other)
        for secret in SECRETS:
            assert not holds(nursery, secret.encode())
        everybody = [nursery, *supervisors, *sidecars]
        ends = [sockets_and_pipes(pid) for pid in everybody]
        # Only their standard error, the server's log, may be common to all.
        common = set.intersection(*ends)
        for one, mine in enumerate(ends):
            for another, theirs in enumerate(ends):
                family = {one, another} in ({1, 3}, {2, 4})  # a supervisor and its own sidecar
                assert one == another or family or mine & theirs <= common


async def test_a_forked_process_is_closed_as_an_executed_one(
    jupyter_home: Path, nursery: int
) -> None:
    async with kernel() as (manager, _):
        supervisor = process_of(manager)
        sidecar = sidecar_of(supervisor)
        assert command_line(supervisor).startswith(f"{sys.executable} -I -m keyless_kernel.superv")
        assert command_line(sidecar).startswith(f"{sys.executable} -I -B -m keyless_sidecar serve")
        for pid in (nursery, supervisor, sidecar):
            assert os.getsid(pid) == pid
            initial = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            assert sorted(initial) == [b"", b"LANG=C.UTF-8", b"PATH=/usr/bin:/bin"]
            # Of a process that can't be dumped, these belong to root.
            assert Path(f"/proc/{pid}/environ").stat().st_uid == 0
            assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1 or pid == sidecar
        status = Path(f"/proc/{sidecar}/status").read_text()
        assert "Seccomp:\t2" in status
        assert "Seccomp:\t0" in Path(f"/proc/{supervisor}/status").read_text()
        limits = Path(f"/proc/{sidecar}/limits").read_text()
        assert next(line for line in limits.splitlines() if "core file" in line).split()[4] in "01"


async def test_kernels_outlive_their_nursery(jupyter_home: Path, nursery: int) -> None:
    adopt_orphans()
    async with kernel() as (manager, client):
        os.kill(nursery, signal.SIGKILL)
        assert (await run(client, "1+1"))["result"] == "2"
        await manager.restart_kernel(now=True)
        await client.wait_for_ready(timeout=60)
        assert (await run(client, "1+1"))["result"] == "2"
        async with kernel() as (_, another):
            assert (await run(another, "2+2"))["result"] == "4"
    reap()


async def test_a_killed_supervisor_takes_its_kernel_along(jupyter_home: Path, nursery: int) -> None:
    before = descendants()
    async with kernel() as (manager, client):
        os.kill(process_of(manager), signal.SIGKILL)
        assert eventually(lambda: not set(descendants()) - set(before))
        assert not await manager.is_alive()
        client.stop_channels()
        async with kernel() as (_, another):
            assert (await run(another, "2+2"))["result"] == "4"
    assert not wait_until_gone(before)


async def test_code_that_was_exchanged_is_loaded_anew(jupyter_home: Path, nursery: int) -> None:
    changed = Path(forking.__file__)
    status = changed.stat()
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    try:
        async with kernel() as (manager, client):
            assert parent(process_of(manager)) != nursery
            assert (await run(client, "1+1"))["result"] == "2"
    finally:
        os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    # The next ones come from another nursery; of several at once all but the first wait for it.
    kernels = await asyncio.gather(*(_one(number) for number in range(2)))
    assert [said for _, said in kernels] == ["0", "1"]
    assert kernels[1][0]


async def _one(number: int) -> tuple[bool, str]:
    async with kernel() as (manager, client):
        forked = "keyless_kernel.nursery" in command_line(parent(process_of(manager)))
        return forked, (await run(client, str(number)))["result"]


async def test_what_the_server_became_counts(jupyter_home: Path, nursery: int) -> None:
    """Limits here; it is the same with namespaces and control groups, which other tests change."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    try:
        async with kernel() as (manager, client):
            limits = Path(f"/proc/{process_of(manager)}/limits").read_text()
            (opened,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
            assert int(opened.split()[3]) == soft - 1
            assert (await run(client, "1+1"))["result"] == "2"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_nursery_ends_with_its_server(jupyter_home: Path, nursery: int) -> None:
    NURSERY.close()
    assert eventually(lambda: not command_line(nursery)), command_line(nursery)


def holds(pid: int, text: bytes) -> bool:
    return any(text in content for _, content in memory(pid))


def sockets_and_pipes(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if (target := str(entry.readlink())).startswith(("socket:", "pipe:")):
                found.add(target)
    return found
