"""``keyless.host`` as a program uses it: real kernels, one for the whole file where it can be."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.host_api import World, world
from tests.support.leftovers import adopt_orphans, descendants, files_below, reap, wait_until_gone

from keyless import CommandTimeout, InvalidRequest, PolicyDenied, ToolNotFound
from keyless.host import (
    CellTimeout,
    Output,
    SandboxDied,
    SandboxError,
    SandboxFileError,
    SecureSandbox,
    SecureSandboxSync,
)
from keyless.magics.results import ExecResult

pytestmark = pytest.mark.asyncio(loop_scope="module")
WHO = "aws sts get-caller-identity"
#: Two sandboxes at once, each with a daemon that a cell left behind.
HOST = """
import asyncio
from keyless.host import SecureSandbox

async def one():
    async with SecureSandbox() as sandbox:
        await sandbox.exec("setsid sleep 600 >&- 2>&- &")
        ready.release()
        await asyncio.sleep(600)

async def main():
    both = asyncio.gather(one(), one())
    await ready.acquire()
    await ready.acquire()
    print("ready", flush=True)
    await both

ready = asyncio.Semaphore(0)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(here: World) -> AsyncIterator[SecureSandbox]:
    async with SecureSandbox(credentials=[here.credential()]) as running:
        yield running


# --------------------------------------------------------------------------- cells


async def test_a_cell_gives_its_outputs_in_order(sandbox: SecureSandbox) -> None:
    result = await sandbox.run_cell("print('a'); print('b'); 6 * 7")
    assert [(output.kind, output.text) for output in result.outputs] == [
        ("stdout", "a\nb\n"),
        ("result", "42"),
    ]
    assert result.ok
    assert result.execution_count > 0


async def test_an_exception_is_part_of_the_result(sandbox: SecureSandbox) -> None:
    result = await sandbox.run_cell("print('before')\n1 / 0")
    assert result.error is not None
    assert result.error.text == "ZeroDivisionError: division by zero"
    assert "before" in result.text
    assert "\x1b" not in result.error.traceback


async def test_outputs_come_while_the_cell_runs(sandbox: SecureSandbox) -> None:
    code = "import time\nprint('on', flush=True)\ntime.sleep(30)"
    async with contextlib.aclosing(sandbox.stream_cell(code)) as outputs:
        async for output in outputs:
            assert output.kind == "stdout"
            assert output.text.startswith("on")
            break
    # leaving it interrupted the cell, so the next one runs at once
    assert (await sandbox.run_cell("1", timeout=10)).text == "1\n"


async def test_a_cell_ends_at_its_time_limit(sandbox: SecureSandbox) -> None:
    with pytest.raises(CellTimeout, match=r"0\.3 seconds"):
        await sandbox.run_cell("import time; time.sleep(30)", timeout=0.3)
    assert (await sandbox.run_cell("'on'", timeout=10)).text == "'on'\n"


async def test_cancelling_a_task_interrupts_its_cell(sandbox: SecureSandbox) -> None:
    task = asyncio.create_task(sandbox.exec("echo begun > flag; sleep 60"))
    while not (sandbox.workspace / "flag").exists():
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "sleep 60" not in (await sandbox.exec("ps ax -o args")).stdout


async def test_tasks_take_turns(sandbox: SecureSandbox) -> None:
    results = await asyncio.gather(*(sandbox.run_cell(f"print({n})") for n in range(5)))
    assert [result.text for result in results] == [f"{n}\n" for n in range(5)]


# --------------------------------------------------------------------------- commands, variables


async def test_a_plain_command_runs_without_secrets(sandbox: SecureSandbox, here: World) -> None:
    done = await sandbox.exec("env; cat; exit 3", stdin="typed", env={"GREETING": "hello"})
    assert (done.exit_code, done.ok) == (3, False)
    assert "GREETING=hello" in done.stdout
    assert done.stdout.endswith("typed")
    assert not here.holds_key(done.stdout)
    assert (await sandbox.exec(["printf", "%s", "$HOME"])).stdout == "$HOME"


async def test_a_plain_command_ends_at_its_time_limit(sandbox: SecureSandbox) -> None:
    with pytest.raises(CommandTimeout) as caught:
        await sandbox.exec("echo first; sleep 30", timeout=0.5)
    assert caught.value.result.stdout == "first\n"


