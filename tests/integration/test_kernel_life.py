"""A kernel's life, through jupyter_client as every launcher uses it: nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from tests.support.leftovers import adopt_orphans, descendants, files_below, wait_until_gone

from keyless_kernel.launcher import REFUSAL
from keyless_kernel.provisioner import KernelStartRefused

Kernel = tuple[AsyncKernelManager, AsyncKernelClient]


@asynccontextmanager
async def kernel(**options: Any) -> AsyncIterator[Kernel]:
    manager = AsyncKernelManager(kernel_name="keyless")
    await manager.start_kernel(**options)
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)
        yield manager, client
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


async def run(client: AsyncKernelClient, code: str, **options: Any) -> dict[str, Any]:
    """Execute code; its printed text, result and error.  ``options`` are ``execute``'s."""
    said: dict[str, Any] = {"text": "", "result": None, "error": None}

    def collect(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            said["text"] += content["text"]
        elif message["msg_type"] == "execute_result":
            said["result"] = content["data"]["text/plain"]
        elif message["msg_type"] == "error":
            said["error"] = content["ename"]

    await client.execute_interactive(code, output_hook=collect, timeout=60, **options)
    return said


async def test_cells_run_unprivileged_in_their_own_workspace(
    jupyter_home: Path, sandbox_user: int
) -> None:
    async with kernel() as (_, client):
        said = await run(client, "import os; open('made','w').close(); (os.getuid(), os.getcwd())")
        assert said["result"] == f"({sandbox_user}, '/workspace')"
        (made,) = (jupyter_home / "runtime" / "keyless-workspaces").glob("*/made")
        assert made.stat().st_uid == sandbox_user
    assert files_below(jupyter_home / "runtime") == []


async def test_the_private_folders_are_private(jupyter_home: Path) -> None:
    async with kernel():
        (folder,) = (jupyter_home / "runtime" / "keyless").iterdir()
        for path in (folder, folder / "s", folder / "scratch"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700


async def test_the_environment_is_clean(
    jupyter_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-server")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent")
    monkeypatch.setenv("LC_TIME", "C.UTF-8")
    (jupyter_home / "config" / "jupyter_keyless_config.py").write_text(
        "c.Confinement.environment = {'GREETING': 'hello'}\n"
    )
    async with kernel() as (_, client):
        said = await run(client, "import os; print(dict(os.environ))")
    assert "of-the-server" not in said["text"]
    assert "SSH_AUTH_SOCK" not in said["text"]
    assert "'LC_TIME': 'C.UTF-8'" in said["text"]
    assert "'GREETING': 'hello'" in said["text"]


async def test_interrupt_leaves_the_kernel_usable(jupyter_home: Path) -> None:
    async with kernel() as (manager, client):
        started = time.monotonic()
        cell = client.execute("import time; print('runs', flush=True); time.sleep(60)")
        # Not before: ipykernel itself loses an interrupt that comes between message and cell.
        while (await client.get_iopub_msg(timeout=30))["msg_type"] != "stream":
            pass
        await manager.interrupt_kernel()
        reply = await client.get_shell_msg(timeout=30)
        while reply["parent_header"].get("msg_id") != cell:
            reply = await client.get_shell_msg(timeout=30)
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        assert time.monotonic() - started < 30
        # requests right behind a failed cell are aborted, as in every kernel
        deadline = time.monotonic() + 10
        while (await run(client, "1+1"))["result"] != "2":
            assert time.monotonic() < deadline


async def test_a_signal_reaches_the_kernel_process(jupyter_home: Path) -> None:
    async with kernel() as (manager, client):
        await run(
            client,
            "import signal; got = []; signal.signal(signal.SIGUSR1, lambda *_: got.append(1))",
        )
        await manager.signal_kernel(10)
        deadline = time.monotonic() + 10
        while (await run(client, "got"))["result"] != "[1]":
            assert time.monotonic() < deadline


async def test_restart_keeps_the_workspace_and_renews_the_rest(jupyter_home: Path) -> None:
    others = set(descendants())
    async with kernel() as (manager, client):
        await run(client, "x = 1; open('kept', 'w').write('yes')")
        before = set(descendants()) - others
        await manager.restart_kernel(now=True)
        await client.wait_for_ready(timeout=60)
        assert (await run(client, "open('kept').read()"))["result"] == "'yes'"
        assert (await run(client, "x"))["error"] == "NameError"
        # the supervisor stays; sidecar, bubblewrap and kernel are new ones
        after = set(descendants()) - others
        assert len(before & after) == 1
        assert len(after) == len(before)
    assert files_below(jupyter_home / "runtime") == []


async def test_a_crash_is_noticed_and_can_be_restarted(jupyter_home: Path) -> None:
    async with kernel() as (manager, client):
        client.execute("import os; os._exit(7)")
        deadline = time.monotonic() + 20
        while await manager.is_alive():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        assert (await run(client, "1+1"))["result"] == "2"


async def test_daemons_that_cells_start_end_with_the_kernel(jupyter_home: Path) -> None:
    adopt_orphans()
    before = descendants()
    async with kernel() as (_, client):
        await run(
            client,
            "import os, subprocess\n"
            "for _ in range(5):\n"
            "    subprocess.Popen(['setsid', 'nohup', 'sleep', '600'], start_new_session=True)\n",
        )
        deadline = time.monotonic() + 10
        while sum("sleep 600" in line for line in descendants().values()) != 5:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert wait_until_gone(before) == {}


async def test_no_folder_is_too_deep_or_too_closed_to_be_removed(jupyter_home: Path) -> None:
    async with kernel() as (_, client):
        code = "import os\nfor _ in range(3000):\n    os.mkdir('d'); os.chdir('d')\n"
        assert (await run(client, code))["error"] is None
        assert (await run(client, "os.mkdir('/workspace/closed', 0)"))["error"] is None
    assert files_below(jupyter_home / "runtime") == []


async def test_two_kernels_do_not_see_each_other(jupyter_home: Path) -> None:
    async with kernel() as (_, one), kernel() as (_, two):
        await run(one, "open('/workspace/of-one', 'w').close(); open('/tmp/of-one', 'w').close()")
        said = await run(two, "import os; print(os.listdir('/workspace'), os.listdir('/tmp'))")
        assert "of-one" not in said["text"]
        said = await run(two, "len([n for n in os.listdir('/proc') if n.isdigit()])")
        assert said["result"] == "2"


async def test_a_configured_workspace_stays(jupyter_home: Path, sandbox_user: int) -> None:
    workspace = jupyter_home / "project"
    (jupyter_home / "config" / "jupyter_keyless_config.py").write_text(
        f"c.Confinement.workspace = {str(workspace)!r}\n"
    )
    async with kernel() as (_, client):
        await run(client, "open('result', 'w').write('stays')")
    assert (workspace / "result").read_text() == "stays"
    assert files_below(jupyter_home / "runtime") == []


async def refused(**options: Any) -> str:
    adopt_orphans()
    before = descendants()
    manager = AsyncKernelManager(kernel_name="keyless")
    with pytest.raises(KernelStartRefused) as error:
        await manager.start_kernel(**options)
    assert wait_until_gone(before) == {}
    return str(error.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's own folders are always writable")
async def test_a_workspace_of_another_user_is_refused(jupyter_home: Path) -> None:
    (jupyter_home / "mine").mkdir()
    said = await refused(keyless_workspace=str(jupyter_home / "mine"))
    assert "chown -R" in said


def break_config(home: Path) -> None:
    (home / "config" / "jupyter_keyless_config.py").write_text("c.Confinement.minimum = (\n")


def unknown_option(home: Path) -> None:
    (home / "config" / "jupyter_keyless_config.py").write_text("c.Confinement.minimun = 'x'\n")


def no_bubblewrap(home: Path) -> None:
    (home / "config" / "jupyter_keyless_config.py").write_text(
        "c.Confinement.bwrap = '/no/bwrap'\n"
    )


def wrong_section(home: Path) -> None:
    (home / "config" / "jupyter_keyless_config.py").write_text("c.Tools.nonsense = 1\n")


def audit_not_writable(home: Path) -> None:
    (home / "data" / "keyless").mkdir(parents=True, mode=0o700)
    (home / "data" / "keyless" / "audit").write_text("in the way")


def workspace_shows_the_vault(home: Path) -> None:
    (home / "config" / "jupyter_keyless_config.py").write_text(
        f"c.Confinement.workspace = {str(home)!r}\n"
    )
    os.chown(home, 61000 if os.geteuid() == 0 else os.geteuid(), -1)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (break_config, "SyntaxError"),
        (unknown_option, "minimun does not exist"),
        (no_bubblewrap, "/no/bwrap"),
        (wrong_section, "nonsense"),
        (audit_not_writable, "audit"),
        (workspace_shows_the_vault, "JUPYTER_DATA_DIR"),
    ],
)
async def test_no_start_and_one_clear_error(
    jupyter_home: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(jupyter_home)
    message = await refused()
    assert re.search(said, message), message
    assert "\n" not in message.strip()
    assert [name for name in files_below(jupyter_home / "runtime") if "keyless" in name] == []


def test_run_without_its_provisioner_the_kernel_refuses(tmp_path: Path) -> None:
    connection = tmp_path / "kernel.json"
    connection.write_text(json.dumps({"transport": "tcp", "ip": "127.0.0.1", "key": "k"}))
    answer = subprocess.run(
        [sys.executable, "-P", "-m", "keyless_kernel.launcher", "-f", str(connection)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 2
    assert answer.stderr.strip() == REFUSAL
