"""The magics in a real ipykernel process: what a frontend gets as messages."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

import keyless
from keyless.protocol.messages import Cancel, Exec, Failed, Output

Channel = Any  # the fake sidecar of conftest.py


class Kernel:
    """A kernel process with one end of the channel; ``run`` gives what a frontend would see."""

    def __init__(self, folder: Path, channel: socket.socket) -> None:
        path, _ = write_connection_file(
            str(folder / "k.json"), ip=str(folder / "k"), transport="ipc", key=b"test"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ipykernel_launcher", "-f", path],
            pass_fds=[channel.fileno()],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "KEYLESS_CHANNEL_FD": str(channel.fileno()),
                "PYTHONPATH": str(Path(keyless.__file__).parents[1]),
                "JPY_PARENT_PID": str(os.getpid()),
            },
        )
        self.client = BlockingKernelClient()
        self.client.load_connection_file(path)
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
        """The reply's content, and each message on iopub."""
        shown: list[tuple[str, dict[str, Any]]] = []
        reply = self.client.execute_interactive(
            code,
            timeout=30,
            output_hook=lambda msg: shown.append((msg["msg_type"], msg["content"])),
        )
        return reply["content"], [m for m in shown if m[0] not in ("status", "execute_input")]

    def close(self) -> None:
        self.client.stop_channels()
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def kernel_and_channel(
    tmp_path_factory: pytest.TempPathFactory, make_sidecar: Any
) -> Iterator[tuple[Kernel, Channel]]:
    ours, theirs = socket.socketpair()
    kernel = Kernel(tmp_path_factory.mktemp("k"), ours)
    ours.close()
    sidecar = make_sidecar(theirs)
    assert kernel.run("%load_ext keyless")[0]["status"] == "ok"
    yield kernel, sidecar
    kernel.close()
    sidecar.thread.join()
    theirs.close()


def test_output_streams_and_the_result_is_rich(kernel_and_channel: tuple[Kernel, Channel]) -> None:
    kernel, _ = kernel_and_channel
    reply, shown = kernel.run("%%secure_exec aws\ns3 ls\n")
    assert reply["status"] == "ok"
    assert [kind for kind, _ in shown] == ["stream", "execute_result"]
    assert shown[0][1] == {"name": "stdout", "text": "s3 ls\n"}
    assert set(shown[1][1]["data"]) == {"text/plain", "text/html"}
    assert "s3 ls\n" not in shown[1][1]["data"]["text/plain"]


def test_quiet_shows_nothing(kernel_and_channel: tuple[Kernel, Channel]) -> None:
    kernel, _ = kernel_and_channel
    assert kernel.run("%%secure_exec aws --quiet --out r\ns3 ls\n")[1] == []
    assert kernel.run("r.stdout")[1][0][1]["data"]["text/plain"] == "'s3 ls\\n'"
    assert kernel.run("r")[1][0][1]["data"]["text/plain"].startswith("aws: done")


def test_errors_are_errors(kernel_and_channel: tuple[Kernel, Channel]) -> None:
    kernel, sidecar = kernel_and_channel
    sidecar.on_exec = lambda request: sidecar.send(
        Failed(id=request.id, kind="PolicyDenied", message="rule 3 says no", record_id="r")
    )
    for code, name in (
        ("%%secure_exec aws\niam create-user\n", "PolicyDenied"),
        ("%%secure_exec aws\ns3 ls | head\n", "InvalidRequest"),
        ("%%secure_exec aws", "InvalidRequest"),
    ):
        reply, shown = kernel.run(code)
        assert reply["status"] == "error"
        assert reply["ename"] == name
        assert reply["traceback"] == [f"{name}: {reply['evalue']}"]
        assert [kind for kind, _ in shown] == ["error"]
    sidecar.on_exec = sidecar.echo


def test_an_interrupt_cancels_and_the_kernel_goes_on(
    kernel_and_channel: tuple[Kernel, Channel],
) -> None:
    kernel, sidecar = kernel_and_channel

    def endless(request: Exec) -> None:
        sidecar.send(Output(id=request.id, stream="stdout", data="working\n"))
        threading.Timer(0.3, kernel.process.send_signal, (2,)).start()

    def when_cancelled() -> None:
        (cancel,) = sidecar.wait_for(Cancel)
        sidecar.send(Failed(id=cancel.id, kind="CommandCancelled", message="cancelled"))

    sidecar.on_exec = endless
    helper = threading.Thread(target=when_cancelled)
    helper.start()
    reply, shown = kernel.run("%%secure_exec aws\ns3 sync a b\n")
    helper.join()
    sidecar.on_exec = sidecar.echo
    assert reply["ename"] == "KeyboardInterrupt"
    assert reply["traceback"] == ["KeyboardInterrupt: the command was cancelled"]
    assert shown[0] == ("stream", {"name": "stdout", "text": "working\n"})
    assert kernel.run("%secure_exec aws s3 ls")[0]["status"] == "ok"


def test_completion_over_the_wire(kernel_and_channel: tuple[Kernel, Channel]) -> None:
    kernel, _ = kernel_and_channel
    code = "%%secure_exec aws --tim"
    reply = kernel.client.complete(code, reply=True, timeout=20)["content"]
    assert "--timeout" in reply["matches"]
