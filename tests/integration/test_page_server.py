"""The approval page's server: who may speak with it, and what it passes on."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
from collections.abc import Iterator

import pytest
from tests.support.asking import ASKING, begin
from tests.support.page import PROGRAM, Served, page_server, runtime_folder, send
from tests.support.sidecar import Sidecar, kept_sidecar

KERNEL = "5f0c9a3e-7d1b-4c55-9b60-1d3a8a1c2e77"


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Sidecar]:
    """A kernel's sidecar whose policy asks."""
    with kept_sidecar(policy=ASKING) as sidecar:
        yield sidecar


@pytest.fixture(scope="module")
def served(sidecar: Sidecar) -> Iterator[Served]:
    """The page for it."""
    runtime = runtime_folder(sidecar.home, **{KERNEL.replace("-", "_"): sidecar.control})
    with page_server(runtime) as served:
        yield served


def said(answer: bytes) -> dict[str, object]:
    return dict(json.loads(answer.split(b"\r\n\r\n", 1)[1]))


def own(served: Served, *more: str) -> list[str]:
    """Headers as the page itself sends them."""
    return [
        f"Host: {served.host}",
        f"Origin: {served.origin}",
        "Sec-Fetch-Site: same-origin",
        f"Authorization: Bearer {served.token}",
        *more,
    ]


def post(served: Served, path: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
    headers = own(served, "Content-Type: application/json")
    status, answer = send(
        served,
        f"POST {path} HTTP/1.1",
        *headers,
        body=json.dumps({"kernel": KERNEL} | body).encode(),
    )
    return status, said(answer)


# ------------------------------------------------------------------ who may speak


def test_the_page_itself_is_open_and_closed_in_by_its_headers(served: Served) -> None:
    status, answer = send(served, "GET / HTTP/1.1", f"Host: {served.host}")
    assert status == 200
    head = answer.split(b"\r\n\r\n", 1)[0].decode().lower()
    for part in (
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
        "form-action 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        "x-frame-options: deny",
        "cross-origin-opener-policy: same-origin",
        "cross-origin-resource-policy: same-origin",
        "referrer-policy: no-referrer",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
    ):
        assert part in head
    assert "unsafe" not in head
    assert "access-control" not in head
    assert "set-cookie" not in head
    assert served.token.encode() not in answer


@pytest.mark.parametrize(
    "change",
    [
        {"Host": "rebound.example"},
        {"Host": "rebound.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Host": "127.0.0.1.:{port}"},
        {"Host": "[::1]:{port}"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8888"},
        {"Origin": "http://localhost:{port}"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Authorization": "Bearer {token}x"},
        {"Authorization": "Basic {token}"},
        {"Authorization": ""},
    ],
    ids=lambda change: "-".join(change.values()) or f"no {next(iter(change))}",
)
def test_who_may_not_speak(served: Served, change: dict[str, str]) -> None:
    headers = dict(line.split(": ", 1) for line in own(served))
    for name, value in change.items():
        headers[name] = value.format(port=served.port, token=served.token)
    lines = [f"{name}: {value}" for name, value in headers.items() if value]
    body = json.dumps({"kernel": KERNEL, "id": "00000000"}).encode()
    kind = "Content-Type: application/json"
    status, answer = send(served, "POST /api/approve HTTP/1.1", *lines, kind, body=body)
    assert status in (401, 403)
    assert KERNEL.encode() not in answer
    assert b"access-control" not in answer.lower()


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (401, []),
        (401, ["Authorization: Bearer guess"]),
        (401, ["Authorization: Bearer {token}", "Authorization: Bearer {token}"]),
        (403, ["Authorization: Bearer {token}", "Sec-Fetch-Site: cross-site"]),
        (403, ["Authorization: Bearer {token}", "Origin: http://evil.example"]),
        (200, ["Authorization: Bearer {token}", "Cookie: somebody=else"]),
    ],
)
@pytest.mark.parametrize("path", ["/api/kernels", f"/api/audit?kernel={KERNEL}"])
def test_nothing_is_told_without_the_token(
    served: Served, path: str, status: int, headers: list[str]
) -> None:
    lines = [line.format(token=served.token) for line in headers]
    got, answer = send(served, f"GET {path} HTTP/1.1", f"Host: {served.host}", *lines)
    assert got == status
    assert (b"test-kernel" in answer) == (status == 200)


def test_a_link_elsewhere_may_open_the_page_and_nothing_else(served: Served) -> None:
    opened = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"]
    host = f"Host: {served.host}"
    for path, target, status in (
        ("/", "document", 200),
        ("/", "iframe", 403),
        ("/main.js", "document", 403),
        ("/api/kernels", "document", 403),
    ):
        line = f"GET {path} HTTP/1.1"
        assert send(served, line, host, *opened, f"Sec-Fetch-Dest: {target}")[0] == status
    assert send(served, "POST / HTTP/1.1", host, *opened, "Sec-Fetch-Dest: document")[0] == 403
    assert send(served, "GET /main.js HTTP/1.1", host, "Sec-Fetch-Site: cross-site")[0] == 403


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("OPTIONS /api/approve HTTP/1.1", 404),
        ("GET /api/approve HTTP/1.1", 404),
        ("PUT /api/approve HTTP/1.1", 404),
        ("GET /../types.py HTTP/1.1", 404),
        ("GET /%2e%2e/types.py HTTP/1.1", 404),
        ("GET //main.js HTTP/1.1", 404),
        ("GET /api/vault/store HTTP/1.1", 404),
        ("POST /api/vault/exec HTTP/1.1", 404),
        ("GET /api/audit?kernel=../x HTTP/1.1", 404),
        (f"GET /api/audit?kernel={KERNEL}&limit=0 HTTP/1.1", 400),
        (f"GET /api/audit?kernel={KERNEL}&limit=99999999999 HTTP/1.1", 400),
    ],
)
def test_what_it_doesnt_have(served: Served, line: str, status: int) -> None:
    assert send(served, line, *own(served))[0] == status


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (415, "text/plain", b'{"kernel":"x","id":"00000000"}'),
        (415, "application/x-www-form-urlencoded", b"id=00000000"),
        (400, "application/json", b"{"),
        (400, "application/json", b'{"kernel":"x","id":"00000000","via":"host"}'),
        (400, "application/json", b'{"kernel":"x","id":"0"}'),
        (404, "application/json", b'{"kernel":"../x","id":"00000000"}'),
    ],
)
def test_bodies_that_make_no_sense(served: Served, status: int, kind: str, body: bytes) -> None:
    headers = own(served, f"Content-Type: {kind}")
    got, answer = send(served, "POST /api/approve HTTP/1.1", *headers, body=body)
    assert got == status
    assert str(said(answer)["message"]).endswith(".")


