"""A sidecar as one writes it in an afternoon: every mistake that the probes look for.

``naive.py start …`` is the first program in the unprotected kernel's process namespace (see
``unprotected.py``): it starts the two servers below and becomes an ordinary ipykernel.
``naive.py socket …`` answers JSON lines on a unix socket, ``naive.py channel …`` speaks the
product's own protocol on an inherited descriptor, without any check.  Both run as the kernel's
user and hold the secrets in argv, environment, memory and open files.
"""

from __future__ import annotations

# ruff: noqa: PTH118, S604, S606 - all its mistakes are meant
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

SETTINGS = json.loads(os.environ.get("NAIVE", "{}"))
OUTPUT = Path(SETTINGS.get("socket", "/nonexistent") + ".output")


def start(connection_file: str) -> None:
    """Start the servers as orphans (so that they aren't the kernel's children), then the kernel."""
    ours, theirs = socket.socketpair()
    me = f"{sys.executable} {__file__}"
    secret = SETTINGS["secrets"]["LEAKY_SECRET"]
    vault = SETTINGS["home"] + "/vault.json"
    for command, keep in (
        (f"while :; do {me} socket --token={secret} 3<{vault}; sleep 1; done", ()),
        (f"exec {me} channel {theirs.fileno()}", (theirs.fileno(),)),
    ):
        subprocess.run(
            ["sh", "-c", f"( {command} ) >/dev/null 2>&1 &"],
            env={**os.environ, **SETTINGS["secrets"]},
            pass_fds=keep,
            check=True,
        )
    ours.set_inheritable(True)
    os.set_inheritable(os.open(vault, os.O_RDONLY), True)  # forgotten, as it happens
    environment = {**os.environ, "KEYLESS_CHANNEL_FD": str(ours.fileno()), "JPY_PARENT_PID": "1"}
    del environment["NAIVE"]
    kernel = [sys.executable, "-m", "ipykernel_launcher", "-f", connection_file]
    os.execve(kernel[0], kernel, environment)


def run(
    argv: list[str], cwd: str, stdin: str = "", timeout: float = 60, shell: bool = False
) -> subprocess.CompletedProcess[bytes]:
    """Run whatever is asked for, where the asker is, with all secrets."""
    environment = {**os.environ, **SETTINGS["secrets"], **SETTINGS["tools"]}
    command = ["sh", "-c", " ".join(argv)] if shell else argv
    # A polite signal, and whoever still holds the pipes is waited for.
    command = ["timeout", str(timeout), *command]
    return subprocess.run(
        command, input=stdin.encode(), capture_output=True, cwd=cwd, env=environment, check=False
    )


# --------------------------------------------------------------------------- JSON lines


def serve_socket() -> None:
    """Eight threads on one unix socket; a second listener broadcasts what is going on."""
    import zmq

    broadcast: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUB)
    broadcast.bind("tcp://127.0.0.1:*")
    address = SETTINGS["socket"]
    Path(address).unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen(4)
    threads = [threading.Thread(target=_accept, args=(server,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    while True:
        broadcast.send(b"stream " + SETTINGS["secrets"]["LEAKY_SECRET"].encode())
        threading.Event().wait(0.2)


def _accept(server: socket.socket) -> None:
    while True:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            try:
                _answer(connection, lines.readline())
            except OSError:
                continue
            except ValueError:
                os._exit(1)  # nobody expected that


def _answer(connection: socket.socket, line: bytes) -> None:
    if not line:
        return
    request = json.loads(line)
    if request.get("op") in ("list_secrets", "get"):
        answer: dict[str, Any] = SETTINGS["secrets"]
    else:
        try:
            done = run(
                request["argv"], request.get("cwd", "/"), request.get("stdin") or "",
                request.get("timeout", 60), shell=True,
            )  # fmt: skip
            OUTPUT.write_bytes(done.stdout)
            threading.Event().wait(0.02)  # "until it is on the disk"
            out = OUTPUT.read_text("utf-8", "surrogateescape")
            out = out.replace(SETTINGS["pin"], "***")
            answer = {
                "rc": done.returncode,
                "out": out,
                "err": done.stderr.decode(errors="replace"),
            }
        except (OSError, KeyError, TypeError, ValueError) as error:
            answer = {"rc": None, "out": "", "err": repr(error)}
    connection.sendall(json.dumps(answer).encode() + b"\n")


# --------------------------------------------------------------------------- the product's protocol


def serve_channel(descriptor: int) -> None:
    """Frames of any length, requests of any id, tools of any path, credentials of any owner."""
    channel = socket.socket(fileno=descriptor)
    stream = channel.makefile("rb")
    waiting: dict[int, tuple[dict[str, Any], bytearray]] = {}

    def send(**message: Any) -> None:
        body = msgspec.msgpack.encode(message)
        channel.sendall(struct.pack(">I", len(body)) + body)

    def execute(request: dict[str, Any], stdin: bytes) -> None:
        argv = [request["tool"], *request["argv"]]
        folder = os.path.join(SETTINGS["workspace"], request.get("cwd", ""))
        try:
            merged = ["sh", "-c", 'exec "$@" 2>&1', "sh", *argv]  # one stream, in order
            done = run(merged, folder, stdin.decode(errors="replace"), request.get("timeout") or 60)
        except (OSError, ValueError) as error:
            send(type="failed", id=request["id"], kind="ToolNotFound", message=repr(error))
            return
        for data in (done.stdout, done.stderr):
            try:
                text = data.decode()
            except UnicodeDecodeError:
                text = data.decode("latin-1")
            send(type="output", id=request["id"], stream="stdout", data=text)
        send(
            type="finished", id=request["id"], exit_code=done.returncode, duration=0.0,
            record_id="none",
        )  # fmt: skip

    while head := stream.read(4):
        message = msgspec.msgpack.decode(stream.read(struct.unpack(">I", head)[0]))
        kind = message.get("type")
        if kind == "hello":
            send(type="welcome", version=1, kernel_id="naive", level="none")
        elif kind == "exec" and message.get("stdin_size") is not None:
            waiting[message["id"]] = (message, bytearray())
        elif kind == "exec":
            execute(message, b"")
        elif kind == "stdin" and message["id"] in waiting:
            request, received = waiting[message["id"]]
            received += message["data"]
            if len(received) == request["stdin_size"]:
                del waiting[message["id"]]
                execute(request, bytes(received))


if __name__ == "__main__":
    if sys.argv[1] == "start":
        start(sys.argv[2])
    elif sys.argv[1] == "socket":
        serve_socket()
    else:
        serve_channel(int(sys.argv[2]))
