"""The program of a zygote: imports a tool once, and forks a process for each command.

Never imported in the sidecar: :mod:`keyless_sidecar.warm.zygotes` sends this file's text with
``TOOLS_PYTHON FLAGS -c TEXT CONTROL_FD`` into a sandbox, so it must stay free of imports beyond the
standard library, and run by any Python that a tool may use (3.9 and later).

Three generations:

- the *zygote* imports what the tool needs and waits on its control socket.  It never holds anything
  of a command: what it gets is a channel, which it hands to a fork and forgets;
- the *doorman* is that fork: it enters the namespaces of the command's sandbox, forks once more
  (a pid namespace counts for children only), gives up its rights and reports the exit status;
- the *command* is in that sandbox now.  It lays the filters on itself, gives up all rights, makes
  the listener that is its only way to a network, waits until the sidecar has looked at it, takes
  the command in, and runs the tool's script.
"""

from __future__ import annotations

import array
import ast
import contextlib
import ctypes
import errno
import fcntl
import gc
import importlib
import json
import os
import signal
import socket
import struct
import sys
import termios
import threading
import time
from collections.abc import Iterator
from typing import Any

BACKLOG = 64
#: What a command may change in its sandbox.
WRITABLE = ("/workspace", "/home/tool", "/tmp", "/dev/shm")  # noqa: S108 - inside the sandbox
NAMESPACES = (0x40000000, 0x08000000, 0x04000000, 0x02000000, 0x00020000, 0x20000000)
PDEATHSIG, NAME, SECCOMP, CAPBSET_DROP, NO_NEW_PRIVS, AMBIENT = 1, 15, 22, 24, 38, 47
CAPABILITY_VERSION = 0x20080522


class Filter(ctypes.Structure):
    """A system-call filter, as ``prctl`` takes it."""

    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_char_p))


LIBC = ctypes.CDLL(None, use_errno=True)


