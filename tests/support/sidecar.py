"""A real sidecar process for tests, and the kernel's end of its channel."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.policies import LENIENT, write_policy

from keyless.protocol.frames import encode, reply_reader
from keyless.protocol.messages import (
    PROTOCOL_VERSION,
    Credit,
    Exec,
    Failed,
    Finished,
    Hello,
    Output,
    Reply,
    Request,
    Started,
    Stdin,
    Waiting,
    Welcome,
)

LEAKY = Path(__file__).with_name("leaky.py")
SECRET = "kJ7vQ2xW9mZ4tR8bN3cY6hL1pD5sF0gA"


def leaky(**changes: Any) -> dict[str, Any]:
    """A declaration of the leaking tool."""
    return {
        "path": str(LEAKY),
        "secret_env": {"LEAKY_SECRET": "generic:value"},
        "timeout": 20,
        **changes,
    }


class Result:
    """What came back for one request."""

    def __init__(self) -> None:
        self.pieces: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self.started: Started | None = None
        self.end: Finished | Failed | None = None
        #: For each time that it seemed to wait for keys, whether they would be echoed.
        self.waiting: list[bool] = []

    @property
    def stdout(self) -> str:
        return "".join(self.pieces["stdout"])

    @property
    def stderr(self) -> str:
        return "".join(self.pieces["stderr"])

    @property
    def finished(self) -> Finished:
        assert isinstance(self.end, Finished), self.end
        return self.end

    @property
    def failed(self) -> Failed:
        assert isinstance(self.end, Failed), self.end
        return self.end


class Sidecar:
    """One sidecar with its folders below ``home``.  Close it."""

    def __init__(
        self,
        home: Path,
        *,
        config: dict[str, dict[str, Any]] | None = None,
        credentials: list[dict[str, Any]] | None = None,
        raw_settings: bytes | None = None,
        environment: dict[str, str] | None = None,
        passphrase: str | None = None,
        policy: str = LENIENT,
        program: tuple[str, ...] = ("-m", "keyless_sidecar"),
    ) -> None:
        self._program = program
        self.home = home
        self.workspace = home / "workspace"
        self.scratch = home / "scratch"
        self.data = home / "keyless"
        self.control = home / "control"
        private = ((self.scratch, 0o711), (self.data, 0o700), (self.control, 0o700))
        for folder, mode in ((self.workspace, 0o755), *private):
            folder.mkdir(mode=mode, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(self.workspace, 61000, 61000)
        if credentials is None:
            credentials = [
                {
                    "name": "canary",
                    "kind": "generic",
                    "fields": {"value": SECRET},
                    "tools": ["leaky"],
                }
            ]
        settings = {
            "kernel_id": "test-kernel",
            "workspace": str(self.workspace),
            "scratch": str(self.scratch),
            "control_folder": str(self.control),
            "data_dir": str(self.data),
            "policy_file": str(write_policy(home / "policy" / "policy.cedar", policy)),
            "config": {
                "Tools": {"declared": {"leaky": leaky()}, "aws": False, "psql": False},
                "Confinement": {"minimum": os.environ.get("KEYLESS_TEST_LEVEL", "namespaces")},
                **(config or {}),
            },
            "memory_credentials": credentials,
            "passphrase": passphrase,
        }
        self._settings = json.dumps(settings).encode() if raw_settings is None else raw_settings
        self._environment = environment or {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
        # The coverage of the sidecar's own process counts too.
        self._environment |= {k: v for k, v in os.environ.items() if k.startswith("COVERAGE_")}
        self._id = 0
        self._seen = 0
        self.replies: dict[int, list[Reply]] = {}
        self._queue: list[Reply] = []
        self._start()

    def _start(self) -> None:
        settings_read, settings_write = os.pipe()
        status_read, status_write = os.pipe()
        self.channel, channel = socket.socketpair()
        self.lifeline, lifeline = socket.socketpair()
        self.network, network = socket.socketpair()
        theirs = [settings_read, channel.fileno(), status_write, lifeline.fileno()]
        theirs.append(network.fileno())
        names = ("--settings-fd", "--channel-fd", "--status-fd", "--lifeline-fd", "--network-fd")
        argv = [sys.executable, "-I", *self._program, "serve"]
        for name, descriptor in zip(names, theirs, strict=True):
            argv += [name, str(descriptor)]
        self.errors = open(self.home / "sidecar.log", "w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            argv,
            pass_fds=theirs,
            stdin=subprocess.DEVNULL,
            stdout=self.errors,
            stderr=self.errors,
            env=self._environment,
            cwd=self.workspace,
        )
        os.close(settings_read)
        os.close(status_write)
        channel.close()
        lifeline.close()
        network.close()
        with os.fdopen(settings_write, "wb") as file:
            file.write(self._settings)
        with os.fdopen(status_read, "rb") as status:
            line = status.readline()
        self.status: dict[str, Any] = json.loads(line) if line else {}
        self.channel.settimeout(60)
        self._reader = reply_reader()

    # ------------------------------------------------------------------ talking

    def send(self, *messages: Request) -> None:
        self.channel.sendall(b"".join(encode(message) for message in messages))

    def hello(self) -> Welcome:
        self.send(Hello(version=PROTOCOL_VERSION))
        reply = self.receive()
        assert isinstance(reply, Welcome)
        return reply

    def next_id(self) -> int:
        self._id += 1
        return self._id

    def receive(self) -> Reply:
        """The next reply of any request."""
        while not self._queue:
            data = self.channel.recv(65536)
            if not data:
                raise EOFError("the sidecar closed the channel")
            self._queue += self._reader.feed(data)
        return self._queue.pop(0)

    def run(
        self, *argv: str, tool: str = "leaky", stdin: bytes | None = None, **options: Any
    ) -> Result:
        """One command to its end."""
        request = self.start(*argv, tool=tool, stdin=stdin, **options)
        return self.collect(request)

    def start(
        self, *argv: str, tool: str = "leaky", stdin: bytes | None = None, **options: Any
    ) -> int:
        """Send an ``Exec`` and its input; its id."""
        request = self.next_id()
        size = None if stdin is None else len(stdin)
        self.send(Exec(id=request, tool=tool, argv=list(argv), stdin_size=size, **options))
        for start in range(0, size or 0, 65536):
            self.send(Stdin(id=request, data=(stdin or b"")[start : start + 65536]))
        return request

    def collect(
        self,
        request: int,
        until: Callable[[Result], bool] | None = None,
        into: Result | None = None,
    ) -> Result:
        """Read until a request's end (or ``until``), and grant credit as it goes."""
        result = into or Result()
        # What came while another request was read.
        self._queue[:0] = self.replies.pop(request, [])
        while result.end is None and not (until and until(result)):
            reply = self.receive()
            if isinstance(reply, Welcome) or reply.id != request:
                self.replies.setdefault(getattr(reply, "id", 0), []).append(reply)
            elif isinstance(reply, Started):
                result.started = reply
            elif isinstance(reply, Output):
                result.pieces[reply.stream].append(reply.data)
                self.send(Credit(id=request, size=max(1, len(reply.data.encode()))))
            elif isinstance(reply, Waiting):
                result.waiting.append(reply.echo)
            elif isinstance(reply, Finished | Failed):
                result.end = reply
        return result

    # ------------------------------------------------------------------ looking

    def records(self) -> list[dict[str, Any]]:
        """All audit records so far, since :meth:`begin_anew`."""
        (path,) = (self.data / "audit").glob("*.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()][self._seen :]

    def begin_anew(self) -> None:
        """For another test: an empty workspace, and only the records from now on."""
        for path in self.workspace.iterdir():
            path.unlink()
        self._seen = 0
        self._seen = len(self.records())

    def log(self) -> str:
        return (self.home / "sidecar.log").read_text()

    def memory(self) -> int:
        """Resident size in bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def wait(self, timeout: float = 20) -> int:
        return self.process.wait(timeout)

    def close(self) -> None:
        """Close the channel; the sidecar ends."""
        self.channel.close()
        self.lifeline.close()
        self.network.close()
        try:
            self.wait()
        finally:
            self.process.kill()
            self.errors.close()


@contextmanager
def kept_sidecar(**options: Any) -> Iterator[Sidecar]:
    """A sidecar for a whole module, which has greeted."""
    home = Path(tempfile.mkdtemp(prefix="kl-"))
    home.chmod(0o755)
    sidecar = Sidecar(home, **options)
    try:
        assert sidecar.status.get("ready"), sidecar.status
        sidecar.hello()
        yield sidecar
    finally:
        sidecar.close()
        shutil.rmtree(home, ignore_errors=True)


def eventually(condition: Callable[[], bool], timeout: float = 10) -> bool:
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