async def test_variables_stay(sandbox: SecureSandbox) -> None:
    await sandbox.set_env_vars({"STAGE": "test"})
    assert (await sandbox.exec("echo $STAGE")).stdout == "test\n"
    assert (await sandbox.run_cell("import os; os.environ['STAGE']")).text == "'test'\n"


# --------------------------------------------------------------------------- secured commands


async def test_a_secured_command_acts_with_the_key(sandbox: SecureSandbox, here: World) -> None:
    result = await sandbox.exec_secure(WHO, credentials=["aws"], timeout=30)
    assert result.json()["Arn"] == here.aws.user_arn
    assert result.record_id


async def test_its_output_comes_while_it_runs(sandbox: SecureSandbox, here: World) -> None:
    pieces = [piece async for piece in sandbox.stream_secure(["aws", "sts", "get-caller-identity"])]
    *outputs, result = pieces
    assert here.aws.user_arn in "".join(o.text for o in outputs if isinstance(o, Output))
    assert isinstance(result, ExecResult)
    assert result.ok


async def test_a_failing_command_is_a_result(sandbox: SecureSandbox) -> None:
    result = await sandbox.exec_secure("aws s3api head-object --bucket pictures --key none")
    assert result.exit_code not in (0, None)
    assert "404" in result.stderr


async def test_what_is_refused_is_raised_with_its_record(sandbox: SecureSandbox) -> None:
    with pytest.raises(PolicyDenied) as caught:
        await sandbox.exec_secure("aws iam create-access-key --user-name me")
    assert caught.value.record_id
    with pytest.raises(ToolNotFound):
        await sandbox.exec_secure("no-such-tool --version")
    with pytest.raises(InvalidRequest, match="one command a line"):
        await sandbox.exec_secure("aws s3 ls; env")


# --------------------------------------------------------------------------- files


async def test_files_go_both_ways(sandbox: SecureSandbox, tmp_path: Path) -> None:
    await sandbox.write_file("deep/down/text.txt", "héllo")
    assert (await sandbox.exec("cat deep/down/text.txt")).stdout == "héllo"
    await sandbox.exec("printf '\\0\\377' > deep/binary")
    assert await sandbox.read_file("deep/binary") == b"\0\xff"
    assert [(f.name, f.kind) for f in await sandbox.list_files("deep")] == [
        ("binary", "file"),
        ("down", "folder"),
    ]
    large = tmp_path / "large"
    large.write_bytes(os.urandom(5_000_000))
    await sandbox.write_file("large", large)
    assert await sandbox.read_file("/workspace/large") == large.read_bytes()
    with pytest.raises(SandboxFileError, match="larger than 10 bytes"):
        await sandbox.read_file("large", max_size=10)
    told: list[tuple[int, int]] = []
    back = tmp_path / "back"
    size = await sandbox.fetch_file("large", back, progress=lambda *so_far: told.append(so_far))
    assert size == 5_000_000
    assert back.read_bytes() == large.read_bytes()
    assert told[-1] == (size, size)
    assert len(told) > 1


