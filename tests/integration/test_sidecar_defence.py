"""The sidecar's own defence: what others can read of it, what it may do, what a peer costs it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.leftovers import descendants
from tests.support.sidecar import LEAKY, SECRET, Sidecar, leaky

from keyless.protocol.frames import encode
from keyless.protocol.messages import (
    MAX_STDIN_BYTES,
    MAX_STDIN_CHUNK,
    Credit,
    Exec,
    Failed,
    Finished,
    Output,
    Started,
    Status,
    StatusQuery,
    Stdin,
)

from .conftest import StartSidecar

MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")


def status(pid: int) -> dict[str, str]:
    """``/proc/PID/status``."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def processor_time(sidecar: Sidecar) -> float:
    """Seconds of processor time that the sidecar has used."""
    fields = Path(f"/proc/{sidecar.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


# ------------------------------------------------------------------------------ what is in force


def test_system_calls_are_filtered_and_no_privilege_can_be_gained(sidecar: Sidecar) -> None:
    found = status(sidecar.process.pid)
    assert (found["Seccomp"], found["NoNewPrivs"]) == ("2", "1")
    opening = sidecar.records()[0]
    assert opening["fields"]["facts"]["hardening"]["system_calls"] == "filtered"
    # Commands run under it, in sandboxes with filters of their own on top.
    assert sidecar.run("rc", "0").finished.exit_code == 0


@pytest.mark.attack(
    wall="values over descriptors", title="Read arguments and environments of all its processes."
)
def test_no_secret_in_arguments_or_environment(sidecar: Sidecar) -> None:
    request = sidecar.start("read", "1")
    sidecar.collect(request, until=lambda result: bool(result.started))
    seen = set()
    end = time.monotonic() + 0.8
    while time.monotonic() < end:
        for pid in (sidecar.process.pid, *descendants(sidecar.process.pid)):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                assert SECRET.encode() not in line
                if str(LEAKY).encode() in line and b"prlimit" not in line:
                    seen.add("tool")  # with delivery "env" the tool itself holds it, by design
                    continue
                seen.add("other")
                # Where even reading it is denied, there is nothing to look at.
                assert SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    assert seen == {"tool", "other"}
    assert sidecar.collect(request).finished.exit_code == 0


def test_it_is_not_served_without_isolation(jupyter_home: Path) -> None:
    read, write = os.pipe()
    ours, theirs = os.pipe()
    argv = [sys.executable, "-m", "keyless_sidecar", "serve", "--settings-fd", str(read)]
    argv += ["--channel-fd", str(read), "--status-fd", str(theirs), "--lifeline-fd", str(read)]
    argv += ["--network-fd", str(read)]
    with os.fdopen(ours, "rb") as answer, os.fdopen(write, "wb"):
        done = subprocess.run(
            argv, pass_fds=(read, theirs), cwd=jupyter_home, capture_output=True, check=False
        )
        os.close(read)
        os.close(theirs)
        assert done.returncode == 1, done.stderr
        assert b"python -I" in answer.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
@pytest.mark.attack(wall="own code is read-only", title="Own a program that the sidecar runs.")
def test_a_tool_that_the_sandbox_could_change(
    start_sidecar: StartSidecar, jupyter_home: Path, sandbox_user: int
) -> None:
    folder = jupyter_home / "programs"
    folder.mkdir()
    program = folder / "tool"
    program.write_bytes(LEAKY.read_bytes())
    program.chmod(0o755)
    os.chown(folder, sandbox_user, sandbox_user)
    sidecar = start_sidecar(
        config={"Tools": {"declared": {"leaky": leaky(path=str(program))}, "aws": False}}
    )
    assert "could be changed by others" in sidecar.status["error"]
    assert sidecar.wait() == 1


PASSPHRASE = "a long passphrase nobody knows"
KEPT = """
import gc, json, os, sys
from keyless_kernel.confine.settings import SidecarSettings
from keyless_sidecar import server
settings = os.memfd_create("settings")
os.write(settings, sys.stdin.buffer.read())
os.lseek(settings, 0, 0)
parts = server._start(settings)
gc.collect()
strings, todo, seen = set(), [parts, *gc.get_objects()], set()
while todo:
    thing = todo.pop()
    if id(thing) in seen:
        continue
    seen.add(id(thing))
    if isinstance(thing, str):
        strings.add(thing)
    elif isinstance(thing, SidecarSettings):
        print("settings are kept")
    else:
        todo += gc.get_referents(thing)
for word, name in ((sys.argv[1], "passphrase"), (sys.argv[2], "value")):
    # Given reversed, since the arguments are strings of this process, too.
    print(name, "kept" if any(word == text[::-1] for text in strings) else "gone")
"""


def test_settings_are_forgotten_after_the_start(start_sidecar: StartSidecar) -> None:
    """The passphrase has done its work; a registered value is the vault's alone."""
    made = start_sidecar(passphrase=PASSPHRASE)
    done = subprocess.run(
        [sys.executable, "-I", "-c", KEPT, PASSPHRASE[::-1], SECRET[::-1]],
        input=made._settings,
        capture_output=True,
        check=False,
    )
    assert done.stdout.decode().split("\n")[:2] == ["passphrase gone", "value kept"], done.stderr


# ------------------------------------------------------------------------- what a peer can cost it


def test_a_silent_peer_costs_nothing(sidecar: Sidecar) -> None:
    sidecar.run("rc", "0")
    sidecar.channel.sendall(encode(StatusQuery(id=99))[:-2])
    time.sleep(0.5)
    before, memory = processor_time(sidecar), sidecar.memory()
    time.sleep(3)
    assert processor_time(sidecar) - before <= 2 / TICKS
    assert sidecar.memory() - memory < MIB


def test_a_trickling_peer_costs_next_to_nothing(sidecar: Sidecar) -> None:
    sidecar.run("rc", "0")
    frame = encode(Exec(id=50, tool="nosuch", argv=["x" * 600]))
    before, memory = processor_time(sidecar), sidecar.memory()
    for byte in frame:
        sidecar.channel.sendall(bytes([byte]))
        time.sleep(0.004)
    assert isinstance(sidecar.collect(50).end, Failed)
    assert processor_time(sidecar) - before < 0.5
    assert sidecar.memory() - memory < 2 * MIB


def test_a_peer_that_never_reads(sidecar: Sidecar) -> None:
    """The tool waits, and with it everything behind it."""
    memory = sidecar.memory()
    request = sidecar.start("flood", str(32 * MIB), timeout=60)
    sidecar.send(Credit(id=request, size=2**31))
    time.sleep(3)
    before = processor_time(sidecar)
    time.sleep(2)
    assert processor_time(sidecar) - before <= 0.1
    assert sidecar.memory() - memory < 24 * MIB
    assert sidecar.collect(request).finished.exit_code == 0


def test_standard_input_that_is_announced_and_never_comes(sidecar: Sidecar) -> None:
    """All requests together hold a bounded amount, whatever each of them announced."""
    memory = sidecar.memory()
    requests = [sidecar.next_id() for _ in range(8)]
    piece = b"x" * MAX_STDIN_CHUNK
    for request in requests:
        sidecar.send(Exec(id=request, tool="leaky", argv=["stdin"], stdin_size=MAX_STDIN_BYTES))
        for _ in range(MAX_STDIN_BYTES // MAX_STDIN_CHUNK - 1):
            sidecar.send(Stdin(id=request, data=piece))
    refused = 0
    while refused < 4:
        reply = sidecar.receive()
        assert isinstance(reply, Failed), reply
        assert "standard input" in reply.message
        refused += 1
    assert sidecar.memory() - memory < 16 * MIB
    held = [path.stat().st_size for path in Path(f"/proc/{sidecar.process.pid}/fd").iterdir()]
    assert sum(size for size in held if size > MIB) <= 4 * MAX_STDIN_BYTES
    sidecar.channel.close()
    assert sidecar.wait() == 0


def test_many_requests_leave_nothing_in_memory(sidecar: Sidecar) -> None:
    """Thousands of requests of all kinds, and the sidecar is as large as after the first ones."""

    def some(count: int) -> None:
        for number in range(count):
            request = sidecar.next_id()
            if number % 3 == 0:
                sidecar.send(StatusQuery(id=request))
            elif number % 3 == 1:
                sidecar.send(Exec(id=request, tool="nosuch", argv=["x" * 1000, str(number)]))
            else:
                sidecar.send(
                    Exec(id=request, tool="leaky", argv=["y" * 5000], dry_run=True, stdin_size=10),
                    Stdin(id=request, data=b"0123456789"),
                )
            while True:
                reply = sidecar.receive()
                assert not isinstance(reply, Started | Output)
                if reply.id == request:  # type: ignore[union-attr]
                    assert isinstance(reply, Status | Failed | Finished)
                    break

    some(600)
    before = sidecar.memory()
    descriptors = len(os.listdir(f"/proc/{sidecar.process.pid}/fd"))  # noqa: PTH208
    some(3000)
    assert sidecar.memory() - before < 3 * MIB
    assert len(os.listdir(f"/proc/{sidecar.process.pid}/fd")) == descriptors  # noqa: PTH208
