"""A sidecar that does what a test says, over a real socket and real frames; and a real shell."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import keyless
from keyless.magics import client as client_module
from keyless.magics.client import SidecarClient
from keyless.protocol.frames import encode, request_reader
from keyless.protocol.messages import (
    PROTOCOL_VERSION,
    Cancel,
    CloseSession,
    CredentialInfo,
    Credit,
    Exec,
    Failed,
    Finished,
    Hello,
    OpenSession,
    Output,
    Reply,
    Request,
    Started,
    Status,
    StatusQuery,
    Stdin,
    ToolInfo,
    Welcome,
)

R = TypeVar("R")


class FakeSidecar:
    """The other end of the channel.  ``on_exec`` says what happens with a command."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.requests: list[Request] = []
        self.on_exec: Callable[[Exec], None] = self.echo
        self.on_session: Callable[[OpenSession | CloseSession], None] = lambda _: None
        self.on_hello: Callable[[], None] = self.greet
        self.answers_status = True
        self._arrived = threading.Condition()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def send(self, *replies: Reply) -> None:
        self.connection.sendall(b"".join(encode(reply) for reply in replies))

    def greet(self) -> None:
        self.send(Welcome(version=PROTOCOL_VERSION, kernel_id="k1", level="namespaces"))

    def echo(self, request: Exec) -> None:
        self.send(
            Started(id=request.id, record_id=f"k1-{request.id:06}"),
            Output(id=request.id, stream="stdout", data=" ".join(request.argv) + "\n"),
            Finished(id=request.id, exit_code=0, duration=0.25, record_id=f"k1-{request.id:06}"),
        )

    def refuse(self, request: Exec) -> None:
        self.send(
            Failed(
                id=request.id,
                kind="InvalidRequest",
                message=request.refused,
                record_id=f"k1-{request.id:06}",
            )
        )

    def finish(self, request: Exec, exit_code: int = 0, **fields: Any) -> None:
        self.send(
            Finished(
                id=request.id, exit_code=exit_code, duration=0.25, record_id="k1-000009", **fields
            )
        )

    def status(self, number: int) -> Status:
        return Status(
            id=number,
            kernel_id="k1",
            level="namespaces",
            guarantees=["No network.", "<b>No</b> host files."],
            workspace="/workspace",
            tools=[
                ToolInfo(
                    name="aws",
                    path="/usr/bin/aws",
                    delivery="env",
                    credentials=["aws"],
                    description="AWS <CLI>",
                    exposure="the tool's own process, while it runs",
                    subcommands=["s3", "sts", "lambda"],
                ),
                ToolInfo(
                    name="git",
                    path="/usr/bin/git",
                    delivery="none",
                    credentials=[],
                    description="git",
                    exposure="nobody",
                ),
            ],
            credentials=[CredentialInfo(name="aws", kind="aws", delivery="env", source="memory")],
            commands=3,
            audit_records=7,
        )

    def wait_for(self, kind: type[R], count: int = 1) -> list[R]:
        """The requests of that kind, once there are ``count``."""
        deadline = time.monotonic() + 10
        with self._arrived:
            while True:
                found: list[R] = [r for r in self.requests if isinstance(r, kind)]
                if len(found) >= count:
                    return found
                if not self._arrived.wait(deadline - time.monotonic()):
                    pytest.fail(f"only {len(found)} {kind.__name__} arrived")

    def execs(self) -> list[Exec]:
        return [r for r in self.requests if isinstance(r, Exec) and not r.refused]

    def refusals(self) -> list[Exec]:
        return [r for r in self.requests if isinstance(r, Exec) and r.refused]

    def stdin(self) -> bytes:
        return b"".join(r.data for r in self.requests if isinstance(r, Stdin))

    def credit(self) -> int:
        return sum(r.size for r in self.requests if isinstance(r, Credit))

    def cancelled(self) -> list[int]:
        return [r.id for r in self.requests if isinstance(r, Cancel)]

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        reader = request_reader()
        with contextlib.suppress(OSError):
            while data := self.connection.recv(65536):
                for request in reader.feed(data):
                    with self._arrived:
                        self.requests.append(request)
                        self._arrived.notify_all()
                    if isinstance(request, Hello):
                        self.on_hello()
                    elif isinstance(request, Exec) and request.refused:
                        self.refuse(request)
                    elif isinstance(request, Exec):
                        self.on_exec(request)
                    elif isinstance(request, OpenSession | CloseSession):
                        self.on_session(request)
                    elif isinstance(request, StatusQuery) and self.answers_status:
                        self.send(self.status(request.id))


@pytest.fixture(scope="session")
def make_sidecar() -> Callable[[socket.socket], FakeSidecar]:
    """A fake sidecar on a socket of the test's own."""
    return FakeSidecar


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSidecar]:
    """A fake sidecar, and its channel inherited as in a Keyless kernel."""
    ours, theirs = socket.socketpair()
    sidecar = FakeSidecar(theirs)
    monkeypatch.setenv("KEYLESS_CHANNEL_FD", str(ours.fileno()))
    client_module._open.cache_clear()
    yield sidecar
    if client_module._open.cache_info().currsize:
        client_module._open().close()
        ours.detach()
    else:
        ours.close()
    client_module._open.cache_clear()
    sidecar.hang_up()
    sidecar.thread.join()
    theirs.close()


@pytest.fixture
def client(channel: FakeSidecar) -> SidecarClient:
    return client_module.shared_client()


@pytest.fixture
def no_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEYLESS_CHANNEL_FD", raising=False)
    client_module._open.cache_clear()


@pytest.fixture(scope="session")
def _shell() -> Iterator[InteractiveShell]:
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    shell = InteractiveShell.instance(config=config)
    keyless.load_ipython_extension(shell)
    yield shell
    InteractiveShell.clear_instance()


@pytest.fixture
def shell(_shell: InteractiveShell) -> Iterator[InteractiveShell]:
    """A real IPython shell with the magics."""
    here = os.getcwd()  # noqa: PTH109
    names = dict(_shell.user_ns)
    yield _shell
    os.chdir(here)
    # Its own reset collects garbage, which takes long where many modules are loaded.
    _shell.user_ns.clear()
    _shell.user_ns.update(names)
