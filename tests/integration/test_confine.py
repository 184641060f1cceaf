"""Real sandboxes: what a program inside sees and may do."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import sandboxes
from tests.support.sandboxes import require_signals

from keyless_kernel.confine import (
    Confined,
    Confinement,
    Confiner,
    Limits,
    Sandbox,
    WorkspaceMount,
    interpreter_binds,
    probe,
)


@pytest.fixture(scope="module")
def confiner() -> Confiner:
    return probe(Confinement())


@pytest.fixture
def workspace(confiner: Confiner) -> Iterator[Path]:
    with sandboxes.folder_for(confiner) as folder:
        yield folder


def start(confiner: Confiner, code: str, output: int, **options: Any) -> Confined:
    binds = interpreter_binds(sys.executable)
    argv = (sys.executable, "-I", "-c", textwrap.dedent(code))
    spec = Sandbox(argv=argv, env={"PATH": "/usr/bin:/bin"}, binds=binds, **options)
    return confiner.spawn(spec, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def run(confiner: Confiner, code: str, **options: Any) -> Any:
    return sandboxes.run(confiner, code, start, **options)


def test_it_holds_no_privilege(confiner: Confiner) -> None:
    status = run(
        confiner,
        """
        import json
        lines = open("/proc/self/status").read().splitlines()
        print(json.dumps(dict(line.split(":\\t") for line in lines if ":\\t" in line)))
        """,
    )
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == int(status["CapPrm"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["Uid"].split()[0] == str(confiner.uid)
    assert not status["Groups"].strip() or "0" not in status["Groups"].split()


def test_it_sees_no_host_process_file_or_network(confiner: Confiner, workspace: Path) -> None:
    seen = run(
        confiner,
        """
        import glob, json, os, socket
        def reaches(address):
            try:
                socket.create_connection(address, 1).close()
            except OSError:
                return False
            return True
        print(json.dumps({
            "pids": [p for p in os.listdir("/proc") if p.isdigit()],
            "interfaces": os.listdir("/proc/sys/net/ipv4/conf"),
            "root": os.listdir("/"),
            "home": os.listdir("/home"),
            "run": os.listdir("/run"),
            "server": reaches(("127.0.0.1", 22)) or reaches(("10.0.0.1", 80)),
            "shadow": os.path.exists("/etc/shadow"),
            "init": open("/proc/1/cmdline").read(),
        }))
        """,
        workspace=WorkspaceMount(str(workspace), "rw"),
    )
    assert len(seen["pids"]) == 2
    assert set(seen["interfaces"]) <= {"all", "default", "lo"}
    assert seen["home"] == ["keyless"]
    assert seen["run"] == []
    assert not seen["server"]
    assert not seen["shadow"]
    assert "srv" not in seen["root"]
    assert str(workspace) not in seen["init"]


@pytest.mark.parametrize("mode", ["rw", "ro", "overlay"])
def test_the_workspace_modes(confiner: Confiner, workspace: Path, mode: Any) -> None:
    assert confiner.overlay, "bubblewrap 0.11 comes with the development dependencies"
    with tempfile.TemporaryDirectory(prefix="kl-ov-") as name:
        for part in ("upper", "work"):
            (Path(name) / part).mkdir()
            os.chown(Path(name) / part, confiner.uid, confiner.gid)
        mount = WorkspaceMount(str(workspace), mode, f"{name}/upper", f"{name}/work")
        written = run(
            confiner,
            """
            import json
            try:
                open("/workspace/made", "w").write("here")
            except OSError as error:
                print(json.dumps(error.errno))
            else:
                print(json.dumps("written"))
            """,
            workspace=mount,
        )
        assert (written == "written") == (mode != "ro")
        assert (workspace / "made").exists() == (mode == "rw")
        assert (Path(name) / "upper" / "made").exists() == (mode == "overlay")


def test_system_and_root_are_read_only(confiner: Confiner) -> None:
    failures = run(
        confiner,
        """
        import errno, json
        result = {}
        for path in ("/x", "/usr/x", "/etc/x", "/etc/passwd", "/usr/lib/python3/x", "/run/x"):
            try:
                open(path, "w").close()
                result[path] = 0
            except OSError as error:
                result[path] = error.errno
        print(json.dumps(result))
        """,
    )
    assert all(failures.values()), failures


def test_without_proc_no_name_leads_to_the_environment(confiner: Confiner) -> None:
    seen = run(
        confiner,
        """
        import json, os
        names = ("/proc", "/proc/self/environ", "/dev/fd/1", "/dev/stdin", "/dev/shm/../fd/0")
        print(json.dumps([name for name in names if os.path.exists(name)]))
        """,
        proc=False,
    )
    assert seen == []


CALLS = {
    # name: (x86_64 number, arguments); each would reach the kernel unfiltered
    "ptrace": (101, (0x4206, 1, 0, 0)),
    "mount": (165, (0, 0, 0, 0, 0)),
    "unshare": (272, (0x10000000,)),
    "setns": (308, (-1, 0)),
    "keyctl": (250, (0, -3, 0)),
    "add_key": (248, (0, 0, 0, 0, -3)),
    "bpf": (321, (0, 0, 0)),
    "perf_event_open": (298, (0, 0, -1, -1, 0)),
    "io_uring_setup": (425, (1, 0)),
    "userfaultfd": (323, (1,)),
    "open_by_handle_at": (304, (-100, 0, 0)),
    "process_vm_readv": (310, (1, 0, 0, 0, 0, 0)),
    "kcmp": (312, (1, 1, 0, 0, 0)),
    "pidfd_getfd": (438, (0, 0, 0)),
    "open_tree": (428, (-100, 0, 0)),
    "fsopen": (430, (0, 0)),
    "clone3": (435, (0, 0)),
    "clone(CLONE_NEWUSER)": (56, (0x10000011, 0, 0, 0, 0)),
    "x32 getpid": (0x40000027, ()),
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
@pytest.mark.parametrize("name", CALLS)
def test_dangerous_system_calls_do_not_reach_the_kernel(confiner: Confiner, name: str) -> None:
    number, arguments = CALLS[name]
    code = f"""
    import ctypes, errno, os
    libc = ctypes.CDLL(None, use_errno=True)
    pid = os.fork()
    if pid == 0:
        result = libc.syscall(ctypes.c_long({number}), *(ctypes.c_long(a) for a in {arguments!r}))
        code = ctypes.get_errno()
        os._exit(0 if result == -1 and code in (errno.ENOSYS, errno.EPERM) else 1)
    status = os.waitpid(pid, 0)[1]
    # killed by the filter (x32), or answered "no such call"
    print("true" if os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0 else "false")
    """
    assert run(confiner, code) is True


SOCKETS = """
import ctypes, errno, json, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    words = (ctypes.c_ulong(a) if isinstance(a, int) else a for a in (number, *arguments))
    return libc.syscall(*words)
