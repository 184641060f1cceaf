"""System calls at the landlock levels: refused by the filters, or done by the wrapper's clerk."""

from __future__ import annotations

import errno
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.sandboxes import folder_for, landlock_confiner, run, start

from keyless_kernel.confine import Bind, Confiner, WorkspaceMount

TOKEN = b"t" * 32


@pytest.fixture(scope="module")
def confiner() -> Confiner:
    return landlock_confiner()


@pytest.fixture
def workspace(confiner: Confiner) -> Iterator[Path]:
    with folder_for(confiner) as folder:
        yield folder


CALLS = {
    # name: (x86_64 number, arguments); each would reach the kernel unfiltered
    "ptrace": (101, (0x4206, 1, 0, 0)),
    "mount": (165, (0, 0, 0, 0, 0)),
    "unshare": (272, (0x10000000,)),
    "setns": (308, (-1, 0)),
    "keyctl": (250, (0, -3, 0)),
    "bpf": (321, (0, 0, 0)),
    "io_uring_setup": (425, (1, 0)),
    "userfaultfd": (323, (1,)),
    "open_by_handle_at": (304, (-100, 0, 0)),
    "process_vm_readv": (310, (1, 0, 0, 0, 0, 0)),
    "pidfd_getfd": (438, (0, 0, 0)),
    "clone3": (435, (0, 0)),
    "shmget": (29, (0, 4096, 0o1600)),
    "msgget": (68, (0, 0o1600)),
    "semget": (64, (0, 1, 0o1600)),
    "mq_open": (240, (0, 0, 0, 0)),
    "prlimit64 of another": (302, (1, 7, 0, 0)),
    "sched_setscheduler of another": (144, (1, 1, 0)),
    "setpriority of a user": (141, (2, 0, 19)),
    "fchown": (93, (1, -1, -1)),
    "fsetxattr": (190, (1, 0, 0, 0, 0)),
    "FS_IOC_SETFLAGS": (16, (1, 0x40086602, 0)),
    "x32 getpid": (0x40000027, ()),
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
def test_dangerous_system_calls_do_not_reach_the_kernel(confiner: Confiner) -> None:
    code = f"""
    import ctypes, errno, json, os
    libc = ctypes.CDLL(None, use_errno=True)
    reached = []
    for name, (number, arguments) in {CALLS!r}.items():
        pid = os.fork()
        if pid == 0:
            result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) for a in arguments))
            os._exit(result == -1 and ctypes.get_errno() in (errno.ENOSYS, errno.EPERM))
        status = os.waitpid(pid, 0)[1]
        if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status) == 0:
            reached.append(name)
    print(json.dumps(reached))
    """
    assert run(confiner, code) == []


KINDS = """
import errno, json, socket
def kind(call, *arguments):
    try:
        made = call(*arguments)
    except OSError as error:
        return error.errno
    for each in made if isinstance(made, tuple) else [made]:
        each.close()
    return 0
S, D, R = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW
print(json.dumps({
    "unix": kind(socket.socket, socket.AF_UNIX, S),
    "unix datagram": kind(socket.socket, socket.AF_UNIX, D),
    "unix packets": kind(socket.socket, socket.AF_UNIX, socket.SOCK_SEQPACKET),
    "pair": kind(socket.socketpair, socket.AF_UNIX, S),
    "pair of datagrams": kind(socket.socketpair, socket.AF_UNIX, D),
    "tcp": kind(socket.socket, socket.AF_INET, S),
    "tcp by name": kind(socket.socket, socket.AF_INET, S, 6),
    "mptcp": kind(socket.socket, socket.AF_INET, S, 262),
    "sctp": kind(socket.socket, socket.AF_INET, S, 132),
    "udp": kind(socket.socket, socket.AF_INET, D),
    "raw": kind(socket.socket, socket.AF_INET, R, 1),
    "tcp6": kind(socket.socket, socket.AF_INET6, S),
    "netlink": kind(socket.socket, socket.AF_NETLINK, R),
    "vsock": kind(socket.socket, 40, S),
}))
"""


def test_only_plain_streams_can_be_made(confiner: Confiner) -> None:
    wrong = errno.EPROTONOSUPPORT
    none = errno.EAFNOSUPPORT
    expected = {
        **dict.fromkeys(("unix", "pair"), 0),
        **dict.fromkeys(("unix datagram", "unix packets", "pair of datagrams"), wrong),
        **dict.fromkeys(("tcp", "tcp by name", "mptcp", "sctp", "udp", "raw"), none),
        **dict.fromkeys(("tcp6", "vsock"), none),
        "netlink": errno.EOPNOTSUPP,
    }
    assert run(confiner, KINDS) == expected
    tool = {
        **expected,
        **dict.fromkeys(("unix", "unix datagram", "unix packets"), none),
        **dict.fromkeys(("tcp", "tcp by name"), 0),
        **dict.fromkeys(("mptcp", "sctp", "udp", "raw"), wrong),
    }
    assert run(confiner, KINDS, unix_sockets=False, gate_port=1) == tool


CONNECT = """
import ctypes, errno, json, os, select, socket
report = {}
def attempt(name, call):
    try:
        report[name] = call()
    except OSError as error:
        report[name] = error.errno
def to(host, port, family=socket.AF_INET):
    with socket.socket(family) as s:
        s.settimeout(5)
        s.connect((host, port))
        s.sendall(b"hello")
        return s.recv(10).decode()
def nonblocking():
    with socket.socket() as s:
        s.setblocking(False)
        s.set_inheritable(True)
        s.connect_ex(("127.0.0.1", GATE))
        if s.getblocking() or not os.get_inheritable(s.fileno()):
            return "flags lost"
        select.select([], [s], [], 5)
        s.sendall(b"hello")
        select.select([s], [], [], 5)
        return s.recv(10).decode()
def fast_open(flags):
    with socket.socket() as s:
        return s.sendto(b"hello", flags, ("127.0.0.1", OTHER))
def serve():
    with socket.socket() as s:
        s.listen(1)
def bind():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
def not_a_socket():
    libc = ctypes.CDLL(None, use_errno=True)
    address = (2).to_bytes(2, "little") + GATE.to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
    if libc.connect(1, address, 16):
        raise OSError(ctypes.get_errno(), "connect")
def bad_address():
    libc = ctypes.CDLL(None, use_errno=True)
    with socket.socket() as s:
        if libc.connect(s.fileno(), ctypes.c_void_p(8), 16):
            raise OSError(ctypes.get_errno(), "connect")
attempt("gate", lambda: to("127.0.0.1", GATE))
attempt("gate, not blocking", nonblocking)
attempt("the gate's port elsewhere", lambda: to("127.0.0.2", GATE))
attempt("another port", lambda: to("127.0.0.1", OTHER))
attempt("fast open", lambda: fast_open(0x20000000))
attempt("without connecting", lambda: fast_open(0))
attempt("serving", serve)
attempt("binding", bind)
attempt("no socket", not_a_socket)
attempt("no address", bad_address)
print(json.dumps(report))
"""


def test_the_gate_is_the_only_destination(confiner: Confiner) -> None:
    """Landlock alone would allow its port at every address."""
    with (
        socket.create_server(("127.0.0.1", 0)) as gate,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.socket() as elsewhere,
    ):
        port = gate.getsockname()[1]
        elsewhere.bind(("127.0.0.2", port))
        elsewhere.listen()
        names = f"GATE, OTHER = {port}, {other.getsockname()[1]}\n"
        with tempfile.TemporaryFile() as output:
            confined = start(
                *(confiner, names + CONNECT, output.fileno()),
                unix_sockets=False,
                gate_port=port,
                gate_token=TOKEN,
            )
            gate.settimeout(20)
            for _ in range(2):
                connection, _ = gate.accept()
                with connection:
                    said = b""
                    while len(said) < len(TOKEN) + 5:
                        said += connection.recv(100)
                    assert said == TOKEN + b"hello"
                    connection.sendall(b"answer")
            assert confined.process.wait(timeout=30) == 0
            confined.close()
            output.seek(0)
            report = json.loads(output.read())
        for listener in (other, elsewhere):
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()
    assert report.pop("gate") == report.pop("gate, not blocking") == "answer"
    assert report.pop("fast open") == errno.EOPNOTSUPP
    assert report.pop("without connecting") in (errno.EPIPE, errno.ENOTCONN)
    assert report.pop("no socket") == errno.ENOTSOCK
    assert report.pop("no address") in (errno.EFAULT, errno.EINVAL)
    assert set(report.values()) == {errno.EACCES}, report


CHANGES = """
import errno, json, os
report = {}
def attempt(name, call):
    try:
        call()
        report[name] = 0
    except OSError as error:
        report[name] = error.errno
def by_descriptor(path, flags, call, *arguments):
    descriptor = os.open(path, flags)
    try:
        call(descriptor, *arguments)
    finally:
        os.close(descriptor)
def from_folder():
    folder = os.open(".", os.O_RDONLY)
    os.chmod("inside", 0o601, dir_fd=folder)
open("inside", "w").close()
os.symlink(OUTSIDE, "link")
os.symlink(os.path.dirname(OUTSIDE), "folder")
NAME = os.path.basename(OUTSIDE)
attempt("inside", lambda: os.chmod("inside", 0o600))
attempt("inside, absolute", lambda: os.chmod(os.path.abspath("inside"), 0o600))
attempt("inside, from a folder", from_folder)
attempt("inside, open", lambda: by_descriptor("inside", os.O_RDONLY, os.fchmod, 0o604))
attempt("inside, times", lambda: os.utime("inside", (9, 9)))
attempt("inside, open, times", lambda: by_descriptor("inside", os.O_RDONLY, os.utime))
attempt("memory", lambda: os.fchmod(os.memfd_create("x"), 0o600))
attempt("outside", lambda: os.chmod(OUTSIDE, 0o777))
attempt("outside, times", lambda: os.utime(OUTSIDE, (9, 9)))
attempt("by a link", lambda: os.chmod("link", 0o777))
attempt("by a folder", lambda: os.chmod("folder/" + NAME, 0o777))
attempt("by dots", lambda: os.chmod("../" * 9 + OUTSIDE, 0o777))
attempt("by proc", lambda: os.chmod("/proc/self/root" + OUTSIDE, 0o777))
attempt("readable", lambda: by_descriptor(OUTSIDE, os.O_RDONLY, os.fchmod, 0o777))
attempt("readable, times", lambda: by_descriptor(OUTSIDE, os.O_RDONLY, os.utime, (9, 9)))
attempt("nothing", lambda: os.chmod("missing", 0o777))
attempt("set-id", lambda: os.chmod("inside", 0o6755))
attempt("owner", lambda: os.chown("inside", -1, -1))
report["mode"] = oct(os.stat("inside").st_mode & 0o7777)
print(json.dumps(report))
"""


def test_modes_and_times_can_be_changed_inside_only(confiner: Confiner, workspace: Path) -> None:
    """Landlock has no rule for that, and an ordinary user's files are the sandbox's user's too."""
    with tempfile.TemporaryDirectory(prefix="kl-out-") as folder:
        outside = Path(folder) / "file"
        outside.write_text("x")
        outside.chmod(0o640)
        os.chown(outside, confiner.uid, confiner.gid)
        os.chown(folder, confiner.uid, confiner.gid)
        before = outside.stat()
        report = run(
            confiner,
            f"OUTSIDE = {str(outside)!r}\n" + CHANGES,
            cwd=str(workspace),
            workspace=WorkspaceMount(str(workspace), "rw"),
            binds=(Bind(folder, folder),),
        )
        after = outside.stat()
    assert (after.st_mode, after.st_mtime, after.st_ctime) == (
        *(before.st_mode, before.st_mtime, before.st_ctime),
    )
    inside = {name for name, code in report.items() if code == 0}
    assert inside == {
        *("inside", "inside, absolute", "inside, from a folder", "inside, open"),
        *("inside, times", "inside, open, times", "memory", "set-id"),
    }
    assert report["nothing"] == errno.ENOENT
    assert report["mode"] == "0o755"  # without the set-id bits
