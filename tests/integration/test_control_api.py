"""The control API of a real sidecar, by its own client and by bytes of an attacker's."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.rawhttp import exchange, head
from tests.support.sidecar import SECRET, Sidecar, eventually, kept_sidecar

from keyless.control_client import ControlClient, ControlError, ControlUnavailable

OTHER = "Zq8Wn3Rk6Tb1Yx5Mv0Lc7Hd2Js9Pg4F"


@pytest.fixture(scope="module")
def one_sidecar() -> Iterator[Sidecar]:
    """A sidecar with the leaking tool."""
    with kept_sidecar() as sidecar:
        yield sidecar


@pytest.fixture
def sidecar(one_sidecar: Sidecar) -> Sidecar:
    """The same, with only the records from now on."""
    one_sidecar.begin_anew()
    return one_sidecar


@pytest.fixture
def control(sidecar: Sidecar) -> ControlClient:
    """Its control API."""
    return ControlClient(sidecar.control)


async def refused(call: Any) -> ControlError:
    with pytest.raises(ControlError) as caught:
        await call
    return caught.value


# ------------------------------------------------------------------ what it is for


async def test_status_names_what_there_is_and_no_value(control: ControlClient) -> None:
    status = await control.status()
    assert status["kernel_id"] == "test-kernel"
    assert [tool["name"] for tool in status["tools"]] == ["leaky"]
    assert [entry["name"] for entry in status["credentials"]] == ["canary"]
    assert status["running"] == []
    assert SECRET not in str(status)


async def test_a_command_with_a_credential(sidecar: Sidecar, control: ControlClient) -> None:
    done = await control.vault_exec("leaky", ["plain"], credentials=["canary"])
    assert done["exit_code"] == 0
    assert done["stdout"] == "token=[redacted:canary]\n"
    assert done["redactions"] == {"canary": 1}
    request = next(r for r in sidecar.records() if r["record_id"] == done["record_id"])
    assert request["fields"]["origin"] == "control"
    assert (await control.audit())[-1]["kind"] == "exec.result"
    assert len(await control.audit(limit=2)) == 2


async def test_standard_input_and_a_line(control: ControlClient) -> None:
    assert (await control.vault_exec("leaky", ["stdin"], stdin="hello"))["stdout"] == "hello"
    done = await control.platform_exec("leaky argv 'a b' c")
    assert json.loads(done["stdout"]) == ["a b", "c"]


async def test_a_line_that_needs_a_shell_is_refused_and_on_record(
    sidecar: Sidecar, control: ControlClient
) -> None:
    error = await refused(control.platform_exec("leaky plain | cat"))
    assert (error.status, error.kind) == (400, "InvalidRequest")
    assert "no shell" in error.message
    request = next(r for r in sidecar.records() if r["record_id"] == error.record_id)
    assert request["kind"] == "exec.request"
    assert "no shell" in request["fields"]["refused"]


async def test_failures_have_their_status(control: ControlClient) -> None:
    missing = await refused(control.vault_exec("rm", ["-rf", "/"]))
    assert (missing.status, missing.kind) == (404, "ToolNotFound")
    late = await refused(control.vault_exec("leaky", ["sleep", "20"], timeout=0.5))
    assert (late.status, late.kind) == (408, "CommandTimeout")
    assert late.record_id
    unknown = await refused(control.vault_exec("leaky", ["plain"], credentials=["nothing"]))
    assert (unknown.status, unknown.kind) == (403, "PolicyDenied")


async def test_a_call_that_is_cancelled_ends_its_command(
    sidecar: Sidecar, control: ControlClient
) -> None:
    call = asyncio.ensure_future(control.vault_exec("leaky", ["sleep", "60"]))
    while not (await control.status())["running"]:
        await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    ended = await asyncio.to_thread(
        eventually,
        lambda: any(
            record["kind"] == "exec.result" and record["fields"]["outcome"] == "CommandCancelled"
            for record in sidecar.records()
        ),
    )
    assert ended


async def test_long_output_is_cut_and_says_so(control: ControlClient) -> None:
    done = await control.vault_exec("leaky", ["flood", str(9 * 1024**2)])
    assert 7 * 1024**2 < len(done["stdout"]) <= 8 * 1024**2
    assert any("The output is cut" in note for note in done["notes"])


async def test_a_stored_credential_is_used_and_forgotten(
    sidecar: Sidecar, control: ControlClient
) -> None:
    await control.store("mine", "generic", {"value": OTHER}, ["leaky"], delivery="env")
    names = [entry["name"] for entry in (await control.status())["credentials"]]
    assert names == ["canary", "mine"]
    taken = await refused(control.store("mine", "generic", {"value": OTHER}, ["leaky"]))
    assert (taken.status, taken.kind) == (409, "NameTaken")
    done = await control.vault_exec("leaky", ["plain"], credentials=["mine"])
    assert done["stdout"] == "token=[redacted:mine]\n"
    await control.remove("mine")
    assert (await refused(control.remove("mine"))).status == 404
    assert (await refused(control.remove("canary2"))).status == 404
    assert "mine" not in str((await control.status())["credentials"])
    kinds = [record["kind"] for record in sidecar.records()]
    assert kinds[0] == "vault.stored"
    assert "vault.removed" in kinds
    assert OTHER not in str(sidecar.records())


async def test_a_weak_credential_isnt_taken(control: ControlClient) -> None:
    weak = await refused(control.store("weak", "generic", {"value": "aaaa"}, ["leaky"]))
    assert weak.status == 400
    assert "aaaa" not in weak.message
    unreachable = await refused(control.store("x", "token", {"value": OTHER}, [], delivery="proxy"))
    assert "hosts" in unreachable.message


async def test_a_credential_for_one_command_only(sidecar: Sidecar, control: ControlClient) -> None:
    secret = "Gc5Vt9Ny2Qm7Kx4Bw8Rz1Jd6Hp3Ls0F"
    done = await control.jit_exec(
        ("leaky", ["plain"]), fields={"value": secret}, kind="generic", delivery="env"
    )
    assert secret not in done["stdout"]
    assert done["stdout"].startswith("token=[redacted:jit-")
    name = done["stdout"].strip()[len("token=[redacted:") : -1]
    assert name not in str((await control.status())["credentials"])
    again = await refused(control.vault_exec("leaky", ["plain"], credentials=[name]))
    assert again.kind == "PolicyDenied"
    assert secret not in str(sidecar.records())


async def test_a_credential_from_a_program(sidecar: Sidecar, control: ControlClient) -> None:
    program = sidecar.home / "issue"
    counted = sidecar.home / "count"
    program.write_text(
        f'#!/bin/sh\necho x >> {counted}\nprintf \'{{"key": "Fj4Qw8Zt2Xv6Nb0Kd5Rm9Lp3Hs7Gy1C"}}\'\n'
    )
    program.chmod(0o755)
    for _ in range(2):
        done = await control.jit_exec(
            "leaky plain",
            program=[str(program)],
            program_fields={"value": "key"},
            kind="generic",
            delivery="env",
        )
        assert "Fj4Qw8" not in done["stdout"]
        assert "redacted:jit-" in done["stdout"]
    assert counted.read_text() == "x\nx\n"  # fetched for each command
    denied = await refused(
        control.jit_exec(("rm", ["x"]), program=[str(program)], kind="generic", delivery="env")
    )
    assert denied.kind == "ToolNotFound"
    assert counted.read_text() == "x\nx\n"  # never for one that doesn't run
    missing = await refused(control.jit_exec("leaky plain", program=["/nowhere"], kind="token"))
    assert missing.status in (400, 503)


async def test_events_of_a_command(control: ControlClient) -> None:
    heard: list[tuple[str, str]] = []

    async def listen() -> None:
        async for event in control.events(approves=False):
            heard.append((event.kind, event.data["record_id"]))

    listening = asyncio.ensure_future(listen())
    await asyncio.sleep(0.3)
    assert (await control.status())["approvers"] == 0
    done = await control.vault_exec("leaky", ["rc", "0"])
    while len(heard) < 2:
        await asyncio.sleep(0.02)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert heard == [("started", done["record_id"]), ("finished", done["record_id"])]


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(ControlUnavailable):
        await ControlClient(tmp_path).status()


# ------------------------------------------------------------------ what it refuses


def test_socket_and_token_are_for_one_user(sidecar: Sidecar) -> None:
    for name in ("control", "control.token"):
        info = (sidecar.control / name).stat()
        assert stat.S_IMODE(info.st_mode) == 0o600
        assert info.st_uid == os.geteuid()


@pytest.mark.parametrize(
    ("status", "lines", "changes"),
    [
        (401, [], {"token": ""}),
        (401, [], {"token": "guessed"}),
        (401, ["Authorization: Bearer guessed"], {}),
        (403, [], {"host": "localhost.evil.example"}),
        (403, [], {"host": "localhost:80"}),
        (403, [], {"host": "127.0.0.1"}),
        (403, ["Host: localhost"], {}),
        (403, ["Origin: null"], {}),
        (403, ["Origin: http://localhost"], {}),
        (403, ["Cookie: a=b"], {}),
        (403, ["Sec-Fetch-Site: same-origin"], {}),
    ],
)
def test_who_may_not_speak(
    sidecar: Sidecar, status: int, lines: list[str], changes: dict[str, str]
) -> None:
    raw = head(sidecar.control, "GET /api/status HTTP/1.1", *lines, **changes)  # type: ignore[arg-type]
    got, answer = exchange(sidecar.control, raw)
    assert got == status
    assert b"test-kernel" not in answer


@pytest.mark.parametrize(
    ("statuses", "lines", "body"),
    [
        ((413,), ["Content-Length: 4194305"], b""),
        ((400, 0), ["Transfer-Encoding: chunked"], b"500000\r\n" + b"x" * 0x500000),
        ((400,), ["Content-Length: 5", "Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        ((400,), ["Content-Length: 5", "Content-Length: 6"], b"{}{}{}"),
        ((400,), ["Content-Length: +5"], b"{}   "),
        ((400,), ["Content-Length : 5"], b"{}   "),
        ((400,), ["Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n"),
        ((415,), ["Content-Length: 2", "Content-Encoding: gzip"], b"{}"),
        ((400,), ["X: y\r\n folded"], b""),
        ((400,), ["X" * 70_000 + ": y"], b""),
    ],
)
def test_framing_that_isnt_plain(
    sidecar: Sidecar, statuses: tuple[int, ...], lines: list[str], body: bytes
) -> None:
    inner = head(sidecar.control, "GET /api/status HTTP/1.1")
    line = "POST /api/deny HTTP/1.1"
    raw = head(sidecar.control, line, "Content-Type: application/json", *lines) + body + inner
    got, answer = exchange(sidecar.control, raw)
    assert got in (*statuses, 0)
    # The request that was hidden behind it is never answered.
    assert b"test-kernel" not in answer


@pytest.mark.parametrize(
    ("status", "line", "kind", "body"),
    [
        (404, "GET /api/nothing HTTP/1.1", "", b""),
        (404, "GET http://localhost/api/status HTTP/1.1", "", b""),
        (404, "GET //api/status HTTP/1.1", "", b""),
        (404, "DELETE /api/vault/..%2fx HTTP/1.1", "", b""),
        (405, "DELETE /api/status HTTP/1.1", "", b""),
        (405, "OPTIONS /api/approve HTTP/1.1", "", b""),
        (400, "GET /api/audit?limit=0 HTTP/1.1", "", b""),
        (400, "GET /api/audit?limit=5&limit=6 HTTP/1.1", "", b""),
        (400, "GET /api/status?x=y HTTP/1.1", "", b""),
        (415, "POST /api/deny HTTP/1.1", "text/plain", b"{}"),
        (415, "POST /api/deny HTTP/1.1", "application/x-www-form-urlencoded", b"id=1"),
        (400, "POST /api/deny HTTP/1.1", "application/json", b"{"),
        (400, "POST /api/deny HTTP/1.1", "application/json", b'{"id":"00000000","more":1}'),
        (400, "POST /api/deny HTTP/1.1", "application/json", b'{"id":"..","reason":""}'),
        (400, "POST /api/approve HTTP/1.1", "application/json", b'{"id":"00000000","minutes":-1}'),
        (404, "POST /api/approve HTTP/1.1", "application/json", b'{"id":"00000000"}'),
    ],
)
def test_requests_that_make_no_sense(
    sidecar: Sidecar, status: int, line: str, kind: str, body: bytes
) -> None:
    more = [f"Content-Type: {kind}", f"Content-Length: {len(body)}"] if kind else []
    got, answer = exchange(sidecar.control, head(sidecar.control, line, *more) + body)
    assert got == status, answer
    said = json.loads(answer.split(b"\r\n\r\n", 1)[1])
    assert said["error"]
    assert said["message"].endswith(".")
    assert b"Set-Cookie" not in answer


def test_one_connection_serves_several_requests(sidecar: Sidecar) -> None:
    first = head(sidecar.control, "GET /api/pending HTTP/1.1", close=False)
    second = head(sidecar.control, "GET /api/pending HTTP/1.1")
    _, answer = exchange(sidecar.control, first + second)
    assert answer.count(b'{"pending":[]}') == 2


async def test_the_description_names_what_there_is(control: ControlClient) -> None:

    document = await control.openapi()

    assert {"/api/approve", "/api/vault/exec", "/api/jit/exec"} <= set(document["paths"])
