"""The network as a tool in its sandbox sees it: the gate, and nothing else."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from tests.support.sidecar import SECRET, Sidecar, leaky
from tests.support.web import Handler, serving

from .conftest import StartSidecar


class Listener:
    """A TCP listener on the host that keeps what it is sent."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.received.append(connection.recv(4096))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener()
    yield listening
    listening.close()


class _Handler(Handler):
    def do_GET(self) -> None:
        self.reply(f"path={self.path}".encode())


@pytest.fixture
def upstream() -> Iterator[int]:
    with serving(_Handler) as port:
        yield port


def test_a_listener_of_the_host_is_out_of_reach(sidecar: Sidecar, listener: Listener) -> None:
    result = sidecar.run("connect", "127.0.0.1", str(listener.port))
    assert result.finished.exit_code != 0
    assert "refused" in result.stderr
    assert sidecar.run("unix").finished.exit_code != 0
    assert listener.received == []


def test_the_gate_refuses_what_is_not_allowed(sidecar: Sidecar, listener: Listener) -> None:
    target = f"127.0.0.1:{listener.port}"
    result = sidecar.run("proxied", target)
    assert f"403 Keyless: {target} is not among the hosts" in result.stdout
    why = "it is not among the hosts that this tool may reach"
    assert result.finished.notes == [f"egress refused: {target}: {why}"]
    assert sidecar.records()[-1]["fields"]["egress_refused"] == {target: 1}
    assert "403" in sidecar.run("proxied", "169.254.169.254:80", "/latest").stdout
    assert listener.received == []


def test_a_configured_upstream_is_reached(start_sidecar: StartSidecar, upstream: int) -> None:
    tools = {"declared": {"leaky": leaky(hosts=["api.example:443"])}, "aws": False}
    egress = {"upstreams": {"*.example": f"http://127.0.0.1:{upstream}"}}
    sidecar = start_sidecar(config={"Tools": tools, "Egress": egress})
    sidecar.hello()
    result = sidecar.run("proxied", f"127.0.0.1:{upstream}", "/hello?a=b")
    assert "200 OK" in result.stdout
    assert "path=/hello?a=b" in result.stdout
    assert result.finished.notes == []
    # Only that one: the host that it stands in for is out of reach now.
    assert "403" in sidecar.run("proxied", "api.example:443").stdout
    assert "403" in sidecar.run("proxied", f"127.0.0.1:{upstream + 1}").stdout


def test_an_answer_that_echoes_the_secret_is_redacted(
    start_sidecar: StartSidecar, upstream: int
) -> None:
    tools = {"declared": {"leaky": leaky(hosts=["api.example:443"])}, "aws": False}
    egress = {"upstreams": {"*.example": f"http://127.0.0.1:{upstream}"}}
    sidecar = start_sidecar(config={"Tools": tools, "Egress": egress})
    sidecar.hello()
    result = sidecar.run("proxied", f"127.0.0.1:{upstream}", f"/{SECRET}")
    assert "[redacted:canary]" in result.stdout
    assert SECRET not in result.stdout
