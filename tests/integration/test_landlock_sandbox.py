"""Sandboxes of the landlock levels by themselves: what they hold, and how all of them ends."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.sandboxes import (
    PYTHON,
    folder_for,
    landlock_confiner,
    require_signals,
    run,
    start,
)

from keyless_kernel.confine import (
    ConfinementUnavailable,
    Confiner,
    Limits,
    Sandbox,
    WorkspaceMount,
)


@pytest.fixture(scope="module")
def confiner() -> Confiner:
    return landlock_confiner()


@pytest.fixture
def workspace(confiner: Confiner) -> Iterator[Path]:
    with folder_for(confiner) as folder:
        yield folder


def test_it_holds_no_privilege(confiner: Confiner) -> None:
    status = run(
        confiner,
        """
        import json
        lines = open("/proc/self/status").read().splitlines()
        print(json.dumps(dict(line.split(":\\t") for line in lines if ":\\t" in line)))
        """,
    )
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapInh"], 16) == 0
    assert int(status["CapAmb"], 16) == 0
    if confiner.level == "landlock-root":
        assert int(status["CapBnd"], 16) == 0
        assert not status["Groups"].strip()
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert set(status["Uid"].split()) == {str(confiner.uid)}


def test_without_proc_it_is_closed(confiner: Confiner) -> None:
    seen = run(
        confiner,
        """
        import json
        def opened(path):
            try:
                open(path, "rb").close()
                return True
            except PermissionError:
                return False
        names = ("status", "environ", "maps", "mem", "cmdline")
        print(json.dumps([name for name in names if opened(f"/proc/self/{name}")]))
        """,
        proc=False,
    )
    assert seen == []


def test_a_read_only_workspace(confiner: Confiner, workspace: Path) -> None:
    (workspace / "there").write_text("content")
    (workspace / "there").chmod(0o644)
    seen = run(
        confiner,
        """
        import json, os
        seen = [open("there").read()]
        for call in (lambda: open("made", "w"), lambda: os.unlink("there"),
                     lambda: os.truncate("there", 0), lambda: os.chmod("there", 0o600)):
            try:
                call()
                seen.append("done")
            except PermissionError:
                seen.append("refused")
        print(json.dumps(seen))
        """,
        cwd=str(workspace),
        workspace=WorkspaceMount(str(workspace), "ro"),
    )
    assert seen == ["content", *["refused"] * 4]


def test_private_folders_belong_to_the_sandbox(confiner: Confiner, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="kl-pr-") as private:
        Path(private).chmod(0o711)
        code = """
        import json, os, sys
        for folder in ("home", "tmp"):
            open(f"{PRIVATE}/{folder}/mine", "w").close()
        try:
            open(f"{PRIVATE}/else", "w")
        except PermissionError:
            print(json.dumps([oct(os.stat(f"{PRIVATE}/home").st_mode & 0o777), os.umask(0)]))
        """
        said = run(confiner, f"PRIVATE = {private!r}\n" + textwrap.dedent(code), private=private)
    assert said == ["0o700", 0o022]


def test_limits_and_exit_status(confiner: Confiner) -> None:
    code = """
    import json, resource as r
    print(json.dumps([r.getrlimit(n) for n in (r.RLIMIT_FSIZE, r.RLIMIT_CORE, r.RLIMIT_NOFILE)]))
    """
    core = min(1, resource.getrlimit(resource.RLIMIT_CORE)[1] % (1 << 63) or 0)
    wanted = Limits(file_size=1 << 20, open_files=512)
    assert run(confiner, code, limits=wanted) == [[1 << 20] * 2, [core] * 2, [512] * 2]
    confined = start(confiner, "raise SystemExit(42)", subprocess.DEVNULL)
    assert confined.process.wait(timeout=20) == 42
    confined.close()
    confined = start(
        confiner, "import os, signal; os.kill(os.getpid(), signal.SIGTERM)", subprocess.DEVNULL
    )
    assert confined.process.wait(timeout=20) == 128 + signal.SIGTERM
    confined.close()


def test_a_program_that_is_not_there(confiner: Confiner) -> None:
    spec = Sandbox(argv=("/nonexistent/program",), env={}, cwd="/")
    with pytest.raises(ConfinementUnavailable, match="/nonexistent/program"):
        confiner.spawn(spec, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=2)


def test_a_program_outside_of_the_rules(confiner: Confiner) -> None:
    with tempfile.TemporaryDirectory(prefix="kl-ex-") as folder:
        Path(folder).chmod(0o755)
        program = Path(folder) / "program"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        spec = Sandbox(argv=(str(program),), env={}, cwd="/")
        with pytest.raises(ConfinementUnavailable, match="Permission denied"):
            confiner.spawn(spec, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=2)


def test_descriptors_reach_the_command_and_nobody_else(confiner: Confiner) -> None:
    """Its end of a socket is the only one: when it closes it, the other end sees that."""
    ours, theirs = socket.socketpair()
    code = f"""
    import os, time
    listed = sorted(int(n) for n in os.listdir("/proc/self/fd"))
    os.write({theirs.fileno()}, repr([n for n in listed if n > 2]).encode())
    os.close({theirs.fileno()})
    time.sleep(60)
    """
    confined = confiner.spawn(
        Sandbox(argv=(PYTHON, "-I", "-S", "-c", textwrap.dedent(code)), env={}, cwd="/"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(theirs.fileno(),),
    )
    number = theirs.fileno()
    theirs.close()
    with ours:
        ours.settimeout(20)
        seen = json.loads(ours.recv(1000))
        # the one that lists, and the one that was passed
        assert number in seen
        assert len(seen) == 2
        assert ours.recv(1) == b""
    confined.close()


FLOOD = """
import os, signal, time
for number in range(1, 32):
    if number not in (9, 17, 19):
        signal.signal(number, signal.SIG_IGN)