def family(number):
    return 0 if call(41, number, 2, 0) >= 0 else ctypes.get_errno()
def inject(request):
    call(16, slave, request, ctypes.c_char_p(b"x"))
    return ctypes.get_errno()
master, slave = os.openpty()
numbers = {"unix": 1, "inet": 2, "inet6": 10, "netlink": 16, "packet": 17, "alg": 38, "vsock": 40}
result = {name: family(number) for name, number in numbers.items()}
result["vsock, upper half set"] = family(1 << 32 | 40)
result["TIOCSTI"], result["TIOCSTI, upper half set"] = inject(0x5412), inject(1 << 32 | 0x5412)
print(json.dumps(result))
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
def test_socket_families_and_terminal_injection(confiner: Confiner) -> None:
    expected = {
        **dict.fromkeys(("unix", "inet", "inet6"), 0),
        "netlink": errno.EOPNOTSUPP,
        **dict.fromkeys(("packet", "alg", "vsock", "vsock, upper half set"), errno.EAFNOSUPPORT),
        **dict.fromkeys(("TIOCSTI", "TIOCSTI, upper half set"), errno.EPERM),
    }
    assert run(confiner, SOCKETS) == expected
    closed = {**expected, "unix": errno.EAFNOSUPPORT}
    assert run(confiner, SOCKETS, unix_sockets=False) == closed


def test_file_size_and_core_limits_are_set(confiner: Confiner) -> None:
    limits = run(
        confiner,
        """
        import json, resource as r
        names = ("RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_NOFILE")
        print(json.dumps([r.getrlimit(getattr(r, name)) for name in names]))
        """,
        limits=Limits(file_size=1 << 20, open_files=512),
    )
    assert limits == [[1 << 20, 1 << 20], [1, 1], [512, 512]]


def test_limits_that_are_lower_already_stay(confiner: Confiner) -> None:
    """A container often starts with a core limit of 0, which may not be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    code = "import json, resource; print(json.dumps(resource.getrlimit(resource.RLIMIT_CORE)))"
    child = f"""
import resource, subprocess, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from keyless_kernel.confine import Confinement, Sandbox, interpreter_binds, probe
spec = Sandbox(argv=(sys.executable, "-c", {code!r}), env={{}}, binds=interpreter_binds())
probe(Confinement()).spawn(spec, stdin=-3, stdout=1, stderr=2).process.wait()
"""
    said = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    assert json.loads(said.stdout) == [0, 0]
    assert resource.getrlimit(resource.RLIMIT_CORE) == (soft, hard)


def test_kill_ends_daemonized_grandchildren(confiner: Confiner, workspace: Path) -> None:
    code = """
    import os, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                open("/workspace/beat", "w").write(str(time.time()))
                time.sleep(0.02)
        os._exit(0)
    time.sleep(60)
    """
    confined = start(
        confiner, code, subprocess.DEVNULL, workspace=WorkspaceMount(str(workspace), "rw")
    )
    deadline = time.monotonic() + 20
    while not (workspace / "beat").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    confined.close()
    before = (workspace / "beat").read_text()
    time.sleep(0.2)
    assert (workspace / "beat").read_text() == before
    assert not Path(f"/proc/{confined.init_pid}").exists()


def test_signals_reach_the_command_itself(confiner: Confiner) -> None:
    require_signals(confiner, start)


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """Once the command runs; until then the command's own lifeline check has to see to it."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            """
            import subprocess, time
            from keyless_kernel.confine import Confinement, Sandbox, probe
            spec = Sandbox(argv=("/bin/sh", "-c", "echo up; exec sleep 600"), env={})
            confined = probe(Confinement()).spawn(spec, stdin=-3, stdout=1, stderr=2)
            print(confined.init_pid, flush=True)
            time.sleep(600)
            """
        )
    )
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        lines = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
        (init_pid,) = lines - {"up"}
        parent.kill()
    deadline = time.monotonic() + 10
    while (status := Path(f"/proc/{init_pid}/stat")).exists():
        if status.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        assert time.monotonic() < deadline
        time.sleep(0.02)
