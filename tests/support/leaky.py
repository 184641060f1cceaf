#!/usr/bin/env python3
"""A tool that leaks: it holds its secret in LEAKY_SECRET and gives it away as it is told.

``leaky.py MODE [ARGUMENT ...]``; tests declare it and look at what comes through.
"""

# It does what careless tools do.
# ruff: noqa: PTH101, PTH103, PTH106, PTH108, PTH109, PTH110, PTH118, PTH211, S103

import base64
import contextlib
import gzip
import json
import os
import signal
import socket
import sys
import time

SECRET = os.environ.get("LEAKY_SECRET", "no-secret-in-environment")
RAW = SECRET.encode()


def say(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def split() -> None:
    for start in range(0, len(RAW), 3):
        say(RAW[start : start + 3])
        time.sleep(0.03)


def daemon(path: str, seconds: str) -> None:
    if os.fork():
        time.sleep(0.2)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for descriptor in range(3):
        os.close(descriptor)
    end = time.time() + float(seconds)
    while time.time() < end:
        with contextlib.suppress(OSError), open(path, "w") as file:
            file.write(f"{time.time()}\n")
        time.sleep(0.1)


def hold_pipe(seconds: str) -> None:
    if os.fork():
        say(b"parent done\n")
        return
    os.setsid()
    time.sleep(float(seconds))


def ignore_signals(seconds: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    say(b"now ready to wait for the end\n")
    time.sleep(float(seconds))


def flood(size: str) -> None:
    line = b"A" * 1023 + b"\n"
    for _ in range(int(size) >> 10):
        sys.stdout.buffer.write(line)


def write(path: str, form: str = "plain") -> None:
    forms = {
        "plain": RAW,
        "b64": base64.b64encode(RAW),
        "gz": gzip.compress(RAW),
        "none": b"fine\n",
    }
    with open(path, "wb") as file:
        file.write(forms[form])


def read(seconds: str, *paths: str) -> None:
    """Says that it runs, waits, and then prints the files one after another."""
    say(b"waiting for the files\n")
    time.sleep(float(seconds))
    for path in paths:
        with open(path, "rb") as file:
            say(file.read(1 << 20) + b"\n")


def attributes(path: str) -> None:
    write(path, "none")
    os.setxattr(path, "user.leak", RAW)


def times(folder: str) -> None:
    for number, code in enumerate(RAW):
        path = os.path.join(folder, f"m{number:02d}")
        write(path, "none")
        os.utime(path, (code, code))


def connect(host: str, port: str) -> None:
    with socket.create_connection((host, int(port)), 3) as connection:
        connection.sendall(RAW)


def proxied(target: str, path: str = "") -> None:
    """One request through the proxy that the environment names; prints the answer."""
    port = int(os.environ["HTTP_PROXY"].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        if path:
            head = f"GET http://{target}{path} HTTP/1.1\r\nHost: {target}\r\n\r\n"
        else:
            head = f"CONNECT {target} HTTP/1.1\r\n\r\n"
        connection.sendall(head.encode())
        connection.settimeout(5)
        with contextlib.suppress(TimeoutError):
            while data := connection.recv(65536):
                say(data)


def descriptors() -> None:
    for number in range(256):
        with contextlib.suppress(OSError):
            os.fstat(number)
            print(number)


def replace_folder() -> None:
    """Deletes, renames and replaces what the test put into the workspace."""
    os.unlink("doomed.txt")
    os.unlink("tree/leaf.txt")
    os.rmdir("tree")
    write("tree", "none")
    os.makedirs("new/deep")
    write("new/deep/file", "none")
    os.chmod("new/deep/file", 0o4755)


def eat(size: str) -> None:
    say(b"eating\n")
    kept = []
    for _ in range(int(size) >> 20):
        kept.append(b"x" * (1 << 20))
    say(f"ate {len(kept)} MiB\n".encode())


def children_eat(count: str, size: str) -> None:
    for _ in range(int(count)):
        if not os.fork():
            kept = b"x" * int(size)
            time.sleep(10)
            os._exit(len(kept) % 2)
    for _ in range(int(count)):
        say(f"child: {os.wait()[1]}\n".encode())


def forks(count: str, code: str) -> None:
    made = 0
    try:
        for _ in range(int(count)):
            if not os.fork():
                time.sleep(60)
                os._exit(0)
            made += 1
    except BlockingIOError as error:
        say(f"{made} made, then {error}\n".encode())
        time.sleep(1)
        sys.exit(int(code))
    time.sleep(5)


def fill(path: str, letter: str, size: str) -> None:
    with open(path, "w") as file:
        for _ in range(int(size) // 1000):
            file.write(letter * 1000)
            file.flush()


def burn(seconds: str) -> None:
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        pass
    print(time.process_time())


def large(path: str, size: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    with open(path or os.environ["TMPDIR"] + "/large", "wb") as file:
        file.truncate(int(size))


def spread(count: str) -> None:
    for number in range(int(count)):
        with open(f"part{number}", "wb") as file:
            file.write(b"x" * (1 << 20))
    time.sleep(20)


MODES = {
    "plain": lambda: say(b"token=" + RAW + b"\n"),
    "stderr": lambda: sys.stderr.write(f"token={SECRET}\n"),
    "env": lambda: say("".join(f"{k}={v}\n" for k, v in os.environ.items()).encode()),
    "b64": lambda: say(base64.b64encode(RAW) + b"\n"),
    "hex": lambda: say(RAW.hex().encode() + b"\n"),
    "split": split,
    "bytes": lambda: say(bytes(range(128, 256)) + b"\n"),
    "stdin": lambda: say(sys.stdin.buffer.read()),
    "read": read,
    "list": lambda folder: say(f"{sorted(os.listdir(folder))}".encode()),  # noqa: PTH208
    "argv": lambda *values: say(json.dumps(values).encode() + b"\n"),
    "cwd": lambda: say(os.getcwd().encode() + b"\n"),
    "rc": lambda code: sys.exit(int(code)),
    "sleep": lambda seconds: time.sleep(float(seconds)),
    "daemon": daemon,
    "holdpipe": hold_pipe,
    "ignore": ignore_signals,
    "flood": flood,
    "file": write,
    "name": lambda folder: write(os.path.join(folder, "f_" + SECRET), "none"),
    "symlink": lambda path: os.symlink(SECRET, path),
    "fifo": lambda path: os.mkfifo(path),
    "xattr": attributes,
    "times": times,
    "many": lambda count: [write(f"n{i:05d}", "none") for i in range(int(count))],
    "changes": replace_folder,
    "connect": connect,
    "proxied": proxied,
    "unix": lambda: socket.socket(socket.AF_UNIX),
    "fds": descriptors,
    "eat": eat,
    "childreneat": children_eat,
    "forks": forks,
    "large": large,
    "spread": spread,
    "fill": fill,
    "opens": lambda count: [open("/dev/null") for _ in range(int(count))],  # noqa: SIM115
    "burn": burn,
    "ids": lambda: print(os.getuid(), os.getpid(), os.path.exists("/proc/self")),
}

MODES[sys.argv[1]](*sys.argv[2:])