def daemon(depth):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                with open("beat", "w") as file:
                    file.write(str(time.time()))
                if depth:
                    daemon(depth - 1)
                    os.wait()
                time.sleep(0.001)
        os._exit(0)
for _ in range(10):
    daemon(3)
print("up", flush=True)
time.sleep(60)
"""


def test_kill_ends_a_flood_of_daemons(confiner: Confiner, workspace: Path) -> None:
    with tempfile.TemporaryFile() as output:
        confined = start(
            *(confiner, FLOOD, output.fileno()),
            cwd=str(workspace),
            workspace=WorkspaceMount(str(workspace), "rw"),
            limits=Limits(processes=0),
        )
        deadline = time.monotonic() + 20
        while os.fstat(output.fileno()).st_size == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.5)
        begin = time.monotonic()
        confined.kill()
        confined.kill()
        assert confined.process.wait(timeout=20) == 128 + signal.SIGKILL
        assert time.monotonic() - begin < 10
        confined.close()
    before = (workspace / "beat").read_text()
    time.sleep(0.3)
    assert (workspace / "beat").read_text() == before


def test_what_outlives_the_command_ends_with_it(confiner: Confiner, workspace: Path) -> None:
    code = FLOOD.replace("range(10)", "range(3)").replace("time.sleep(60)", "time.sleep(0.2)")
    confined = start(
        *(confiner, code, subprocess.DEVNULL),
        cwd=str(workspace),
        workspace=WorkspaceMount(str(workspace), "rw"),
    )
    assert confined.process.wait(timeout=20) == 0
    before = (workspace / "beat").read_text()
    time.sleep(0.3)
    assert (workspace / "beat").read_text() == before
    confined.close()


def test_signals_reach_the_command_itself(confiner: Confiner) -> None:
    require_signals(confiner)


@pytest.mark.parametrize("victim", ["parent", "wrapper"])
def test_it_dies_with_its_parent_and_with_its_wrapper(
    confiner: Confiner, tmp_path: Path, victim: str
) -> None:
    script = f"""
        import time
        from keyless_kernel.confine import Sandbox
        from keyless_kernel.confine.landlock_confiner import LandlockConfiner
        code = "import os, time; print('in', os.getpid(), flush=True); time.sleep(600)"
        spec = Sandbox(argv=({PYTHON!r}, "-I", "-S", "-c", code), env={{}}, cwd="/")
        confiner = LandlockConfiner(
            level={confiner.level!r}, uid={confiner.uid}, gid={confiner.gid}
        )
        confined = confiner.spawn(spec, stdin=-3, stdout=1, stderr=2)
        print("wrapper", confined.init_pid, flush=True)
        time.sleep(600)
        """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = {}
        for _ in range(2):
            name, number = parent.stdout.readline().split()
            pids[name] = int(number)
        if victim == "parent":
            parent.kill()
        else:
            os.kill(pids["wrapper"], signal.SIGKILL)
        deadline = time.monotonic() + 10
        for pid in pids.values():
            while (status := Path(f"/proc/{pid}/stat")).exists():
                if status.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                    break
                assert time.monotonic() < deadline
                time.sleep(0.02)
        parent.kill()
