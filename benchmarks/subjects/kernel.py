"""A Keyless kernel beside a plain ipykernel: its start, its cells, its memory, many at once."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from pathlib import Path

from benchmarks.cells import Cells
from benchmarks.measuring import in_turn, timed
from benchmarks.outcome import Curve, Group, Outcome
from benchmarks.stage import Stage
from jupyter_client.manager import AsyncKernelManager
from tests.support.leftovers import descendants

_KERNELS = {"plain ipykernel": "python3", "Keyless": "keyless"}


def start(stage: Stage) -> Outcome:
    """From the start to the first reply, one at a time."""

    def once(name: str) -> float:
        begun = time.perf_counter()
        with Cells(name) as cells:
            cells.run("1+1")
            return time.perf_counter() - begun

    stage.aws  # noqa: B018 - configures
    sides = {title: lambda name=name: once(name) for title, name in _KERNELS.items()}
    took = in_turn(sides, stage.rounds(20))
    found = Outcome([Group("kernel start to first reply", "s", took)])
    found.ratio("kernel.start", "Keyless ÷ plain", took["Keyless"], took["plain ipykernel"])
    return found


def cell(stage: Stage) -> Outcome:
    """``1+1`` and back, hundreds of times."""
    with stage.keyless() as keyless, stage.plain() as plain:
        sides = {
            "plain ipykernel": timed(lambda: plain.run("1+1")),
            "Keyless": timed(lambda: keyless.run("1+1")),
        }
        took = in_turn(sides, stage.rounds(500), warmup=10)
    found = Outcome([Group("cell round trip, 1+1", "s", took)])
    found.ratio("kernel.cell", "Keyless ÷ plain", took["Keyless"], took["plain ipykernel"])
    return found


def memory(stage: Stage) -> Outcome:
    """What the parts take (PSS: shared pages are counted in parts), idle and after commands."""
    parts: dict[str, list[float]] = {}
    for _ in range(min(stage.rounds(5), 5)):
        with stage.plain() as plain:
            plain.run("1+1")
            time.sleep(1)
            parts.setdefault("plain ipykernel", []).append(_tree(plain.kernel))
        with stage.keyless() as keyless:
            keyless.run("1+1")
            time.sleep(2)
            parts.setdefault("sidecar, idle", []).append(_tree(keyless.sidecar))
            parts.setdefault("sidecar's own process, idle", []).append(_pss(keyless.sidecar))
            parts.setdefault("kernel in its sandbox", []).append(_tree(keyless.kernel))
            parts.setdefault("supervisor", []).append(_pss(keyless.supervisor))
            for _ in range(4):
                keyless.run("%secure_exec aws sts get-caller-identity")
            time.sleep(2)
            parts.setdefault("sidecar, warm aws", []).append(_tree(keyless.sidecar))
    found = Outcome([Group("memory (PSS)", "MB", parts)])
    found.middle("memory.idle", "the idle sidecar and all below it", "MB", parts["sidecar, idle"])
    title = "the sidecar and its warm tools, after commands"
    found.middle("memory.warm", title, "MB", parts["sidecar, warm aws"])
    found.beyond(
        "memory.kernel",
        "kernel in its sandbox beyond plain ipykernel",
        "MB",
        parts["kernel in its sandbox"],
        parts["plain ipykernel"],
    )
    found.middle("memory.supervisor", "the supervisor", "MB", parts["supervisor"])
    return found


def crowd(stage: Stage) -> Outcome:
    """Many at once: from the first one's start to the last one's first reply."""
    most = 6 if stage.quick else 24
    stage.aws  # noqa: B018 - configures
    sides = {
        title: lambda name=name: asyncio.run(_many(name, most)) for title, name in _KERNELS.items()
    }
    took = in_turn(sides, 3, warmup=0)
    found = Outcome([Group(f"{most} kernels at once, start of all", "s", took)])
    if most == 24:
        found.ratio("crowd.start", "Keyless ÷ plain", took["Keyless"], took["plain ipykernel"])
    lines: dict[str, list[tuple[float, float]]] = {title: [] for title in _KERNELS}
    for count in (1, 2, 4, 8, 16):
        if count < most:
            for title, name in _KERNELS.items():
                lines[title].append((count, asyncio.run(_many(name, count))))
    for title, line in lines.items():
        line.append((most, sorted(took[title])[1]))
    found.curves.append(
        Curve("kernels", "Kernels started at once", "kernels", "seconds until all answered", lines)
    )
    return found


async def _many(name: str, count: int) -> float:
    managers = [AsyncKernelManager(kernel_name=name) for _ in range(count)]

    async def first_reply(manager: AsyncKernelManager) -> None:
        quiet = {"stderr": subprocess.DEVNULL} if name == "python3" else {}
        await manager.start_kernel(**quiet)
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=300)
            await client.execute_interactive("1+1", timeout=300, output_hook=lambda _: None)
        finally:
            client.stop_channels()

    begun = time.perf_counter()
    try:
        await asyncio.gather(*(first_reply(manager) for manager in managers))
        return time.perf_counter() - begun
    finally:
        await asyncio.gather(*(manager.shutdown_kernel(now=True) for manager in managers))


def _tree(pid: int) -> float:
    """MB (PSS) of a process and all below it."""
    return sum(_pss(each) for each in (pid, *descendants(pid)))


def _pss(pid: int) -> float:
    with contextlib.suppress(OSError):  # it ended meanwhile
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0
