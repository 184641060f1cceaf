#!/usr/bin/python3
"""A hostile tool: it leaves what it can for other commands, and looks for what they left.

``nosy_tool.py STEP [ARGUMENT ...] [+ STEP ...]``: steps run in order; each prints one line of JSON.
Tests declare it as a warm tool, and run it without walls to show that it finds what is there.
"""

# It does what hostile tools do.
# ruff: noqa: B905, PTH110, PTH115, PTH119, PTH208

import builtins
import contextlib
import ctypes
import json
import os
import random
import secrets
import signal
import socket
import ssl
import sys
import tempfile
import time
import uuid

import nosy_state

PLACES = (".", os.environ.get("HOME", "/"), os.environ.get("TMPDIR", "/tmp"), "/tmp", "/dev/shm")
MARK = "nosy-mark"
NEW = {"mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000}
NEW |= {"user": 0x10000000, "pid": 0x20000000, "net": 0x40000000}
CLONE = 220 if os.uname().machine == "aarch64" else 56
PIECE = 1 << 20


def keep() -> object:
    """Keep standard input and the credential wherever something may be kept."""
    text = sys.stdin.buffer.read()
    secret = os.environ.get("NOSY_SECRET", "").encode()
    nosy_state.KEPT.append((text, secret, bytes(bytearray(secret) * 3)))
    os.environ["NOSY_LEFT"] = "left"
    sys.modules["nosy_left"] = sys
    builtins.nosy_left = secret  # type: ignore[attr-defined]
    json.nosy_left = text  # type: ignore[attr-defined]
    sys.path.append("/nosy/left")
    return {"kept": len(text), "secret": len(secret)}


def left() -> object:
    """What :func:`keep` of another command left."""
    return {
        "kept": len(nosy_state.KEPT),
        "environment": os.environ.get("NOSY_LEFT"),
        "module": "nosy_left" in sys.modules,
        "builtin": hasattr(builtins, "nosy_left"),
        "attribute": hasattr(json, "nosy_left"),
        "path": "/nosy/left" in sys.path,
    }


def memory(*halves: str) -> object:
    """How often texts are in any readable memory; each is told in two halves, so isn't there."""
    pairs = [(first.encode(), second.encode()) for first, second in zip(halves[::2], halves[1::2])]
    found, size = [0] * len(pairs), 0
    buffer = bytearray(PIECE + 256)
    with open("/proc/self/maps") as file:
        regions = [line.split()[:2] for line in file]
    memory = os.open("/proc/self/mem", os.O_RDONLY)
    for bounds, rights in regions:
        start, end = (int(each, 16) for each in bounds.split("-"))
        for place in range(start, end if rights.startswith("r") else start, PIECE):
            view = memoryview(buffer)[: min(len(buffer), end - place)]
            try:
                count = os.preadv(memory, [view], place)
            except (OSError, OverflowError):
                continue
            size += count
            for number, (first, second) in enumerate(pairs):
                at = buffer.find(first, 0, count)
                while at >= 0:
                    after = at + len(first)
                    found[number] += buffer[after : after + len(second)] == second
                    at = buffer.find(first, after, count)
    return {"found": [bool(each) for each in found], "size": size}


def mark() -> object:
    """Leave files."""
    made = []
    for place in PLACES:
        with contextlib.suppress(OSError), open(f"{place}/{MARK}", "w") as file:
            file.write("left")
            made.append(place)
    return made


def marks() -> object:
    """Files that another command left."""
    return [place for place in PLACES if os.path.exists(f"{place}/{MARK}")]


def listing() -> object:
    """All names in the places where a command may write."""
    return sorted({name for place in PLACES for name in os.listdir(place)})


def descriptors() -> object:
    """What is open; the listing's own descriptor is closed by then."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def hold() -> object:
    """Keep a file and a socket open."""
    nosy_state.KEPT.append((open("/dev/zero", "rb"), socket.socketpair()))  # noqa: SIM115
    return {}


def processes() -> object:
    """Ids of all processes that can be seen; its own first."""
    seen = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    lines = {}
    for pid in seen:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            lines[pid] = file.read().replace(b"\0", b" ").decode(errors="replace")
    return {"self": os.getpid(), "parent": os.getppid(), "seen": lines}


def signalled(last: str) -> object:
    """Which processes it might send a signal, up to an id."""
    reached = []
    for pid in range(1, int(last) + 1):
        with contextlib.suppress(OSError):
            os.kill(pid, 0)
            reached.append(pid)
    return reached


def massacre() -> object:
    """Kill whatever can be killed; never outside of a pid namespace of its own."""
    if os.getpid() > 50:
        return "not in a pid namespace"
    for pid in range(1, 5001):
        if pid != os.getpid():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
    print('"killed one by one"', flush=True)
    os.kill(-1, signal.SIGKILL)
    return "killed all"


def rights() -> object:
    """What it may do: as the system says, and by trying."""
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    libc = ctypes.CDLL(None, use_errno=True)
    done = []
    for name, flag in NEW.items():
        if libc.unshare(flag) == 0:
            done.append(f"unshare {name}")
        # Without a stack the child goes on on a copy of this one, like a fork's.
        child = libc.syscall(CLONE, flag | signal.SIGCHLD, 0, 0, 0, 0)
        if child == 0:
            os._exit(0)
        if child > 0:
            os.waitpid(child, 0)
            done.append(f"clone {name}")
    for pid in ("self", str(os.getppid()), "1"):
        for name in ("mnt", "net", "pid", "user"):
            with contextlib.suppress(OSError):
                descriptor = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
                if libc.setns(descriptor, 0) == 0:
                    done.append(f"setns {pid} {name}")
                os.close(descriptor)
    if libc.chroot(b"/tmp") == 0:
        done.append("chroot")
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0:
        done.append("mount")
    if libc.prctl(24, 0, 0, 0, 0) == 0:
        done.append("bounding set")
    try:
        held = os.open("/proc/1/mem", os.O_RDONLY)
    except OSError:
        pass
    else:
        done.append(f"memory of 1: {held}")
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    return {
        "status": {name: status[name].strip() for name in names},
        "uid": os.getresuid(),
        "gid": os.getresgid(),
        "done": done,
    }


def random_numbers() -> object:
    """One draw of each generator."""
    with tempfile.NamedTemporaryFile() as file:
        name = os.path.basename(file.name)
    return {
        "random": random.random(),
        "secrets": secrets.token_hex(8),
        "ssl": ssl.RAND_bytes(8).hex(),
        "uuid1": str(uuid.uuid1()),
        "uuid4": str(uuid.uuid4()),
        "tempfile": name,
        "mkdtemp": os.path.basename(tempfile.mkdtemp()),
    }


def listen(seconds: str) -> object:
    """Listen on a port that it tells, for a while."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        announce(server.getsockname()[1])
        time.sleep(float(seconds))
    return {}


def connect(*ports: str) -> object:
    """Which ports of the loopback it reaches."""
    reached = []
    for port in ports:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), 2):
            reached.append(int(port))
    return reached


def say(*words: str) -> object:
    """Many lines of a word."""
    for _ in range(200):
        print(*words, flush=True)
    return {}


def sleep(seconds: str) -> object:
    """Say that it is there, and wait."""
    announce("waiting")
    time.sleep(float(seconds))
    return "slept"


def announce(value: object) -> None:
    """Say something at once: without more behind it the sanitizer would hold it back."""
    print(json.dumps(value) + "\n" + json.dumps("and so on " * 20), flush=True)


STEPS = (
    *(keep, left, memory, mark, marks, listing, descriptors, hold, processes, signalled, massacre),
    *(rights, random_numbers, listen, connect, say, sleep),
)


def main() -> None:
    """Run the steps."""
    steps = {step.__name__: step for step in STEPS}
    words: list[str] = []
    for word in [*sys.argv[1:], "+"]:
        if word != "+":
            words.append(word)
            continue
        print(json.dumps(steps[words[0]](*words[1:])), flush=True)
        words = []


if __name__ == "__main__":
    main()