# ------------------------------------------------------------------ what it passes on


async def test_questions_wait_while_a_page_listens_and_are_answered_by_it(
    served: Served, sidecar: Sidecar
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    head = "\r\n".join(["GET /api/events HTTP/1.1", *own(served)])
    writer.write(head.encode() + b"\r\n\r\n")

    async def event(kind: str) -> dict[str, object]:
        while True:
            line = (await asyncio.wait_for(reader.readline(), 20)).decode().strip()
            if line == f"event: {kind}":
                data = (await reader.readline()).decode().removeprefix("data: ")
                return dict(json.loads(data))

    assert await event("kernel") == {"kernel": KERNEL}
    running = begin(sidecar, "rc", "0")
    question = await event("pending")
    assert question["kernel"] == KERNEL
    status, _ = await asyncio.to_thread(post, served, "/api/approve", {"id": question["id"]})
    assert status == 200
    assert (await event("decided"))["approved"] is True
    assert (await running).finished.exit_code == 0
    again = await asyncio.to_thread(post, served, "/api/approve", {"id": question["id"]})
    assert again[0] == 404
    answer = next(r["fields"] for r in sidecar.records() if r["kind"] == "approval.answer")
    assert answer["by"]["via"] == "page"
    assert answer["by"]["pid"] == served.process.pid
    await event("finished")

    running = begin(sidecar, "sleep", "30")
    record = (await event("started"))["record_id"]
    assert (await asyncio.to_thread(post, served, "/api/stop", {"record_id": record}))[0] == 200
    failed = (await running).failed
    assert failed.kind == "CommandCancelled"
    assert "A person stopped leaky" in failed.message
    assert (await asyncio.to_thread(post, served, "/api/stop", {"record_id": record}))[0] == 404
    stopped = next(r["fields"] for r in sidecar.records() if r["kind"] == "exec.stopped")
    assert stopped["request"] == record
    assert stopped["by"]["via"] == "page"

    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.5)  # until page and sidecar have heard of it
    # Nobody listens any more, so it is denied at once.
    end = (await begin(sidecar, "rc", "0")).failed
    assert "Nobody can approve" in end.message


def test_the_address_is_left_without_the_token(served: Served, sidecar: Sidecar) -> None:
    file = sidecar.home / "runtime" / "keyless-page.json"
    assert json.loads(file.read_text()) == {
        "url": f"{served.origin}/",
        "pid": served.process.pid,
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_port_of_ones_choice(served: Served, sidecar: Sidecar) -> None:
    runtime = sidecar.home / "runtime"
    before = (runtime / "keyless-page.json").read_text()
    taken = subprocess.run(
        [PROGRAM, "page", "--port", str(served.port)],
        env={"JUPYTER_RUNTIME_DIR": str(runtime), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert taken.returncode == 1
    assert "can't be had" in taken.stderr
    assert (runtime / "keyless-page.json").read_text() == before
    low = subprocess.run(
        [PROGRAM, "page", "--port", "80"], capture_output=True, text=True, check=False
    )
    assert low.returncode == 2
