"""Commands through a real sidecar: what they see, what comes back, how they end."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from tests.support.leftovers import descendants, of_commands
from tests.support.sidecar import SECRET, Sidecar, eventually, leaky

from keyless.protocol.frames import encode
from keyless.protocol.messages import Cancel, Exec, Output, Started, Status, StatusQuery

from .conftest import StartSidecar


def kinds(sidecar: Sidecar) -> list[str]:
    return [record["kind"] for record in sidecar.records()]


def test_a_command_runs_in_its_own_sandbox(sidecar: Sidecar, sandbox_user: int) -> None:
    result = sidecar.run("ids")
    assert result.finished.exit_code == 0
    assert result.started is not None
    uid, pid, proc = result.stdout.split()
    assert int(uid) == sandbox_user
    assert int(pid) < 10  # a pid namespace of its own
    assert proc == "False"
    assert result.finished.record_id == result.started.record_id


def test_exit_code_and_streams(sidecar: Sidecar) -> None:
    assert sidecar.run("rc", "7").finished.exit_code == 7
    result = sidecar.run("nonsense")
    assert result.finished.exit_code == 1
    assert "KeyError" in result.stderr
    assert result.finished.duration > 0


def test_only_the_standard_descriptors_are_open(sidecar: Sidecar) -> None:
    assert sidecar.run("fds").stdout.split() == ["0", "1", "2"]


def test_environment_is_clean(sidecar: Sidecar) -> None:
    result = sidecar.run("env")
    names = {line.partition("=")[0] for line in result.stdout.splitlines()}
    assert names <= {
        *("HOME", "PATH", "LANG", "TMPDIR", "LEAKY_SECRET", "LC_CTYPE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"),
    }
    assert "HOME=/home/tool\n" in result.stdout


@pytest.mark.parametrize("mode", ["plain", "stderr", "env", "b64", "hex", "split"])
def test_secret_is_redacted(sidecar: Sidecar, mode: str) -> None:
    result = sidecar.run(mode)
    both = result.stdout + result.stderr
    assert "[redacted:canary]" in both
    assert SECRET not in both
    assert SECRET.encode().hex() not in both
    assert result.finished.redactions["canary"] >= 1
    assert SECRET not in json.dumps(sidecar.records())


def test_output_that_is_not_utf8(sidecar: Sidecar) -> None:
    result = sidecar.run("bytes")
    assert result.finished.exit_code == 0
    assert result.finished.notes


def test_standard_input(sidecar: Sidecar) -> None:
    data = ("zeile äöü\n" * 40000).encode()
    assert sidecar.run("stdin", stdin=data).stdout.encode() == data
    assert sidecar.run("stdin", stdin=b"").stdout == ""
    assert sidecar.run("stdin").stdout == ""


def test_secret_from_standard_input_is_redacted_too(sidecar: Sidecar) -> None:
    assert sidecar.run("stdin", stdin=SECRET.encode()).stdout == "[redacted:canary]"


def test_working_folder(sidecar: Sidecar) -> None:
    (sidecar.workspace / "sub").mkdir(mode=0o755)
    assert sidecar.run("cwd", cwd="sub").stdout == "/workspace/sub\n"
    assert sidecar.run("cwd").stdout == "/workspace\n"
    for cwd in ("..", "missing", "/etc", "sub/../.."):
        assert sidecar.run("cwd", cwd=cwd).failed.kind == "InvalidRequest"


def test_unknown_tool_names_those_there_are(sidecar: Sidecar) -> None:
    failed = sidecar.run("x", tool="nosuch").failed
    assert failed.kind == "ToolNotFound"
    assert "leaky" in failed.message


def test_unknown_and_unbound_credentials(start_sidecar: StartSidecar) -> None:
    secret = {"kind": "generic", "fields": {"value": SECRET}}
    other = {"kind": "generic", "fields": {"value": SECRET[::-1] + "xY3"}}
    sidecar = start_sidecar(
        credentials=[
            {"name": "mine", "tools": ["leaky"], **secret},
            {"name": "foreign", "tools": ["psql"], **other},
        ]
    )
    sidecar.hello()
    unknown = sidecar.run("plain", credentials=["nope"]).failed
    assert (unknown.kind, "nope" in unknown.message) == ("PolicyDenied", True)
    unbound = sidecar.run("plain", credentials=["foreign"]).failed
    assert (unbound.kind, "not bound" in unbound.message) == ("PolicyDenied", True)
    assert "redacted:mine" in sidecar.run("plain", credentials=["mine"]).stdout
    assert "no-secret-in-environment" in sidecar.run("plain", credentials=[]).stdout


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e9])
def test_timeouts_that_make_no_sense(sidecar: Sidecar, timeout: float) -> None:
    failed = sidecar.run("plain", timeout=timeout).failed
    assert failed.kind == "InvalidRequest"
    assert "timeout" in failed.message


@pytest.mark.parametrize("arguments", [("ignore", "60"), ("sleep", "60")])
def test_timeout_ends_the_command(sidecar: Sidecar, arguments: tuple[str, ...]) -> None:
    begin = time.monotonic()
    failed = sidecar.run(*arguments, timeout=1).failed
    assert failed.kind == "CommandTimeout"
    assert time.monotonic() - begin < 5
    assert 0.9 < failed.duration < 4


def test_timeout_ends_daemons(sidecar: Sidecar) -> None:
    failed = sidecar.run("ignore", "60", timeout=1).failed
    assert failed.kind == "CommandTimeout"
    assert eventually(lambda: not of_commands(sidecar.process.pid))


def test_daemons_end_with_their_command(sidecar: Sidecar) -> None:
    sidecar.run("daemon", "beat", "30")
    assert eventually(lambda: not of_commands(sidecar.process.pid))
    begin = time.monotonic()
    result = sidecar.run("holdpipe", "40")
    assert result.stdout == "parent done\n"
    assert time.monotonic() - begin < 10
    assert eventually(lambda: not of_commands(sidecar.process.pid))


@pytest.mark.parametrize(("mode", "most"), [("sleep", 1.5), ("ignore", 5)])
def test_cancel(sidecar: Sidecar, mode: str, most: float) -> None:
    request = sidecar.start(mode, "60")
    sidecar.collect(request, until=lambda result: result.started is not None)
    time.sleep(0.3)
    begin = time.monotonic()
    sidecar.send(Cancel(id=request))
    assert sidecar.collect(request).failed.kind == "CommandCancelled"
    assert time.monotonic() - begin < most
    assert sidecar.run("rc", "0").finished.exit_code == 0


def test_cancel_while_waiting_for_input(sidecar: Sidecar) -> None:
    request = sidecar.next_id()
    sidecar.send(Exec(id=request, tool="leaky", argv=["stdin"], stdin_size=10))
    time.sleep(0.2)
    sidecar.send(Cancel(id=request))
    assert sidecar.collect(request).failed.kind == "CommandCancelled"


def test_flood_hits_the_limit_and_costs_no_memory(start_sidecar: StartSidecar) -> None:
    tools = {"declared": {"leaky": leaky(max_output=8 << 20)}, "aws": False}
    sidecar = start_sidecar(config={"Tools": tools})
    sidecar.hello()
    before = sidecar.memory()
    result = sidecar.run("flood", str(1 << 30))
    assert result.failed.kind == "OutputLimitExceeded"
    assert len(result.stdout) == 8 << 20
    assert sidecar.memory() - before < 64 << 20


def test_a_kernel_that_reads_nothing_stops_the_command_not_the_sidecar(
    start_sidecar: StartSidecar,
) -> None:
    sidecar = start_sidecar()
    sidecar.hello()
    request = sidecar.next_id()
    before = sidecar.memory()
    sidecar.send(Exec(id=request, tool="leaky", argv=["flood", str(1 << 30)], timeout=3))
    time.sleep(2)
    assert sidecar.memory() - before < 32 << 20
    # No credit was granted: the window is all that comes, then the time limit.
    got = 0
    while True:
        reply = sidecar.receive()
        if isinstance(reply, Output):
            got += len(reply.data)
        elif not isinstance(reply, Started):
            break
    assert reply.kind == "CommandTimeout"
    assert 0 < got <= 256 * 1024
    assert sidecar.run("rc", "0").finished.exit_code == 0


def test_requests_run_side_by_side(sidecar: Sidecar) -> None:
    requests = [sidecar.start("argv", f"id-{number}") for number in range(5)]
    texts: dict[int, str] = {}
    ended = 0
    while ended < len(requests):
        reply = sidecar.receive()
        if isinstance(reply, Output):
            texts[reply.id] = texts.get(reply.id, "") + reply.data
        elif not isinstance(reply, Started):
            ended += 1
    assert texts == {
        request: json.dumps([f"id-{number}"]) + "\n" for number, request in enumerate(requests)
    }


def test_too_many_requests_at_once(start_sidecar: StartSidecar) -> None:
    tools = {"declared": {"leaky": leaky()}, "aws": False, "max_requests": 1}
    sidecar = start_sidecar(config={"Tools": tools})
    sidecar.hello()
    first = sidecar.start("sleep", "2")
    failed = sidecar.run("rc", "0").failed
    assert failed.kind == "InvalidRequest"
    assert "under way" in failed.message
    assert failed.record_id
    sidecar.replies.clear()
    sidecar.collect(first)
    assert sidecar.run("rc", "0").finished.exit_code == 0


def test_arguments_that_are_too_long(sidecar: Sidecar) -> None:
    assert sidecar.run("argv", *["x" * 100_000] * 3).failed.kind == "InvalidRequest"
    assert sidecar.run("argv", "x" * 200_000).failed.kind == "InvalidRequest"
    assert sidecar.run("argv", "a\0b").failed.kind == "InvalidRequest"


def test_not_isolated_needs_a_person(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar()
    sidecar.hello()
    assert sidecar.run("rc", "0", isolated=False).failed.kind == "PolicyDenied"
    sidecar.close()
    tools = {"declared": {"leaky": leaky()}, "aws": False, "allow_not_isolated": True}
    sidecar = start_sidecar(config={"Tools": tools})
    sidecar.hello()
    result = sidecar.run("file", "out", "none", isolated=False)
    assert "Not isolated" in result.finished.notes[0]
    assert (sidecar.workspace / "out").read_text() == "fine\n"


def test_a_request_that_the_kernel_side_refused_is_recorded(sidecar: Sidecar) -> None:
    failed = sidecar.run("plain", refused="The quotes are not balanced.").failed
    assert (failed.kind, failed.message) == ("InvalidRequest", "The quotes are not balanced.")
    assert sidecar.records()[-1]["fields"]["rule"] == "request.malformed"
    assert "exec.result" not in kinds(sidecar)


def test_dry_run_decides_and_runs_nothing(sidecar: Sidecar) -> None:
    result = sidecar.run("file", "made", "none", dry_run=True)
    assert result.started is None
    assert any("would be allowed" in note for note in result.finished.notes)
    assert not (sidecar.workspace / "made").exists()
    assert sidecar.run("x", tool="nosuch", dry_run=True).failed.kind == "ToolNotFound"
    assert "exec.result" not in kinds(sidecar)


def test_records_are_on_disk_before_the_answer(sidecar: Sidecar) -> None:
    request = sidecar.start("plain")
    seen = sidecar.collect(request, until=lambda result: result.started is not None)
    assert seen.started is not None
    assert kinds(sidecar)[-2:] == ["exec.request", "exec.decision"]
    result = sidecar.collect(request)
    last = sidecar.records()[-1]
    assert last["kind"] == "exec.result"
    assert last["fields"]["request"] == result.finished.record_id
    assert last["fields"]["redactions"] == {"canary": 1}
    assert sidecar.run("x", tool="nosuch").failed.record_id
    assert sidecar.records()[-1]["fields"]["allowed"] is False


def test_arguments_in_the_audit_hold_no_secret(sidecar: Sidecar) -> None:
    sidecar.run("argv", f"--token={SECRET}")
    sidecar.run(SECRET, tool=SECRET)
    assert SECRET not in json.dumps(sidecar.records())


def test_status(sidecar: Sidecar) -> None:
    sidecar.run("rc", "0")
    sidecar.send(StatusQuery(id=sidecar.next_id()))
    status = sidecar.receive()
    assert isinstance(status, Status)
    assert [tool.name for tool in status.tools] == ["leaky"]
    assert status.tools[0].credentials == ["canary"]
    assert [credential.name for credential in status.credentials] == ["canary"]
    assert (status.commands, status.workspace) == (1, "/workspace")
    assert SECRET.encode() not in encode(status)


def test_killed_sidecar_takes_its_children_along(sidecar: Sidecar) -> None:
    request = sidecar.start("ignore", "60")
    sidecar.collect(request, until=lambda result: "ready to" in result.stdout)
    children = descendants(sidecar.process.pid)
    assert children
    sidecar.process.kill()
    sidecar.wait()
    assert eventually(lambda: not any(_lives(pid) for pid in children))


@pytest.mark.parametrize("how", ["channel", "lifeline", "sigterm"])
def test_end_of_the_sidecar_ends_its_children(sidecar: Sidecar, how: str) -> None:
    request = sidecar.start("ignore", "60")
    sidecar.collect(request, until=lambda result: "ready to" in result.stdout)
    children = descendants(sidecar.process.pid)
    assert children
    if how == "sigterm":
        sidecar.process.send_signal(signal.SIGTERM)
    elif how == "channel":
        sidecar.channel.close()
    else:
        sidecar.lifeline.close()
    assert sidecar.wait() == 0
    assert not any(_lives(pid) for pid in children)
    assert [record["kind"] for record in sidecar.records()][-2:] == ["exec.result", "audit.close"]
    assert not list(sidecar.scratch.iterdir())


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_the_sidecar_can_not_be_looked_into(sidecar: Sidecar) -> None:
    # Not dumpable: its files in /proc belong to root, whoever runs it.
    assert Path(f"/proc/{sidecar.process.pid}/environ").stat().st_uid == 0