def require(result: int, what: str) -> None:
    """Raise where a call of the C library failed."""
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def send(channel: socket.socket, message: dict[str, Any], *descriptors: int) -> None:
    """One JSON line, with descriptors."""
    data = json.dumps(message).encode() + b"\n"
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    channel.sendmsg([data], rights if descriptors else [])


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """One length-prefixed JSON object, and the descriptors that came with it."""
    data = b""
    descriptors: list[int] = []
    while len(data) < 4 or len(data) < 4 + struct.unpack(">I", data[:4])[0]:
        piece, rights, _, _ = channel.recvmsg(1 << 20, socket.CMSG_SPACE(16 * 4))
        if not piece:
            os._exit(126)
        data += piece
        for _, _, numbers in rights:
            descriptors += array.array("i", numbers[: len(numbers) // 4 * 4])
    return json.loads(data[4:]), descriptors


# ---------------------------------------------------------------------- the zygote


def imports(script: str) -> Iterator[str]:
    """Names of the modules that a script imports first of all."""
    with open(script, "rb") as file:
        tree = ast.parse(file.read(), script)
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module


def preload(plan: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Import what the tool needs, and make it ready; what of it the sidecar should know."""
    script = plan["script"]
    if not sys.flags.isolated:
        sys.path[0] = os.path.dirname(script)  # noqa: PTH120 - as if the script had been started
    before = dict(os.environ)
    for name in [*imports(script), *plan["modules"]]:
        # What is missing the script itself will say, or do without.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    note = ""
    if plan["prepare"]:
        space: dict[str, Any] = {"__name__": "keyless_preparation"}
        exec(compile(plan["prepare"], "<preparation>", "exec"), space)  # noqa: S102 - our own text
        note = space["prepare"]()
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    variables = {name: value for name, value in os.environ.items() if before.get(name) != value}
    return {"files": [file for file in files if isinstance(file, str)], "note": note}, variables


def zygote(control: socket.socket) -> None:
    """Prepare, say so, and fork for each channel that comes."""
    plan, _ = receive(control)
    running: dict[str, Any] = {"__name__": "keyless_running"}
    exec(compile(plan["running"], "<running>", "exec"), running)  # noqa: S102 - our own text
    plan["running"] = running
    report, variables = preload(plan)
    if threading.active_count() != 1:  # only the forking thread lives on in a fork
        raise RuntimeError("the tool starts threads when it is imported")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the doormen
    gc.collect()
    gc.freeze()
    send(control, report)
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            os._exit(0)
        if os.fork() == 0:
            control.close()
            channel = socket.socket(fileno=descriptors[0])
            channel.set_inheritable(False)
            try:
                doorman(channel, plan, variables)
            except BaseException as error:  # noqa: BLE001 - this process may do nothing else
                with contextlib.suppress(OSError):
                    send(channel, {"error": f"{type(error).__name__}: {error}"})
            os._exit(126)
        os.close(descriptors[0])


# ---------------------------------------------------------------------- the doorman


def doorman(channel: socket.socket, plan: dict[str, Any], variables: dict[str, str]) -> None:
    """Enter the sandbox, fork the command in it, and report how it ended."""
    data, descriptors, _, _ = socket.recv_fds(channel, 1, 16)
    if not data:
        return
    *namespaces, status = descriptors
    for namespace, kind in zip(namespaces, NAMESPACES):  # noqa: B905 - not before Python 3.10
        require(LIBC.setns(namespace, kind), "setns")
        os.close(namespace)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        os.close(status)
        command(channel, plan, variables)
    renounce()
    channel.close()
    with contextlib.suppress(OSError):
        for number in (0, 1, 2):
            os.close(number)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _, ended = os.waitpid(child, 0)
    code = os.WEXITSTATUS(ended) if os.WIFEXITED(ended) else 128 + os.WTERMSIG(ended)
    os.write(status, str(code).encode())
    os._exit(0)


def renounce() -> None:
    """Give up every capability, for good."""
    for number in range(64):
        if LIBC.prctl(CAPBSET_DROP, number, 0, 0, 0) != 0:
            if ctypes.get_errno() == errno.EINVAL:
                break  # the first one that this kernel doesn't know
            require(-1, "the bounding set")
    require(LIBC.prctl(AMBIENT, 4, 0, 0, 0), "the ambient set")
    header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    require(LIBC.capset(header, bytes(24)), "the capabilities")


# ---------------------------------------------------------------------- the command


def command(channel: socket.socket, plan: dict[str, Any], variables: dict[str, str]) -> None:
    """Become the tool's command; never returns."""
    code, running = 126, plan["running"]
    try:
        confine(plan)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        listener.listen(BACKLOG)
        send(channel, {"port": listener.getsockname()[1]}, listener.fileno())
        listener.close()
        if not channel.recv(1):
            os._exit(126)
        send(channel, {"settled": True})  # from here on it only waits
        order, descriptors = receive(channel)
        try:
            enter(order, descriptors, variables)
            running["streams"]()
        except OSError as error:
            send(channel, {"errno": error.errno or 0})
            os._exit(126)
        channel.close()
        # For whoever lists processes: the command line stays the zygote's.
        LIBC.prctl(NAME, os.path.basename(order["argv"][0]).encode()[:15], 0, 0, 0)  # noqa: PTH119
        code = running["run"](order["argv"])
    except BaseException as error:  # noqa: BLE001 - it must not go on as a doorman
        with contextlib.suppress(OSError):
            send(channel, {"error": f"{type(error).__name__}: {error}"})
    os._exit(code)


def confine(plan: dict[str, Any]) -> None:
    """What bubblewrap and the gate lay on any command: a session, walls, no rights."""
    require(LIBC.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0), "the death signal")
    os.setsid()
    os.chdir("/")
    space: dict[str, Any] = {}
    exec(plan["landlock"], space)  # noqa: S102 - our own text, from the trusted side
    renounce()
    require(LIBC.prctl(NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    space["stack"](WRITABLE)
    for program in plan["filters"]:
        code = bytes.fromhex(program)
        description = Filter(len(code) // 8, code)
        require(LIBC.prctl(SECCOMP, 2, ctypes.byref(description), 0, 0), "the filter")


def enter(order: dict[str, Any], descriptors: list[int], variables: dict[str, str]) -> None:
    """Take over what belongs to the command: files, environment, streams, folder."""
    os.umask(0o077)
    environment = order["env"]
    for path, content in order["files"]:
        place = environment["HOME"] + "/" + path
        os.makedirs(os.path.dirname(place), exist_ok=True)  # noqa: PTH103, PTH120
        with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
    os.chdir(order["cwd"])
    os.umask(0o022)
    os.environ.clear()
    os.environ.update({**variables, **environment})
    given = dict(zip(order["streams"], descriptors))  # noqa: B905 - not before Python 3.10
    terminal = given.get("terminal")
    if terminal is not None:
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(given[name] if terminal is None else terminal, number)
    for descriptor in descriptors:
        os.close(descriptor)
    time.tzset()
    # A fork must not go on with its parent's random numbers, whatever its process id is now.
    if "ssl" in sys.modules:
        importlib.import_module("ssl").RAND_add(os.urandom(64), 64.0)
    if "random" in sys.modules:
        importlib.import_module("random").seed()
    if "tempfile" in sys.modules:
        setattr(importlib.import_module("tempfile"), "_name_sequence", None)  # noqa: B010


def main() -> None:
    """Take the control socket, and never return."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    # The sidecar ignores it, which its children inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        zygote(control)
    except BaseException as error:  # noqa: BLE001 - the sidecar says it in a note
        with contextlib.suppress(OSError):
            send(control, {"error": f"{type(error).__name__}: {error}"})
    os._exit(1)


main()
