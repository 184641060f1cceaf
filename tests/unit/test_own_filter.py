"""The sidecar's own system-call filter.  Run in children: it can't be taken back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keyless_sidecar.own_filter import DENIED, restrict

CHILD = """
import ctypes, errno, fcntl, json, os, pty, socket, subprocess, sys, threading
import pyseccomp
from keyless_sidecar.own_filter import DENIED, restrict

libc = ctypes.CDLL(None, use_errno=True)
arch = pyseccomp.system_arch()

def call(number, *arguments):
    ctypes.set_errno(0)
    libc.syscall(number, *(list(arguments) + [0] * (6 - len(arguments))))
    return errno.errorcode.get(ctypes.get_errno(), "")

def denied():
    # -1 everywhere: no call does anything with it, were it let through.
    found = {}
    for name in sorted(DENIED):
        number = pyseccomp.resolve_syscall(arch, name)
        if number >= 0:
            found[name] = call(number, *[-1] * 6)
    return found

def sockets():
    found = {}
    for family, kind in ((1, 1), (2, 1), (10, 2), (16, 3), (2, 3), (10, 3), (17, 3), (38, 5),
                         (40, 1), (44, 3), (99, 1), (2**32 + 17, 3)):
        try:
            socket.socket(family & 0x7FFFFFFF, kind).close()
            found[f"{family}-{kind}"] = ""
        except OSError as error:
            found[f"{family}-{kind}"] = errno.errorcode[error.errno]
    found["wide"] = call(pyseccomp.resolve_syscall(arch, "socket"), ctypes.c_long(2**32 + 17), 3)
    return found

early, go = [], threading.Event()
thread = threading.Thread(target=lambda: (go.wait(), early.append(denied()["ptrace"])))
thread.start()
reason = restrict()
go.set(); thread.join()
main, side = pty.openpty()
try:
    fcntl.ioctl(side, 0x5412, b"x")
    typed = ""
except OSError as error:
    typed = errno.errorcode[error.errno]
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
inherited = subprocess.run(
    [sys.executable, "-c", "import ctypes; l = ctypes.CDLL(None, use_errno=True); "
     "l.ptrace(0, 0, 0, 0); print(ctypes.get_errno())"], capture_output=True, text=True)
print(json.dumps({
    "reason": reason, "denied": denied(), "sockets": sockets(), "early": early, "typed": typed,
    "nnp": status["NoNewPrivs"].strip(), "mode": status["Seccomp"].strip(),
    "inherited": inherited.stdout.strip(), "work": subprocess.run(["/bin/true"]).returncode,
}))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_it_is_in_force(found: dict[str, object]) -> None:
    assert (found["reason"], found["nnp"], found["mode"]) == ("", "1", "2")


def test_what_nobody_here_needs_is_refused(found: dict[str, object]) -> None:
    denied = found["denied"]
    assert isinstance(denied, dict)
    assert {"ptrace", "process_vm_readv", "keyctl", "bpf", "io_uring_setup"} <= set(denied)
    assert set(denied.values()) == {"EPERM"}
    assert len(DENIED) > 40


def test_threads_that_ran_before_have_it_too(found: dict[str, object]) -> None:
    assert found["early"] == ["EPERM"]


def test_children_inherit_it_and_work(found: dict[str, object]) -> None:
    assert (found["inherited"], found["work"]) == ("1", 0)


def test_socket_families(found: dict[str, object]) -> None:
    sockets = found["sockets"]
    assert isinstance(sockets, dict)
    for allowed in ("1-1", "2-1", "10-2", "16-3"):
        assert sockets[allowed] in ("", "EAFNOSUPPORT" if allowed == "10-2" else ""), allowed
    assert {sockets["2-3"], sockets["10-3"]} == {"EPERM"}
    for refused in ("17-3", "38-5", "40-1", "44-3", "99-1", "wide"):
        assert sockets[refused] == "EAFNOSUPPORT", refused


def test_nothing_is_typed_into_a_terminal(found: dict[str, object]) -> None:
    assert found["typed"] == "EPERM"


def test_a_set_id_bubblewrap_keeps_its_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bwrap = tmp_path / "bwrap"
    bwrap.touch()
    bwrap.chmod(0o4755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "set-id" in restrict(str(bwrap))
    assert "Seccomp:\t0" in Path("/proc/self/status").read_text()
