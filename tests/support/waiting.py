"""Servers that hold each answer back until a test has looked at who waits for it."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.postgres import DATABASE, Server
from tests.support.sidecar import eventually
from tests.support.web import Handler, serving

#: Seconds after which a tool that asks for nothing has failed.
PATIENCE = 60


@dataclass
class Asked:
    """A request whose answer waits."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = field(repr=False)
    go_on: threading.Event = field(default_factory=threading.Event)

    @property
    def credential(self) -> str:
        return self.headers.get("authorization", "")


Answer = tuple[int, Mapping[str, str], bytes]
GoOn = Callable[[], None]


class Front:
    """Answers with ``answer``, when the test lets a request go on."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.port = 0
        self.open = False
        self._waiting: queue.Queue[Asked | None] = queue.Queue()

    def wait_for(self, asked: Asked) -> None:
        """Called for a request: returns when it may be answered."""
        self.asked.append(asked)
        if not self.open:
            self._waiting.put(asked)
            asked.go_on.wait(PATIENCE)

    def next(self) -> GoOn | None:
        """Wait for the tool's next request; None where the tool has ended instead."""
        asked = self._waiting.get(timeout=PATIENCE)
        return asked.go_on.set if asked else None

    def end(self) -> None:
        """The tool has ended."""
        self._waiting.put(None)

    def let_go(self) -> None:
        """Nothing waits any more."""
        self.open = True
        for asked in self.asked:
            asked.go_on.set()


class _Waiting(Handler):
    protocol_version = "HTTP/1.1"
    front: Front

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, self._body())
        self.front.wait_for(asked)
        status, more, body = self.front.answer(asked)
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = _serve

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole


@contextlib.contextmanager
def fronting(answer: Callable[[Asked], Answer]) -> Iterator[Front]:
    """A `Front` on the loopback; in the end nothing waits any more."""
    front = Front(answer)
    with serving(type("Handler", (_Waiting,), {"front": front})) as front.port:
        try:
            yield front
        finally:
            front.let_go()


class Locks:
    """Statements of ``psql`` that wait for advisory locks, which the test's own session holds."""

    def __init__(self, server: Server, count: int) -> None:
        self._server = server
        self._left = list(range(1, count + 1))
        self._ended = threading.Event()
        folder, port = str(server.folder), str(server.port)
        self._session = subprocess.Popen(
            [str(server.bin / "psql"), "-XAtqh", folder, "-p", port, "-U", "postgres", DATABASE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in self._left:
            self._say("pg_advisory_lock", number)

    def next(self) -> GoOn | None:
        """As of `Front`."""
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        assert eventually(
            lambda: self._ended.is_set() or self._server.sql(waiting) == "1", PATIENCE
        )
        if self._ended.is_set():
            return None
        number = self._left.pop(0)
        return lambda: self._say("pg_advisory_unlock", number)

    def end(self) -> None:
        """As of `Front`."""
        self._ended.set()

    def close(self) -> None:
        """End the session, and its locks with it."""
        self._session.communicate()

    def _say(self, function: str, number: int) -> None:
        assert self._session.stdin is not None
        assert self._session.stdout is not None
        self._session.stdin.write(f"select 'done' from {function}({number});\n")  # noqa: S608
        self._session.stdin.flush()
        assert self._session.stdout.readline() == "done\n"


def git_server(project: Path, expected: str) -> Callable[[Asked], Answer]:
    """Real git behind HTTP, for those who know the password."""
    run: dict[str, Any] = {"check": True, "capture_output": True}
    git = ("git", "-c", "init.defaultBranch=main", "-c", "user.name=a", "-c", "user.email=a@b.c")
    work, bare = project / "work", project / "code.git"
    subprocess.run([*git, "init", str(work)], **run)
    (work / "README").write_text("the code\n")
    subprocess.run([*git, "-C", str(work), "add", "README"], **run)
    subprocess.run([*git, "-C", str(work), "commit", "-m", "one"], **run)
    subprocess.run([*git, "clone", "--bare", str(work), str(bare)], **run)
    places = subprocess.run(["git", "--exec-path"], check=True, capture_output=True, text=True)

    def answer(asked: Asked) -> Answer:
        if asked.headers.get("authorization") != expected:
            return 401, {"WWW-Authenticate": 'Basic realm="code"'}, b"who are you?"
        path, _, query = asked.target.partition("?")
        done = subprocess.run(
            [f"{places.stdout.strip()}/git-http-backend"],
            input=asked.body,
            capture_output=True,
            check=True,
            env={
                "PATH": "/usr/bin:/bin",
                "GIT_PROJECT_ROOT": str(project),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "REQUEST_METHOD": asked.method,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REMOTE_USER": "me",
                "CONTENT_TYPE": asked.headers.get("content-type", ""),
                "CONTENT_LENGTH": str(len(asked.body)),
                "HTTP_CONTENT_ENCODING": asked.headers.get("content-encoding", ""),
                "HTTP_GIT_PROTOCOL": asked.headers.get("git-protocol", ""),
            },
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        return int(headers.pop("Status", "200").split()[0]), headers, body

    return answer
