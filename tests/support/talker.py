#!/usr/bin/env python3
"""A tool that talks on its terminal; ``talker.py MODE [ARGUMENT ...]``."""

import contextlib
import errno
import fcntl
import getpass
import os
import signal
import struct
import sys
import termios
import time

SECRET = os.environ.get("TALKER_SECRET", "none")


def size() -> str:
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))
    return f"{rows}x{columns}"


def talk() -> None:
    print("size", size(), "tty", [os.isatty(number) for number in range(3)], flush=True)
    name = input("name? ")
    print(f"hello {name}, size {size()}")
    password = getpass.getpass("password for the test: ")
    print(f"{len(password)} characters")
    print(f"token={SECRET}")
    # Colours in between are no way past the sanitizer.
    print(f"\033[1m{SECRET[:9]}\033[0m\033[31m{SECRET[9:]}\033[0m")


def cat() -> None:
    """Lines until Ctrl-D; Ctrl-C is answered, and it goes on."""
    count = 0
    while True:
        try:
            line = sys.stdin.readline()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            continue
        if not line:
            break
        count += 1
        print(f"got {line.strip()}", flush=True)
    print(f"end after {count}")


def work() -> None:
    """Busy until it is interrupted, then done."""
    print("working", flush=True)
    try:
        while True:
            sum(range(1000))
    except KeyboardInterrupt:
        print("stopped", flush=True)


def stubborn() -> None:
    """Nothing that a person types ends it, and a child of its own neither."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        while True:
            time.sleep(1)
    print("still here", flush=True)
    while True:
        with contextlib.suppress(OSError):
            sys.stdin.readline()


def deaf() -> None:
    """Reads nothing for a while."""
    print("not listening", flush=True)
    time.sleep(float(sys.argv[2]))


def inject() -> None:
    """Type into terminals that are within reach."""
    for request, what in ((termios.TIOCSTI, "TIOCSTI"), (0x541C, "TIOCLINUX")):
        try:
            fcntl.ioctl(0, request, b"x")
            print(what, "allowed")
        except OSError as error:
            print(what, errno.errorcode[error.errno or 0])
    with open("/dev/tty", "w") as terminal:
        print("dev/tty is", "mine" if os.isatty(terminal.fileno()) else "none", file=terminal)
    found = set()
    for number in range(4096):
        with contextlib.suppress(OSError):
            if number < 64:
                os.fstat(number)
                found.add(number)
            else:
                os.close(os.open(f"/dev/pts/{number - 64}", os.O_RDWR | os.O_NOCTTY))
                found.add(f"pts/{number - 64}")
    print("open:", sorted(map(str, found)))
    print("session", os.getsid(0) == os.getpid(), "foreground", os.tcgetpgrp(0) == os.getpgrp())


def flood() -> None:
    for number in range(int(sys.argv[2])):
        print(f"line {number} token={SECRET}")
    input("more? ")


def late() -> None:
    """Asks in clear first, then hides what is typed without a word."""
    print("ready", flush=True)
    time.sleep(1)
    print(len(getpass.getpass("late password: ")), "characters")


if __name__ == "__main__":
    globals()[sys.argv[1]]()
