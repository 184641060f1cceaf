"""The egress proxy with the tools that people use: curl and git, over real TLS; and its memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from tests.unit.egress.engine.stage import (
    Answering,
    Origin,
    Passing,
    Stage,
    answering,
    plain,
    running,
    staged,
)

from keyless_sidecar.egress.authority import Authority
from keyless_sidecar.egress.masking import Masks
from keyless_sidecar.egress.messages import Forward, Request, Response, replaced

REAL = "ghp_realrealrealrealrealrealrealrealreal"
PLACEHOLDER = "ghp_keylesskeylesskeylesskeylesskeyless0"


class Exchanging(Passing):
    """Puts the real token in, and the placeholder back."""

    async def handle(self, request: Request, forward: Forward) -> Response:
        self.seen.append(request)
        headers = [(name, value.replace(PLACEHOLDER, REAL)) for name, value in request.headers]
        outgoing = replaced(headers, "X-Through", "keyless")
        response = await forward(
            Request(
                request.method,
                request.scheme,
                request.host,
                request.port,
                request.target,
                outgoing,
                request.length,
                request.body,
                request.expects_continue,
            )
        )
        return Masks({REAL: PLACEHOLDER}).apply(response)


class Tool:
    """Runs programs as a tool of the sandbox would: proxy and trust file by environment only."""

    def __init__(self, stage: Stage, home: Path) -> None:
        self._home = home
        trust = home / "trust.pem"
        trust.write_text(stage.authority.pem)
        url = f"http://127.0.0.1:{stage.port}"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "http_proxy": url,
            "https_proxy": url,
            "CURL_CA_BUNDLE": str(trust),
            "GIT_SSL_CAINFO": str(trust),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@example",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@example",
        }

    async def run(self, *argv: str, cwd: Path | None = None) -> tuple[int, bytes, str]:
        """Exit code, output and errors."""
        child = await asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd or self._home,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(child.communicate(), 90)
        return child.returncode or 0, out, err.decode()

    async def curl(self, *options: str) -> tuple[int, bytes, str]:
        """curl, silent but for errors."""
        return await self.run("curl", "-sS", "--max-time", "60", *options)


async def test_curl_speaks_tls_and_plain_http(tmp_path: Path) -> None:
    origin = answering(plain(f"token {REAL}".encode(), f"X-Echo: {REAL}\r\n"))
    async with staged(origin, tls=True, handler=Exchanging()) as stage:
        tool = Tool(stage, tmp_path)
        for url in ("https://api.example/x", "http://api.example/x", "https://api.example:8443/x"):
            code, out, err = await tool.curl("-i", "-H", f"Authorization: token {PLACEHOLDER}", url)
            assert code == 0, err
            assert REAL.encode() not in out
            assert out.endswith(f"token {PLACEHOLDER}".encode())
            assert f"Authorization: token {REAL}".encode() in origin.heads[-1]


@pytest.mark.parametrize(
    "options",
    [
        ("--http2",),
        ("--http1.0",),
        ("--tlsv1.2", "--tls-max", "1.2"),
        ("--compressed",),
        ("-X", "DELETE"),
        ("-I",),
        ("--tr-encoding",),
        ("--next", "https://api.example/y"),
    ],
)
async def test_curl_in_its_variants(options: tuple[str, ...], tmp_path: Path) -> None:
    async with staged(answering(plain(b"")), handler=Exchanging()) as stage:
        code, _, err = await Tool(stage, tmp_path).curl("https://api.example/x", *options)
        assert code == 0, err


@pytest.mark.parametrize("how", ["length", "chunked", "expect", "form"])
async def test_curl_uploads(how: str, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(data)
    options = {
        "length": ["-T", "file", "-H", "Expect:"],
        "chunked": ["-T", "file", "-H", "Transfer-Encoding: chunked", "-H", "Expect:"],
        "expect": ["-T", "file", "-H", "Expect: 100-continue"],
        "form": ["-F", "file=@file"],
    }[how]
    origin = answering(plain())
    async with staged(origin, tls=True, handler=Exchanging()) as stage:
        code, out, err = await Tool(stage, tmp_path).curl(*options, "https://api.example/x")
        assert (code, out) == (0, b"hello"), err
        assert data in origin.bodies[0]


@pytest.mark.parametrize("how", ["expect", "at once"])
async def test_curl_reads_the_reason_of_a_refused_upload(how: str, tmp_path: Path) -> None:
    async def refuse(request: Request, forward: Forward) -> Response:
        return Response.of(403, b"denied by policy.cedar:uploads")

    (tmp_path / "file").write_bytes(bytes(20_000_000))
    expect = "Expect: 100-continue" if how == "expect" else "Expect:"
    origin = answering(plain())
    async with staged(origin, handler=Answering(refuse)) as stage:
        _, out, _ = await Tool(stage, tmp_path).curl(
            "-T", "file", "-H", expect, "-w", "\n%{size_upload}", "https://api.example/x"
        )
        reason, _, sent = out.rpartition(b"\n")
        assert reason == b"denied by policy.cedar:uploads"
        assert origin.connections == 0
        if how == "expect":
            assert sent == b"0"


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("https://evil.test/", (), "403"),
        ("https://api.example/", ("-H", "Host: evil.test"), "400"),
        ("https://api.example/", ("--connect-to", "api.example:443:evil.test:443"), "403"),
        ("http://api.example/", ("-H", "Host: evil.test"), "400"),
        ("http://169.254.169.254/latest/meta-data/", (), "403"),
        ("http://localhost:9/", (), "403"),
        ("https://evil.test/", ("--connect-to", "evil.test:443:api.example:443"), "SSL|TLS|reset"),
        ("http://api.example/", ("--proxytunnel",), "reset|Empty|52|56"),
        ("https://api.example/", ("--cacert", "/dev/null"), "certificate"),
        ("ftp://api.example/", ("--proxy-insecure",), ""),
    ],
)
async def test_curl_gets_nowhere_else(
    url: str, options: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    origin, handler = answering(plain()), Passing()
    async with staged(origin, handler=handler) as stage:
        _, out, err = await Tool(stage, tmp_path).curl("-w", "%{http_code}", *options, url)
        assert re.search(said, out.decode() + err), (out, err)
        assert handler.seen == []
        assert origin.connections == 0


async def test_curl_follows_redirects_only_where_it_may(tmp_path: Path) -> None:
    targets = ["https://other.example/ok", "https://evil.test/", "http://169.254.169.254/"]
    answers = [plain(b"", f"Location: {url}\r\n", "302 Found") for url in targets]
    origin, handler = answering(answers[0], plain(), answers[1], answers[2]), Passing()
    async with staged(origin, handler=handler) as stage:
        tool = Tool(stage, tmp_path)
        results = [await tool.curl("-L", "https://api.example/") for _ in targets]
        assert [seen.host for seen in handler.seen] == ["api.example", "other.example"] + [
            "api.example"
        ] * 2
        assert results[0][1] == b"hello"
        assert "403" in results[1][2]
        assert b"not among the hosts" in results[2][1]
        assert set(stage.proxy.refused) == {"evil.test:443", "169.254.169.254:80"}


async def git_server(origin: Origin, root: Path) -> None:
    """Makes ``origin`` a smart HTTP server for the repositories below ``root``."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            body = await origin.request(reader)
            lines = origin.heads[-1].decode().split("\r\n")
            method, target, _ = lines[0].split(" ")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
            path, _, query = target.partition("?")
            child = await asyncio.create_subprocess_exec(
                "git",
                "http-backend",
                env={
                    "PATH": os.environ["PATH"],
                    "GIT_PROJECT_ROOT": str(root),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "REQUEST_METHOD": method,
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "REMOTE_USER": "someone",
                    "CONTENT_TYPE": headers.get("content-type", ""),
                    "CONTENT_LENGTH": str(len(body)),
                    "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
                    "GIT_PROTOCOL": headers.get("git-protocol", ""),
                },
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await child.communicate(body)
            head, _, answer = out.partition(b"\r\n\r\n")
            status = re.search(rb"Status: (.*)", head)
            line = status.group(1).strip() if status else b"200 OK"
            kept = b"".join(
                each + b"\r\n" for each in head.split(b"\r\n") if not each.startswith(b"Status")
            )
            length = b"Content-Length: %d\r\n\r\n" % len(answer)
            writer.write(b"HTTP/1.1 " + line + b"\r\n" + kept + length + answer)
            await writer.drain()

    origin._script = script


async def test_git_clones_and_pushes(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not here")
    origin = answering(b"")
    await git_server(origin, tmp_path / "srv")
    async with staged(origin, tls=True, handler=Exchanging()) as stage:
        (tmp_path / "home").mkdir()
        tool = Tool(stage, tmp_path / "home")
        for argv in (
            ("git", "init", "-q", "--bare", str(tmp_path / "srv" / "r.git")),
            ("git", "-C", str(tmp_path / "srv" / "r.git"), "config", "http.receivepack", "true"),
            ("git", "clone", "-q", f"https://x:{PLACEHOLDER}@api.example/r.git", "one"),
        ):
            code, _, err = await tool.run(*argv)
            assert code == 0, err
        one = tmp_path / "home" / "one"
        data = os.urandom(4_000_000)  # above http.postBuffer: sent chunked
        (one / "big").write_bytes(data)
        for argv in (
            ("git", "add", "big"),
            ("git", "commit", "-qm", "big"),
            ("git", "push", "-q", "origin", "HEAD:main"),
        ):
            code, _, err = await tool.run(*argv, cwd=one)
            assert code == 0, err
        code, _, err = await tool.run(
            "git", "clone", "-q", "-b", "main", "https://api.example/r.git", "two"
        )
        assert code == 0, err
        assert (tmp_path / "home" / "two" / "big").read_bytes() == data
        assert any(b"Transfer-Encoding: chunked" in head for head in origin.heads)


_PROXY = """
import asyncio, socket, sys
from keyless_sidecar.egress.authority import Authority
from keyless_sidecar.egress.masking import Masks
from keyless_sidecar.egress.server import EgressProxy
from keyless_sidecar.execution.destinations import Allowed
import ssl

trust = ssl.create_default_context(cadata=sys.stdin.read())

class Handler:
    def claims(self, destination):
        return True
    async def handle(self, request, forward):
        return Masks({"real" * 10: "mask" * 10}).apply(await forward(request))

async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    authority = Authority()
    proxy = EgressProxy(
        listener, allowed=Allowed((("*.example", 443),)), handlers=[Handler()],
        authority=authority, upstreams={"*": sys.argv[1]}, trust=trust,
    )
    await proxy.start()
    print(listener.getsockname()[1], flush=True)
    print(authority.pem, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def memory(pid: int, what: str) -> int:
    """``VmRSS`` or ``VmHWM`` of a process, in bytes."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise LookupError(what)
    return int(found.group(1)) * 1024


async def test_large_bodies_do_not_stay_in_memory(tmp_path: Path) -> None:
    """Several times what may stay there; ``tests/stress/large_bodies.py`` sends gigabytes."""
    size = 250_000_000
    piece = os.urandom(1_000_000)
    taken = hashlib.sha256()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"PUT"):
                left = size
                while left:
                    data = await reader.read(2**20)
                    taken.update(data)
                    left -= len(data)
                writer.write(plain())
            else:
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
                for _ in range(size // len(piece)):
                    writer.write(piece)
                    await writer.drain()
            await writer.drain()

    other = Authority()
    expected = hashlib.sha256()
    with open(tmp_path / "file", "wb") as file:
        for _ in range(size // len(piece)):
            file.write(piece)
            expected.update(piece)
    async with running(Origin(script), other.context_for("localhost")) as origin:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _PROXY,
            f"https://localhost:{origin.port}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("no pipes")
        try:
            child.stdin.write(other.pem.encode())
            child.stdin.close()
            port = int(await child.stdout.readline())
            (tmp_path / "trust.pem").write_bytes(await child.stdout.readuntil(b"\n\n"))
            before = memory(child.pid, "VmRSS")
            for options in (
                ("-T", "file", "-H", "Expect:"),
                ("-o", "back"),
            ):
                curl = await asyncio.create_subprocess_exec(
                    *("curl", "-sS", "--proxy", f"http://127.0.0.1:{port}"),
                    *("--cacert", "trust.pem", *options, "https://api.example/x"),
                    cwd=tmp_path,
                    stdout=asyncio.subprocess.DEVNULL,
                )
                assert await curl.wait() == 0
            growth = memory(child.pid, "VmHWM") - before
        finally:
            child.kill()
            await child.wait()
    assert taken.digest() == expected.digest()
    with open(tmp_path / "back", "rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == expected.digest()
    assert growth < 40_000_000
    (tmp_path / "file").unlink()
    (tmp_path / "back").unlink()
