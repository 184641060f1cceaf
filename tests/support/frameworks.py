"""Other people's frameworks, in their own environment, as programs that a test runs."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.host_api import ROOT, World

FOLDER = ROOT / ".venv-frameworks"
BIN = FOLDER / "bin"
TOKEN = "of-this-test"
#: What each framework runs in its kernel, in the two ways that there are.
MAGIC = "%secure_exec aws sts get-caller-identity"
FUNCTION = (
    "from keyless import secure_exec\n"
    "print(secure_exec('aws', ['sts', 'get-caller-identity']).json()['Arn'])"
)


def variables() -> dict[str, str]:
    """The environment of such a program: ours, but its own packages and programs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {"PATH": f"{BIN}:{os.environ['PATH']}", "VIRTUAL_ENV": str(FOLDER)}


def run(world: World, program: str, values: Mapping[str, Any]) -> Any:
    """Run a Python program with the frameworks; what it gives on its last line, as JSON.

    Args:
        world: whose folder it runs in.
        program: gets ``values`` as variables.
        values: plain ones.
    """
    given = "import json\nglobals().update(json.loads(" + repr(json.dumps(dict(values))) + "))\n"
    done = subprocess.run(
        [BIN / "python", "-c", given + program],
        cwd=world.home,
        env=variables(),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextlib.contextmanager
def serving(world: World, *command: str, port: int) -> Iterator[str]:
    """A server of that environment until the end of the block; gives its URL.

    Args:
        world: its private Jupyter.
        command: program of the environment, and its arguments.
        port: that it listens on.
    """
    log = Path(world.home, f"{command[0]}-{port}.log")
    with log.open("w") as file:
        process = subprocess.Popen(
            [BIN / command[0], *command[1:]],
            stdout=file,
            stderr=file,
            cwd=world.home,
            env=variables(),
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not _listens(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()  # where it hangs, the test says so and the server is gone
            process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