async def test_a_fetch_that_ends_early_leaves_the_old_file(
    sandbox: SecureSandbox, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    await sandbox.write_file("large", os.urandom(5_000_000))

    def stop(done: int, size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await sandbox.fetch_file("large", target, progress=stop)
    with pytest.raises(SandboxFileError):
        await sandbox.fetch_file("missing", target)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


async def test_a_cell_cannot_lead_the_host_astray(sandbox: SecureSandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    await sandbox.exec(f"ln -s {secret} link; ln -s {tmp_path} folder; mkfifo pipe")
    for path in ("link", "folder/secret", "pipe", "../secret", str(secret)):
        with pytest.raises(SandboxFileError):
            await sandbox.read_file(path)
        with pytest.raises(SandboxFileError):
            await sandbox.fetch_file(path, tmp_path / "fetched")
        with pytest.raises(SandboxFileError):
            await sandbox.write_file(path, "changed")
    with pytest.raises(SandboxFileError):
        await sandbox.write_file("folder/new", "made")
    assert secret.read_text() == "of the host"
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


# --------------------------------------------------------------------------- life


async def test_a_dead_kernel_is_said_and_can_be_restarted(sandbox: SecureSandbox) -> None:
    await sandbox.set_env_vars({"KEPT": "yes"})
    with pytest.raises(SandboxDied, match="restart"):
        await sandbox.run_cell("import os; os._exit(7)")
    with pytest.raises(SandboxDied):
        await sandbox.run_cell("1")
    await sandbox.restart()
    assert (await sandbox.exec("echo $KEPT")).stdout == "yes\n"


async def test_a_cell_that_ignores_interrupts_is_ended_by_a_restart(
    sandbox: SecureSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyless.host.cells._GRACE", 1.0)
    stubborn = "import time\nwhile True:\n  try: time.sleep(60)\n  except KeyboardInterrupt: pass"
    with pytest.raises(CellTimeout):
        await sandbox.run_cell(stubborn, timeout=0.3)
    with pytest.raises(SandboxError, match="restart"):
        await sandbox.run_cell("1")
    await sandbox.restart()
    assert (await sandbox.run_cell("2")).text == "2\n"


async def test_a_kernel_that_floods_does_not_fill_the_host(
    sandbox: SecureSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyless.host.inbox.MAX_OUTPUT", 10_000)
    result = await sandbox.run_cell("for _ in range(50): print('x' * 1000, flush=True)\n7")
    assert result.truncated
    assert len(result.text) <= 10_000


async def test_nothing_is_left_after_an_exception_or_a_cancel(here: World) -> None:
    before, files = descendants(), files_below(here.home / "runtime")
    with pytest.raises(ZeroDivisionError):
        async with SecureSandbox():
            raise ZeroDivisionError

    async def work() -> None:
        async with SecureSandbox() as sandbox:
            await sandbox.run_cell("import time; time.sleep(60)")

    task = asyncio.create_task(work())
    await asyncio.sleep(1)  # in its start or in its cell: both have to end
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert wait_until_gone(before) == {}
    assert files_below(here.home / "runtime") == files


async def test_a_start_that_is_refused_says_why(here: World) -> None:
    with pytest.raises(SandboxError, match=r"c\.Confinement\.nonsense does not exist"):
        async with SecureSandbox(config={"Confinement": {"nonsense": 1}}):
            pass


async def test_a_host_that_is_killed_takes_all_with_it(here: World) -> None:
    adopt_orphans()
    before, files = descendants(), files_below(here.home / "runtime")
    host = subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE)
    assert host.stdout is not None
    with host.stdout:
        assert await asyncio.to_thread(host.stdout.readline) == b"ready\n"
        deadline = time.monotonic() + 10
        while sum(line.startswith("sleep 600") for line in descendants().values()) != 2:
            assert time.monotonic() < deadline
        started = descendants()
        assert sum("keyless_sidecar serve" in line for line in started.values()) >= 2
        host.kill()
        host.wait()
    assert await asyncio.to_thread(wait_until_gone, before) == {}
    reap()
    deadline = time.monotonic() + 10
    while files_below(here.home / "runtime") != files:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_the_synchronous_face(here: World) -> None:
    def use() -> None:
        with SecureSandboxSync(credentials=[here.credential()]) as sandbox:
            sandbox.write_file("a.txt", "text")
            assert [file.name for file in sandbox.list_files()] == ["a.txt"]
            assert sandbox.read_file("a.txt") == b"text"
            assert sandbox.exec("cat a.txt").stdout == "text"
            assert sandbox.exec_secure(WHO).json()["Arn"] == here.aws.user_arn
            for output in sandbox.stream_cell("print(1, flush=True)\nimport time; time.sleep(30)"):
                assert output.text.startswith("1")
                break
            began = time.monotonic()
            assert sandbox.run_cell("3").text == "3\n"
            assert time.monotonic() - began < 10

    before = descendants()
    await asyncio.to_thread(use)
    assert wait_until_gone(before) == {}


async def test_an_operation_is_called_without_a_tool(sandbox: SecureSandbox, here: World) -> None:
    assert (await sandbox.call("sts", "get_caller_identity"))["Arn"] == here.aws.user_arn
    count = await sandbox.call("s3", "list_objects_v2", Bucket="pictures", query="KeyCount")
    assert count == 0
    with pytest.raises(PolicyDenied) as caught:
        await sandbox.call("iam", "create_access_key", UserName="me")
    assert caught.value.record_id
