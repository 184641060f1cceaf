"""``jupyter keyless pending``, ``approve`` and ``deny`` at a real kernel."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager
from tests.support.policies import ASKS_ONCE, write_policy

CELL = """
from keyless import secure_exec
print(secure_exec("leaky", ["argv", "approve-me"], raise_error=False).stdout)
"""


@pytest.fixture
def kernel(jupyter_home: Path) -> Iterator[KernelManager]:
    """A kernel whose person looks in at the terminal."""
    tool = Path(__file__).parent.parent / "support" / "leaky.py"
    write_policy(jupyter_home / "config" / "keyless" / "policy.cedar", ASKS_ONCE)
    (jupyter_home / "config" / "jupyter_keyless_config.py").write_text(
        f"c.Tools.declared = {{'leaky': {{'path': {str(tool)!r}, 'delivery': 'none'}}}}\n"
        "c.Approvals.terminal = True\n"
    )
    manager = KernelManager(kernel_name="keyless")
    manager.start_kernel()
    yield manager
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


def keyless(*words: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; from keyless.cli.app import main; sys.exit(main({list(words)!r}))"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )


def waiting() -> str:
    """The id of the one question, once there is one."""
    for _ in range(100):
        shown = keyless("pending").stdout
        if shown:
            assert "leaky argv approve-me" in shown
            assert "It changes something. (rule policy.cedar:careful)" in shown
            return shown.split()[0]
        time.sleep(0.1)
    raise TimeoutError("nothing waits")


def test_at_the_terminal(kernel: KernelManager) -> None:
    client = kernel.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        for word, said in (("approve", "approve-me"), ("deny", "A person denied it: no")):
            client.execute(CELL)
            question = waiting()
            more = ["--reason", "no"] if word == "deny" else []
            answer = keyless(word, question, *more)
            assert answer.returncode == 0, answer.stderr
            texts = ""
            while said not in texts:
                message = client.get_iopub_msg(timeout=30)
                texts += str(message["content"])
            again = keyless(word, question)
            assert again.returncode == 1
            assert "no question" in again.stderr
        assert keyless("pending", "--kernel", "zzz").returncode == 1
    finally:
        client.stop_channels()
