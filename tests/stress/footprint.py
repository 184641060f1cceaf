"""``python footprint.py [N]``: what a kernel costs beyond plain ipykernel, mean of N."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections import defaultdict

from common import jupyter_home, share
from jupyter_client.manager import AsyncKernelManager
from tests.support.leftovers import descendants

#: Part of a command line → name in the table; the first that fits.
ROLES = {
    "bwrap": "bubblewrap",
    "keyless_kernel.supervisor": "supervisor",
    "keyless_sidecar": "sidecar",
    "keyless_kernel.launcher": "kernel",
    "ipykernel_launcher": "kernel",
}


async def measure(name: str) -> tuple[dict[str, float], float]:
    """MiB by role, and seconds to the first answer."""
    before = descendants()
    begin = time.monotonic()
    manager = AsyncKernelManager(kernel_name=name)
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)
        took = time.monotonic() - begin
        await client.execute_interactive("1+1", timeout=60)
        await asyncio.sleep(1)
        sizes: dict[str, float] = defaultdict(float)
        for pid, line in descendants().items():
            if pid not in before:
                role = next((role for part, role in ROLES.items() if part in line), "other")
                sizes[role] += share(pid) / 1024
        return sizes, took
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


async def main(count: int) -> int:
    means: dict[str, dict[str, float]] = {}
    with jupyter_home():
        for name in ("python3", "keyless"):
            rounds = [await measure(name) for _ in range(count)]
            roles = sorted({role for sizes, _ in rounds for role in sizes})
            means[name] = {
                role: statistics.mean(sizes[role] for sizes, _ in rounds) for role in roles
            }
            took = statistics.median(took for _, took in rounds)
            parts = ", ".join(f"{role} {size:.1f}" for role, size in means[name].items())
            print(
                f"{name}: {sum(means[name].values()):.1f} MiB ({parts}); first answer {took:.2f} s"
            )
    beyond = sum(means["keyless"].values()) - sum(means["python3"].values())
    print(f"a Keyless kernel costs {beyond:.1f} MiB beyond plain ipykernel (PSS, mean of {count})")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)))
