#!/usr/bin/python3
"""A tool that ends, prints and reads in all the ways in which a program can: warm or cold alike."""

# ruff: noqa: PTH109, PTH208, S301

import atexit
import contextlib
import gc
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time

NAME = "a global of the script"


class Thing:
    """Something that only the script knows."""


def fail() -> None:
    try:
        {}["missing"]
    except KeyError as error:
        raise RuntimeError("it failed — ünicode") from error


def thread() -> None:
    time.sleep(0.1)
    print("the thread is done")


def streams() -> None:
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        facts = ("name", "mode", "encoding", "errors", "newlines", "line_buffering")
        print(*(getattr(stream, fact) for fact in facts), stream.isatty(), stream.fileno())
    print(sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__, sys.stdin is sys.__stdin__)


def module() -> None:
    main = sys.modules["__main__"]
    print(__name__, __file__, __package__, __spec__, main.__file__, main.NAME)
    print(sys.argv, sys.path[0], sys.executable, sys.flags, sys.getrecursionlimit())
    print(pickle.loads(pickle.dumps(Thing())).__class__.__module__)
    print(gc.isenabled(), gc.get_threshold(), sys.dont_write_bytecode)
    print(threading.current_thread() is threading.main_thread(), threading.active_count())
    print(threading.main_thread().name, threading.Thread().name)


def surroundings() -> None:
    print(json.dumps(dict(os.environ), sort_keys=True))
    print(os.getcwd(), os.getresuid(), os.getresgid(), os.getgroups(), os.uname().nodename)
    print({name: os.listdir(name) for name in (os.environ["HOME"], os.environ["TMPDIR"])})
    names = ("AS", "CORE", "CPU", "DATA", "FSIZE", "NOFILE", "NPROC", "STACK")
    print({name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in names})
    print({each.name: str(signal.getsignal(each)) for each in signal.Signals})
    print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), os.nice(0), os.umask(0), time.tzname)
    sys.stdout.flush()
    subprocess.run(["sh", "-c", "echo child; pwd; ulimit -a; umask; trap"], check=False)


def main(mode: str, *arguments: str) -> None:
    if mode == "exit":
        sys.exit(json.loads(arguments[0]))
    elif mode == "finally":
        atexit.register(lambda: print("at exit", NAME, Thing.__name__))
        threading.Thread(target=thread).start()
        print("main is done")
    elif mode == "thread-fails":
        threading.Thread(target=fail).start()
    elif mode == "atexit-fails":
        atexit.register(fail)
    elif mode == "echo":
        sys.stdout.write(sys.stdin.read().upper())
    elif mode == "input":
        print(repr(input("name? ")), repr(sys.stdin.readline()))
        input("more? ")
    elif mode == "binary":
        sys.stdout.buffer.write(bytes(range(256)) + sys.stdin.buffer.read()[::-1])
    elif mode == "unencodable":
        print("lone \udc80")
    elif mode == "large":
        for number in range(int(arguments[0])):
            print(f"line number {number} of many")
    elif mode == "writes":
        with open(arguments[0], "w") as file:
            file.write("written once")
    elif mode == "closed":
        print("never seen")
        os.close(1)
    elif mode == "no-stdout":
        sys.stdout = None  # type: ignore[assignment]
    elif mode == "signal":
        os.kill(os.getpid(), int(arguments[0]))
    elif mode == "at-once":
        print("lost")
        os._exit(9)
    elif mode == "interrupted":
        print("waiting for an interrupt, and saying so", flush=True)
        with contextlib.suppress(ZeroDivisionError):
            time.sleep(20)
    else:
        {"fail": fail, "streams": streams, "module": module, "around": surroundings}[mode]()


if __name__ == "__main__":
    main(*sys.argv[1:])
