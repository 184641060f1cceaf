"""``python kills.py [N]``: kill -9 at random moments, N in all; nothing may be left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from common import CREDENTIALS, ROOT, groups, jupyter_home, text_of
from jupyter_client.manager import AsyncKernelManager
from tests.support.leftovers import (
    adopt_orphans,
    descendants,
    files_below,
    find,
    reap,
    the_sidecar,
    wait_until_gone,
)

HOST = ROOT / "tests" / "support" / "host.py"
COMMAND = "from keyless import secure_exec; secure_exec('leaky', ['ignore', '60'])"
#: Of N kills, parts for: host process, supervisor, sidecar at work, sidecar that starts a tool.
PARTS = (0.2, 0.1, 0.2, 0.5)


def kill_host(count: int, home: Path, moments: random.Random, *, supervisor: bool) -> int:
    bad = 0
    for _ in range(count):
        before = descendants()
        host = subprocess.Popen([sys.executable, str(HOST)], stdout=subprocess.PIPE)
        assert host.stdout is not None
        host.stdout.readline()
        deadline = time.monotonic() + 20
        while supervisor and not find("keyless_kernel.supervisor", host.pid):
            assert time.monotonic() < deadline, "no supervisor was started"
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 1.5))
        if supervisor:
            for pid in find("keyless_kernel.supervisor", host.pid):
                os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 20
            # Orphans come to this process: the host, which clears up, is given the time for it.
            while left := [
                line
                for pid, line in descendants().items()
                if pid not in before and pid != host.pid and "super" not in line
            ]:
                if time.monotonic() > deadline:
                    print("left by the supervisor's end:", left)
                    bad += 1
                    break
                time.sleep(0.02)
        host.kill()
        host.wait()
        host.stdout.close()
        if left := wait_until_gone(before):
            print("left:", left)
            bad += 1
        reap()
        if not supervisor:
            deadline = time.monotonic() + 10
            while files := [n for n in files_below(home / "runtime") if "keyless" in n]:
                if time.monotonic() > deadline:
                    print("files left:", files)
                    bad += 1
                    break
                time.sleep(0.02)
    return bad


async def kill_sidecars(count: int, moments: random.Random, *, spawning: bool) -> int:
    bad = 0
    manager = AsyncKernelManager(kernel_name="keyless")
    await manager.start_kernel(keyless_credentials=CREDENTIALS)
    client = manager.client()
    client.start_channels()
    for _ in range(count):
        await client.wait_for_ready(timeout=60)
        before = set(descendants())
        sidecar = the_sidecar()
        # The next cell must run although this one will fail.
        client.execute(COMMAND, stop_on_error=False)
        if spawning:
            deadline = time.monotonic() + 10
            while set(descendants()) <= before and time.monotonic() < deadline:
                pass
        await asyncio.sleep(moments.uniform(0, 0.04 if spawning else 0.4))
        os.kill(sidecar, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while left := set(descendants()) - (before - {sidecar}):
            if time.monotonic() > deadline:
                print("left:", {p: line for p, line in descendants().items() if p in left})
                bad += 1
                break
            await asyncio.sleep(0.01)
        if "SidecarUnavailable" not in (said := await text_of(client, "%keyless")):
            print("the kernel doesn't say that its sidecar is gone, but:", said)
            bad += 1
        await manager.restart_kernel(now=True)
    client.stop_channels()
    await manager.shutdown_kernel(now=True)
    return bad


async def main(count: int) -> int:
    adopt_orphans()
    before, others = descendants(), groups()
    seed = int(os.environ.get("KEYLESS_SEED", time.time_ns() % 10**6))
    moments = random.Random(seed)
    numbers = [round(count * part) for part in PARTS]
    bad = 0
    begin = time.monotonic()
    with jupyter_home() as home:
        bad += kill_host(numbers[0], home, moments, supervisor=False)
        bad += kill_host(numbers[1], home, moments, supervisor=True)
        bad += await kill_sidecars(numbers[2], moments, spawning=False)
        bad += await kill_sidecars(numbers[3], moments, spawning=True)
        left = wait_until_gone(before)
    with contextlib.suppress(ChildProcessError):
        reap()
    print(
        f"{sum(numbers)} kills (seed {seed}): host {numbers[0]}, supervisor {numbers[1]}, sidecar "
        f"{numbers[2]}, sidecar while it starts a tool {numbers[3]}; {bad} left something; "
        f"processes left: {left or 'none'}; control groups {others} before, {groups()} after; "
        f"{time.monotonic() - begin:.0f} s"
    )
    return 1 if bad or left else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)))
