"""Kernels for the attack tests: protected ones, and what they are compared with.

A :class:`Stage` is one private world: Jupyter's folders, a person's home, a workspace, fresh
canaries, a local AWS that knows them, and a listener that stands for the attacker's server.
:func:`protected` starts a real Keyless kernel on it, ``unprotected.py`` its counterpart.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from socket import create_server
from typing import Any

import pytest
from botocore.credentials import Credentials
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from tests.support.canaries import Canaries
from tests.support.echo import Echo
from tests.support.policies import ASKS_ONCE, write_policy
from tests.support.web import serving

from keyless.localaws.principals import Principal
from keyless.localaws.server import LocalAws

#: The user that sandboxed processes have on the host.
SANDBOX_UID = 61000 if os.geteuid() == 0 else os.geteuid()

#: A host whose server gives back what it is sent.
ECHO_HOST = "echo.example.com"
#: Tools that hold placeholders; the other declared ones hold their secret.
PLACEHOLDERS = ("curl", "rt-placeholder")
VARIABLES = {"leaky": "LEAKY_SECRET"}


@dataclass
class Cell:
    """What one execution gave."""

    messages: list[dict[str, Any]]
    reply: dict[str, Any]

    @property
    def text(self) -> str:
        """What it printed."""
        streams = (m["content"] for m in self.messages if m["msg_type"] == "stream")
        return "".join(content["text"] for content in streams)

    @property
    def error(self) -> str:
        """Name and message of the exception that ended it, empty where none did."""
        content = self.reply["content"]
        return f"{content['ename']}: {content['evalue']}" if content["status"] == "error" else ""


class Session:
    """One running kernel.

    Args:
        manager: started.
        workspace: host path of its folder.
    """

    def __init__(self, manager: KernelManager, workspace: Path) -> None:
        self.manager = manager
        self.workspace = workspace
        #: Every iopub message so far.
        self.messages: list[dict[str, Any]] = []
        self._client: BlockingKernelClient = manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def run(self, code: str, timeout: float = 90) -> Cell:
        """Execute a cell and wait for its end.

        Raises:
            TimeoutError: it did not end.
        """
        messages: list[dict[str, Any]] = []
        reply = self._client.execute_interactive(
            code, timeout=timeout, output_hook=messages.append, allow_stdin=False
        )
        self.messages += messages
        return Cell(messages, reply)

    def alive(self) -> bool:
        """Whether the kernel still answers."""
        if not self.manager.is_alive():
            return False
        try:
            return "still here" in self.run("print('still here')", timeout=20).text
        except (TimeoutError, RuntimeError):
            return False

    def stop(self) -> None:
        """End the kernel."""
        self._client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


class Listener:
    """A TCP server outside every sandbox that keeps what arrives: the attacker's machine."""

    def __init__(self) -> None:
        self._server = create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.received = bytearray()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(1)
                while data := connection.recv(65536):
                    self.received += data

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):
            self._server.shutdown(2)
        self._server.close()
        self._thread.join(5)


