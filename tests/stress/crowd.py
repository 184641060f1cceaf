"""``python crowd.py [N]``: N kernels at once, each with its sidecar; each must run a tool."""

from __future__ import annotations

import asyncio
import sys
import time

from common import CREDENTIALS, groups, jupyter_home, share, text_of
from jupyter_client.manager import AsyncKernelManager
from tests.support.leftovers import adopt_orphans, descendants, files_below, wait_until_gone

TOOL = "from keyless import secure_exec; print(secure_exec('leaky', ['rc', '0']).exit_code)"


async def one(number: int) -> tuple[AsyncKernelManager, str, float]:
    begin = time.monotonic()
    manager = AsyncKernelManager(kernel_name="keyless")
    await manager.start_kernel(keyless_credentials=CREDENTIALS)
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=300)
        said = await text_of(client, f"{number}*{number}", timeout=300)
        took = time.monotonic() - begin
        said += " " + (await text_of(client, TOOL, timeout=300)).strip().splitlines()[-1]
        return manager, said, took
    finally:
        client.stop_channels()


async def main(count: int) -> int:
    adopt_orphans()
    before, others = descendants(), groups()
    with jupyter_home() as home:
        begin = time.monotonic()
        kernels = await asyncio.gather(*(one(number) for number in range(count)))
        took = time.monotonic() - begin
        wrong = [said for n, (_, said, _) in enumerate(kernels) if said != f"{n * n} 0"]
        running = {pid: line for pid, line in descendants().items() if pid not in before}
        sidecars = sum("keyless_sidecar" in line for line in running.values())
        memory = sum(share(pid) for pid in running) / 1024
        await asyncio.gather(*(manager.shutdown_kernel(now=True) for manager, _, _ in kernels))
        left = wait_until_gone(before)
        files = files_below(home / "runtime")
    slowest = max(first for _, _, first in kernels)
    print(
        f"{count} kernels at once with {sidecars} sidecars: all answered and ran a tool after "
        f"{took:.1f} s (slowest first answer {slowest:.1f} s), {len(running)} processes, "
        f"{memory:.0f} MiB in all; wrong: {wrong or 'none'}; left: {left or 'no process'}, "
        f"{files or 'no file'}; control groups {others} before, {groups()} after"
    )
    return 1 if wrong or left or files or sidecars != count else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 24)))
