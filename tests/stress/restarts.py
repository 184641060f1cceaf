"""``python restarts.py [N]``: restart one kernel N times; nothing may grow."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from common import descriptors, groups, jupyter_home, share, text_of
from jupyter_client.manager import AsyncKernelManager
from tests.support.leftovers import adopt_orphans, descendants, files_below, wait_until_gone

#: Memory in KiB by which a process may differ between the first and the last look.
SLACK = 2048


def look(home: Path) -> dict[str, int]:
    running = descendants()
    (supervisor,) = [pid for pid, line in running.items() if "keyless_kernel.supervisor" in line]
    return {
        "processes": len(running),
        "supervisor descriptors": descriptors(supervisor),
        "host descriptors": descriptors(os.getpid()),
        "files": len(files_below(home / "runtime")),
        "groups": groups(),
        "supervisor KiB": share(supervisor),
        "host KiB": share(os.getpid()),
    }


async def main(count: int) -> int:
    adopt_orphans()
    before = descendants()
    others = groups()
    looks: list[dict[str, int]] = []
    with jupyter_home() as home:
        manager = AsyncKernelManager(kernel_name="keyless")
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        await client.wait_for_ready(timeout=60)
        begin = time.monotonic()
        for number in range(1, count + 1):
            await manager.restart_kernel(now=True)
            await client.wait_for_ready(timeout=60)
            if number % max(count // 20, 1) == 0 or number == 5:
                if await text_of(client, "6*7") != "42":
                    print("no answer after restart", number)
                    return 1
                looks.append(look(home))
                took = (time.monotonic() - begin) / number
                print(f"{number:5} {took:.2f} s each", looks[-1], flush=True)
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
        left = wait_until_gone(before)
        files = files_below(home / "runtime")
    first, last = looks[0], looks[-1]
    grown = {
        name: (first[name], last[name])
        for name in first
        if name != "groups" and last[name] > first[name] + (SLACK if "KiB" in name else 0)
    }
    # Other Keyless kernels of this machine may come and go.
    print(
        f"{count} restarts; grown: {grown or 'nothing'}; processes left: {left or 'none'}; "
        f"files left: {files or 'none'}; control groups {others} before, {groups()} after"
    )
    return 1 if grown or left or files else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)))
