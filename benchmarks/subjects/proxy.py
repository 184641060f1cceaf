"""Requests with a token through Keyless's proxy, beside none and beside mitmproxy.

The client is the same code in a cell each time, on one kept connection with TLS.  Keyless's proxy
is that of a real sidecar, with policy, audit and the search for echoes of the token.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.cells import Cells
from benchmarks.machine import ROOT
from benchmarks.measuring import Measure, in_turn
from benchmarks.origin import origin
from benchmarks.outcome import Curve, Group, Outcome
from benchmarks.peers import PeerMissing
from benchmarks.stage import Stage
from benchmarks.watch import Peak

_HOST = "api.example.com"
_TOKEN = "sW4m9Qx7Tz2Kc8Rv5Lh3Bn6Yd1Gf0Jp"
_STREAM = 128 << 20
_SIZES = (1 << 10, 1 << 15, 1 << 20, 1 << 25, 1 << 28)
_CLIENT = """
    import http.client, os, socket, ssl, statistics, time
    from urllib.parse import urlsplit

    def connect(host, address, proxy, ca):
        raw = socket.create_connection(proxy or address)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if proxy:
            raw.sendall(f"CONNECT {host}:443 HTTP/1.1\\r\\nHost: {host}:443\\r\\n\\r\\n".encode())
            said = b""
            while not said.endswith(b"\\r\\n\\r\\n"):
                said += raw.recv(1)
            assert b" 200 " in said, said
        made = http.client.HTTPConnection(host)
        context = ssl.create_default_context(cafile=ca)
        made.sock = context.wrap_socket(raw, server_hostname=host)
        made.auto_open = 0
        return made

    def answer():
        response = connection.getresponse()
        assert response.status == 200, (response.status, response.read(500))
        return response

    def small(count):
        took = []
        for _ in range(count):
            begun = time.perf_counter()
            connection.request("GET", "/bytes/300", headers=headers)
            answer().read()
            took.append(time.perf_counter() - begun)
        return statistics.median(took)

    piece = memoryview(os.urandom(1 << 18))

    def up(size):
        begun = time.perf_counter()
        connection.putrequest("PUT", "/body")
        for name, value in {**headers, "Content-Length": str(size)}.items():
            connection.putheader(name, value)
        connection.endheaders()
        left = size
        while left:
            connection.send(piece[:left])
            left -= min(left, len(piece))
        answer().read()
        return time.perf_counter() - begun

    buffer = bytearray(1 << 18)

    def down(size):
        begun = time.perf_counter()
        connection.request("GET", f"/bytes/{size}", headers=headers)
        response, got = answer(), 0
        while now := response.readinto(buffer):
            got += now
        assert got == size, got
        return time.perf_counter() - begun