class Stage:
    """One private world; made by :func:`stage`."""

    def __init__(
        self, home: Path, aws: LocalAws, listener: Listener, echo: int, echoed: list[str]
    ) -> None:
        self.home = home
        #: Port of a server that gives back what it is sent; it stands in for :data:`ECHO_HOST`.
        self.echo = echo
        #: The credentials that it was sent.
        self.echoed = echoed
        self.aws = aws
        self.listener = listener
        self.canaries = Canaries()
        self.person = home / "person"
        self.audit = home / "data" / "keyless" / "audit"
        self._count = 0

    def variables(self) -> dict[str, str]:
        """The server's environment: folders, and secrets that must not reach a kernel."""
        folders = {
            f"JUPYTER_{name.upper()}_DIR": str(self.home / name)
            for name in ("config", "data", "runtime")
        }
        return folders | {
            "HOME": str(self.person),
            "IPYTHONDIR": str(self.person / ".ipython"),
            "AWS_SECRET_ACCESS_KEY": self.canaries.server,
            "RT_SECRET": self.canaries.server,
        }

    def workspace(self, owner: int = SANDBOX_UID) -> Path:
        """A fresh folder, by default one that the sandbox's user may write in."""
        self._count += 1
        folder = self.home / f"work{self._count}"
        folder.mkdir()
        if os.geteuid() == 0:
            os.chown(folder, owner, owner)
        return folder

    def tool(self, name: str, source: Path) -> Path:
        """A script as an executable of this interpreter, in a folder that only we can write."""
        target = self.home / "tools" / name
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            target.write_text(f"#!{sys.executable}\n{source.read_text()}")
            target.chmod(0o755)
        return target

    def credentials(self) -> list[dict[str, Any]]:
        """What the vault of a protected kernel holds."""
        tools = ["leaky", "rt-leaky"]
        key = {"access_key_id": self.canaries.key_id, "secret_access_key": self.canaries.key}
        return [
            {"name": "loot", "kind": "token", "fields": {"value": self.canaries.leaky},
             "tools": tools},
            {"name": "api", "kind": "token", "fields": {"value": self.canaries.api},
             "tools": ["curl", "rt-placeholder"], "hosts": [ECHO_HOST]},
            {"name": "cloud", "kind": "aws", "fields": key | {"region": self.aws.region},
             "tools": ["aws"]},
        ]  # fmt: skip

    def configure(self, tools: dict[str, Path]) -> None:
        """Write ``jupyter_keyless_config.py`` with some leaky tools beside ``aws``."""
        declared = {
            name: {
                "path": str(path),
                "delivery": "proxy" if name in PLACEHOLDERS else "env",
                "secret_env": {VARIABLES.get(name, "RT_SECRET"): "token:value"},
                "environment": {"PYTHONDONTWRITEBYTECODE": "1"},
            }
            for name, path in tools.items()
        }
        upstreams = {
            "*.amazonaws.com": self.aws.endpoint,
            ECHO_HOST: f"http://127.0.0.1:{self.echo}",
        }
        write_policy(self.home / "config" / "keyless" / "policy.cedar", ASKS_ONCE)
        (self.home / "config" / "jupyter_keyless_config.py").write_text(
            f"c.Confinement.minimum = {os.environ.get('KEYLESS_TEST_LEVEL', 'namespaces')!r}\n"
            f"c.Tools.declared = {declared!r}\n"
            f"c.Egress.upstreams = {upstreams!r}\n"
        )


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """A private world, removed at the end.  Its path is short: socket addresses have 107 bytes."""
    home = Path(tempfile.mkdtemp(prefix="kl-"))
    home.chmod(0o755)
    for name in ("config", "data", "runtime"):
        (home / name).mkdir(mode=0o700)
    listener = Listener()
    try:
        seen: list[str] = []
        echo = type("Server", (Echo,), {"seen": seen})
        with LocalAws(bucket="rt-bucket") as aws, serving(echo) as port:
            world = Stage(home, aws, listener, port, seen)
            _let_in(aws, world.canaries)
            furnish(world)
            yield world
    finally:
        listener.close()
        shutil.rmtree(home, ignore_errors=True)


def _let_in(aws: LocalAws, canaries: Canaries) -> None:
    """Make the canary key one more key of the local AWS's user."""
    if aws._front is None:
        raise RuntimeError("the local AWS does not run")
    aws._front._gatekeeper.principals.add(
        Principal(
            arn=aws.user_arn,
            access_key_id=canaries.key_id,
            secret=canaries.key,
            token="",
            identity=(aws._policy,),
            known_as=Credentials(aws.access_key_id, aws.secret_access_key),
        )
    )


def furnish(world: Stage) -> None:
    """Give the person a home with credentials where tools look for them, and nothing else."""
    shutil.rmtree(world.person, ignore_errors=True)
    world.person.mkdir(mode=0o700)
    for name, text in {
        ".aws/credentials": f"[default]\naws_access_key_id = {world.canaries.person}\n"
        f"aws_secret_access_key = {world.canaries.person}\n",
        ".netrc": f"machine api.example.com login me password {world.canaries.person}\n",
    }.items():
        file = world.person / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)


def clear(folder: Path) -> None:
    """Remove what earlier cells left in a workspace."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def protected(world: Stage, workspace: Path | None = None) -> Session:
    """A Keyless kernel, started as a host does it."""
    workspace = workspace or world.workspace()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in world.variables().items():
            patch.setenv(name, value)
        manager = KernelManager(kernel_name="keyless")
        manager.start_kernel(
            keyless_workspace=str(workspace), keyless_credentials=world.credentials()
        )
        return Session(manager, workspace)


def control_folder(session: Session) -> Path:
    """Where a protected kernel's control socket and token lie."""
    return Path(session.manager.provisioner.control_folder)  # type: ignore[union-attr]


def sidecar_pid(session: Session) -> int:
    """Host pid of a protected kernel's sidecar."""
    supervisor: int = session.manager.provisioner._supervisor.pid  # type: ignore[union-attr]
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for pid in map(int, children.read_text().split()):
            if b"keyless_sidecar" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    raise RuntimeError("the kernel has no sidecar")
