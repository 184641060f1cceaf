"""A real Jupyter server (or JupyterLab) on private folders, and a client for its REST API."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.policies import write_policy
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

TOKEN = "a-token-for-tests"

#: Reads are allowed, what says "write" is asked, the rest is denied.
ASKING = """
@id("reads") permit (principal, action, resource)
when { context has argv_text && context.argv_text like "read*" };
@id("writes") @outcome("ask") @reason("It writes something.")
permit (principal, action, resource)
when { context has argv_text && context.argv_text like "write*" };
"""

CONFIG = """
c.Tools.declared = {"say": {"path": "/usr/bin/printf", "delivery": "none", "timeout": 20}}
c.Tools.aws = False
c.Tools.psql = False
"""


@dataclass
class Answer:
    """One answer of the server."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.text)


class Home:
    """Private folders of one person, with a policy and a configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.root.mkdir()
        for name in ("config", "data", "runtime"):
            (folder / name).mkdir(mode=0o700)
        write_policy(folder / "config" / "keyless" / "policy.cedar", ASKING)
        self.configure("")

    def configure(self, lines: str) -> None:
        """Write ``jupyter_keyless_config.py`` with some more lines."""
        (self.folder / "config" / "jupyter_keyless_config.py").write_text(CONFIG + lines)

    def variables(self) -> dict[str, str]:
        """The environment of who uses them."""
        names = ("config", "data", "runtime")
        inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return (
            inherited
            | {f"JUPYTER_{name.upper()}_DIR": str(self.folder / name) for name in names}
            | {"HOME": str(self.folder), "IPYTHONDIR": str(self.folder / ".ipython")}
        )


class Server:
    """One that runs.

    Args:
        process: its.
        port: on 127.0.0.1.
        home: its folders.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, home: Home) -> None:
        self.process = process
        self.port = port
        self.home = home
        self.url = f"http://127.0.0.1:{port}/"

    def ask(self, method: str, path: str, body: Any = None, *, token: str = TOKEN) -> Answer:
        """One request; an empty token sends none."""
        request = urllib.request.Request(  # noqa: S310
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {token}"} if token else {},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return Answer(answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode())

    def start_kernel(self) -> str:
        """Start a Keyless kernel; returns its id."""
        return str(self.ask("POST", "api/kernels", {"name": "keyless"}).json["id"])

    async def execute(self, kernel: str, code: str) -> str:
        """Run code over the websocket; everything that was printed."""
        url = f"ws://127.0.0.1:{self.port}/api/kernels/{kernel}/channels"
        channels = await websocket_connect(
            HTTPRequest(url, headers={"Authorization": f"token {TOKEN}"})
        )
        identity = uuid.uuid4().hex
        header = {"msg_id": identity, "msg_type": "execute_request", "session": "s"}
        header |= {"username": "u", "version": "5.3", "date": ""}
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        await channels.write_message(json.dumps(message | {"channel": "shell", "buffers": []}))
        said = ""
        while (text := await channels.read_message()) is not None:
            reply = json.loads(text)
            if reply["parent_header"].get("msg_id") != identity:
                continue
            told = reply["content"]
            said += told.get("text", "") if reply["msg_type"] == "stream" else ""
            said += f"{told['ename']}: {told['evalue']}" if reply["msg_type"] == "error" else ""
            if reply["msg_type"] == "status" and told["execution_state"] == "idle":
                break
        channels.close()
        return said

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self.home.folder / "server.log").read_text()


@contextlib.contextmanager
def home() -> Iterator[Home]:
    """Private folders, removed at the end.  Their paths are short: sockets' have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="kl-"))
    folder.chmod(0o755)
    try:
        yield Home(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def launch(
    place: Home,
    *arguments: str,
    program: str = "jupyter_server",
    root: Path | None = None,
    more: Mapping[str, str] | None = None,
    descriptors: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start one and don't wait."""
    given = [
        *("--ServerApp.port=0", f"--IdentityProvider.token={TOKEN}", "--no-browser"),
        *(f"--ServerApp.root_dir={root or place.root}", *arguments),
    ]
    if os.geteuid() == 0:
        given.append("--allow-root")
    with (place.folder / "server.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", program, *given],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=place.root,
            env=place.variables() | dict(more or {}),
            pass_fds=descriptors,
        )


@contextlib.contextmanager
def server(place: Home, *arguments: str, **options: Any) -> Iterator[Server]:
    """One that answers.

    Args:
        place: its folders.
        arguments: for its command line.
        options: see :func:`launch`.
    """
    process = launch(place, *arguments, **options)
    file = place.folder / "runtime" / f"jpserver-{process.pid}.json"
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError, ValueError):
                found = Server(process, json.loads(file.read_text())["port"], place)
                found.ask("GET", "api")
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((place.folder / "server.log").read_text())
            time.sleep(0.05)
        yield found
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