"""


def requests(stage: Stage) -> Outcome:
    """Small requests, streams both ways, bodies of any size, and memory."""
    found = Outcome()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=stage.folder)))
        plain_port, tls_port = stack.enter_context(origin(_HOST, folder / "ca.pem"))
        clients = {"direct": stack.enter_context(stage.plain())}
        _connect(clients["direct"], tls_port, None, str(folder / "ca.pem"), "placeholder")
        clients["Keyless"] = keyless = stack.enter_context(_keyless(stage, plain_port))
        try:
            proxy = stack.enter_context(_mitmproxy(stage, plain_port, folder))
            clients["mitmproxy"] = stack.enter_context(stage.plain())
            ca = str(folder / "mitmproxy-ca-cert.pem")
            _connect(clients["mitmproxy"], 0, proxy, ca, "placeholder")
        except PeerMissing as missing:
            found.missing["mitmproxy"] = str(missing)
        with Peak(keyless.sidecar) as peak:
            took = _in_turn(clients, "small(50)", stage.rounds(25))
            speeds = {
                way: _speeds(_in_turn(clients, f"{way}({_STREAM})", stage.rounds(9)))
                for way in ("up", "down")
            }
        _figures(found, took, speeds)
        found.middle("proxy.rss", "the sidecar's RSS at most, with streams", "MB", [peak.mb])
        _bodies(stage, found, clients)
    return found


def _figures(
    found: Outcome,
    took: dict[str, list[float]],
    speeds: dict[str, dict[str, list[float]]],
) -> None:
    found.groups.append(Group("a small request on a kept connection (medians of 50)", "s", took))
    title = "latency that the proxy adds"
    found.beyond("proxy.latency", title, "ms", took["Keyless"], took["direct"], scale=1000)
    for way, samples in speeds.items():
        found.groups.append(Group(f"a TLS stream, {way}", "MB/s", samples))
        found.middle(f"proxy.{way}", f"TLS stream, {way}", "MB/s", samples["Keyless"])
        found.ratio(
            f"proxy.{way}.direct", f"{way}: ÷ direct", samples["Keyless"], samples["direct"]
        )
    if "mitmproxy" in took:
        found.ratio(
            "proxy.mitmproxy",
            "a small request: Keyless ÷ mitmproxy",
            took["Keyless"],
            took["mitmproxy"],
        )
        for way, samples in speeds.items():
            title = f"{way}: speed ÷ mitmproxy's"
            found.ratio(f"proxy.{way}.mitmproxy", title, samples["Keyless"], samples["mitmproxy"])


def _bodies(stage: Stage, found: Outcome, clients: dict[str, Cells]) -> None:
    sizes = _SIZES[:-2] if stage.quick else _SIZES
    if stage.full:
        sizes += (1 << 30,)
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in clients}
    memory: list[tuple[float, float]] = []
    for size in sizes:
        for name, cells in clients.items():
            with Peak(clients["Keyless"].sidecar) as peak:
                repeats = 5 if size <= 1 << 20 else 1
                took = sorted(cells.value(f"up({size})") for _ in range(repeats))
            lines[name].append((size, took[len(took) // 2]))
            if name == "Keyless":
                memory.append((size, peak.mb))
    found.curves.append(Curve("body", "A body through the proxy", "bytes", "seconds", lines))
    found.curves.append(
        Curve(
            "body.memory",
            "The sidecar while a body goes through",
            "bytes",
            "MB of RSS",
            {"sidecar": memory},
        )
    )


def _in_turn(clients: dict[str, Cells], call: str, rounds: int) -> dict[str, list[float]]:
    sides: dict[str, Measure] = {
        name: lambda cells=cells: cells.value(call) for name, cells in clients.items()
    }
    return in_turn(sides, rounds)


def _speeds(took: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: [_STREAM / 1e6 / each for each in samples] for name, samples in took.items()}


def _connect(cells: Cells, port: int, proxy: int | None, ca: str, token: str) -> None:
    cells.define(_CLIENT)
    through = None if proxy is None else ("127.0.0.1", proxy)
    cells.run(
        f"headers = {{'Authorization': {'Bearer ' + token!r}}}\n"
        f"connection = connect({_HOST!r}, ('127.0.0.1', {port}), {through!r}, {ca!r})"
    )


@contextlib.contextmanager
def _keyless(stage: Stage, port: int) -> Iterator[Cells]:
    """A kernel whose cells hold a placeholder of the token, connected through its proxy."""
    token = {"name": "api", "kind": "token", "fields": {"value": _TOKEN}}
    bound: dict[str, Any] = {**token, "tools": ["kernel"], "hosts": [_HOST]}
    upstreams = {"*.amazonaws.com": stage.aws.endpoint}
    stage.configure({**upstreams, _HOST: f"http://127.0.0.1:{port}"})
    try:
        with stage.keyless(keyless_credentials=[bound]) as cells:
            cells.define(_CLIENT)
            cells.define(
                f"""
                proxy = urlsplit(os.environ["HTTPS_PROXY"])
                headers = {{"Authorization": "Bearer " + os.environ["API_TOKEN"]}}
                connection = connect(
                    {_HOST!r}, None, (proxy.hostname, proxy.port), os.environ["SSL_CERT_FILE"]
                )
                """
            )
            yield cells
    finally:
        stage.configure(upstreams)


@contextlib.contextmanager
def _mitmproxy(stage: Stage, origin_port: int, folder: Path) -> Iterator[int]:
    """A running mitmdump that swaps the token and streams; its port."""
    program = stage.peers.python.with_name("mitmdump")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [str(program), "--quiet", "--listen-host", "127.0.0.1", "--listen-port", str(port)]
    argv += ["--set", f"confdir={folder}", "--set", "connection_strategy=lazy"]
    argv += ["-s", str(ROOT / "benchmarks" / "peers" / "swap_token.py")]
    environment = {**os.environ, "ORIGIN_PORT": str(origin_port), "TOKEN": _TOKEN}
    with (folder / "mitmproxy.log").open("w+") as log:
        process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log, cwd=folder)
        try:
            deadline = time.monotonic() + 30
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise PeerMissing("mitmdump doesn't come up")
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(10)
