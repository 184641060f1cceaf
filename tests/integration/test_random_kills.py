"""kill -9 at random moments of a kernel's life: no process, socket or folder is left.

``KEYLESS_KILLS`` sets how many of each kind (default 12, of the Jupyter server a third).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
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

KILLS = int(os.environ.get("KEYLESS_KILLS", "12"))
START_KERNEL = """
import contextlib, http.client, sys, urllib.request
headers = {"Authorization": "token t"}
request = urllib.request.Request(sys.argv[1], b'{"name": "keyless"}', headers)
with contextlib.suppress(OSError, http.client.HTTPException):
    urllib.request.urlopen(request, timeout=60)
"""
HOST = Path(__file__).parent.parent / "support" / "host.py"


def assert_nothing_is_left(home: Path, before: dict[int, str]) -> None:
    left = wait_until_gone(before)
    assert left == {}
    deadline = time.monotonic() + 10
    while ours := [n for n in files_below(home / "runtime") if "kernel-" in n or "keyless" in n]:
        assert time.monotonic() < deadline, ours
        time.sleep(0.02)
    reap()


@contextlib.contextmanager
def starting_host() -> Iterator[subprocess.Popen[str]]:
    """A host that is about to start a kernel; it is killed at the end."""
    argv = [sys.executable, str(HOST)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        host.stdout.readline()
        try:
            yield host
        finally:
            host.kill()


@pytest.mark.timeout(600)
def test_the_process_that_holds_the_provisioner(jupyter_home: Path) -> None:
    adopt_orphans()
    moments = random.Random(20)
    for _ in range(KILLS):
        before = descendants()
        with starting_host():
            time.sleep(moments.uniform(0, 1.5))
        assert_nothing_is_left(jupyter_home, before)


@pytest.mark.timeout(600)
def test_the_supervisor(jupyter_home: Path) -> None:
    """Nobody else would clean up after it but the host, which must see a dead kernel."""
    adopt_orphans()
    moments = random.Random(21)
    for _ in range(KILLS):
        before = descendants()
        with starting_host() as host:
            time.sleep(moments.uniform(0.2, 1.5))
            for pid in find("keyless_kernel.supervisor", host.pid):
                os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 20
            # Orphans come to this process: the host, which clears up, is given the time for it.
            while left := {
                pid: line
                for pid, line in descendants().items()
                if pid not in before and pid != host.pid and "supervisor" not in line
            }:
                assert time.monotonic() < deadline, left
                time.sleep(0.02)
        assert wait_until_gone(before) == {}
        reap()


@pytest.mark.timeout(600)
async def test_the_sidecar(jupyter_home: Path) -> None:
    """The kernel lives on and says what happened; a restart brings a new sidecar."""
    adopt_orphans()
    before = descendants()
    moments = random.Random(22)
    manager = AsyncKernelManager(kernel_name="keyless")
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    for _ in range(KILLS):
        await client.wait_for_ready(timeout=60)
        code = "%keyless" if moments.random() < 0.5 else "1+1"
        # Else the kernel could abort the next cell too, which is sent so soon after the error.
        running = client.execute(code, stop_on_error=False)
        await asyncio.sleep(moments.uniform(0, 0.2))
        sidecar = the_sidecar(before)
        os.kill(sidecar, signal.SIGKILL)
        while (await client.get_shell_msg(timeout=30))["parent_header"].get("msg_id") != running:
            pass
        errors: list[str] = []
        await client.execute_interactive(
            "%keyless",
            output_hook=lambda message, errors=errors: (  # type: ignore[misc]
                errors.append(message["content"]["ename"] + ": " + message["content"]["evalue"])
                if message["msg_type"] == "error"
                else None
            ),
            timeout=30,
        )
        assert len(errors) == 1
        assert errors[0].startswith("SidecarUnavailable: ")
        assert "restart" in errors[0].lower()
        await manager.restart_kernel(now=True)
    client.stop_channels()
    await manager.shutdown_kernel(now=True)
    assert_nothing_is_left(jupyter_home, before)


@pytest.mark.timeout(600)
def test_the_jupyter_server(jupyter_home: Path) -> None:
    adopt_orphans()
    moments = random.Random(23)
    for _ in range(max(KILLS // 3, 2)):
        before = descendants()
        arguments = ["--ServerApp.port=0", "--IdentityProvider.token=t", "--no-browser"]
        if os.geteuid() == 0:
            arguments.append("--allow-root")
        log = jupyter_home / "server.log"
        with log.open("w") as output:
            server = subprocess.Popen(
                [sys.executable, "-m", "jupyter_server", *arguments],
                stdout=output,
                stderr=output,
                cwd=jupyter_home,
            )
        address = wait_for_address(jupyter_home / "runtime", server)
        starter = subprocess.Popen([sys.executable, "-c", START_KERNEL, f"{address}api/kernels"])
        time.sleep(moments.uniform(0, 2))
        server.kill()
        server.wait()
        starter.wait()
        assert_nothing_is_left(jupyter_home, before)


def wait_for_address(runtime: Path, server: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    file = runtime / f"jpserver-{server.pid}.json"
    while True:
        assert time.monotonic() < deadline
        assert server.poll() is None
        try:
            return str(json.loads(file.read_text())["url"])
        except (FileNotFoundError, ValueError):
            time.sleep(0.05)
