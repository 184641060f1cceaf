"""Starts a kernel at whatever level is in force and reports what a hostile cell and tool reach.

``python level_probe.py``, by :func:`tests.support.levels.run_at`: prints one JSON object.
Everything that must stay out of reach belongs to the same user and is made here.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from tests.support.leftovers import adopt_orphans, descendants, files_below, wait_until_gone
from tests.support.sidecar import SECRET, leaky

HOSTILE = """
import contextlib, ctypes, json, os, signal, socket
report = {}
def attempt(name, call):
    try:
        report[name] = repr(call())[:200]
    except BaseException as error:
        report[name] = f"refused: {type(error).__name__} {getattr(error, 'errno', error)}"
def stream(family, address):
    with socket.socket(family) as s:
        s.settimeout(3); s.connect(address); s.sendall(b"hello")
def datagram(family, address):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.sendto(b"hello", address)
def pair_datagram(address):
    with contextlib.ExitStack() as stack:
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        a.sendto(b"hello", address)
libc = ctypes.CDLL(None, use_errno=True)
def priority(pid):
    if libc.setpriority(0, pid, 15):
        raise OSError(ctypes.get_errno(), "setpriority")
def limit(pid):
    import resource
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 3))
def change(path):
    os.chmod(path, 0o777)
def change_by_descriptor(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fchmod(descriptor, 0o777)
def listing(path):
    return os.listdir(path)[:3]
attempt("read private file", lambda: open(PRIVATE).read())
attempt("read by another name", lambda: open("/proc/self/root" + PRIVATE).read())
attempt("list vault", lambda: listing(DATA))
attempt("write private file", lambda: open(PRIVATE, "a").write("x"))
attempt("truncate private file", lambda: os.truncate(PRIVATE, 0))
attempt("replace private file", lambda: os.rename(PRIVATE, PRIVATE + ".x"))
attempt("remove private file", lambda: os.unlink(PRIVATE))
attempt("link private file", lambda: os.link(PRIVATE, "linked"))
attempt("chmod private file", lambda: change(PRIVATE))
attempt("chmod by link", lambda: (os.symlink(PRIVATE, "to-private"), change("to-private")))
attempt("chmod interpreter", lambda: change_by_descriptor(os.__file__))
attempt("utime private file", lambda: os.utime(PRIVATE, (1, 1)))
attempt("xattr private file", lambda: os.setxattr(PRIVATE, "user.x", b"x"))
attempt("shadow", lambda: open("/etc/shadow").read(10))
attempt("status of a process", lambda: open(f"/proc/{VICTIM}/status").read(10))
attempt("environ of a process", lambda: open(f"/proc/{VICTIM}/environ").read())
attempt("memory of a process", lambda: open(f"/proc/{VICTIM}/mem", "rb").read(1))
attempt("processes", lambda: sorted(p for p in os.listdir("/proc") if p.isdigit()))
attempt("host connections", lambda: f":{TCP:04X}" in open("/proc/net/tcp").read())
attempt("signal", lambda: os.kill(VICTIM, signal.SIGTERM))
attempt("signal by descriptor", lambda: signal.pidfd_send_signal(os.pidfd_open(VICTIM), 15))
attempt("priority", lambda: priority(VICTIM))
attempt("affinity", lambda: os.sched_setaffinity(VICTIM, {0}))
attempt("limits", lambda: limit(VICTIM))
attempt("tcp", lambda: stream(socket.AF_INET, ("127.0.0.1", TCP)))
attempt("udp", lambda: datagram(socket.AF_INET, ("127.0.0.1", TCP)))
attempt("unix", lambda: stream(socket.AF_UNIX, UNIX))
attempt("abstract", lambda: stream(socket.AF_UNIX, ABSTRACT))
attempt("unix datagram", lambda: datagram(socket.AF_UNIX, UNIX + "d"))
attempt("unix datagram by pair", lambda: pair_datagram(UNIX + "d"))
# Its own entry, which every process may write to, unless rules say otherwise.
attempt("second wall", lambda: open("/proc/self/oom_score_adj", "w"))
attempt("own wrapper", lambda: os.kill(os.getppid(), signal.SIGKILL))
print(json.dumps(report))
"""

HARMLESS = """
import json, os, shutil, subprocess, tempfile, threading
done = {}
open("made", "w").write("x")
os.chmod("made", 0o640)
shutil.copy2("made", "copied")
done["mode"] = oct(os.stat("copied").st_mode & 0o777)
os.utime("copied", (5, 5))
done["time"] = os.stat("copied").st_mtime
with tempfile.NamedTemporaryFile() as file:
    file.write(b"x")
    done["temporary"] = os.path.exists(file.name)
shell = subprocess.run(["/bin/sh", "-c", "echo $HOME"], capture_output=True, text=True)
done["process"] = shell.stdout.strip() == os.environ["HOME"]
os.mkdir("folder"); os.rename("made", "folder/moved"); done["moved"] = os.listdir("folder")
open(os.path.expanduser("~/mine"), "w").write("x")
done["home"] = os.listdir(os.path.expanduser("~")) != []
done["cwd"] = os.getcwd() == os.environ["KEYLESS_WORKSPACE"]
print(json.dumps(done))
"""

DAEMONS = """
import os, subprocess, time
subprocess.Popen(["setsid", "sleep", "600"])
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            open("beat", "w").write(str(time.time()))
            time.sleep(0.02)
    os._exit(0)
"""


def main() -> None:
    """Make the surroundings, run it all, print what came of it."""
    adopt_orphans()
    home = Path(os.environ["HOME"])
    private = home / "private.txt"
    private.write_text("of the person")
    private.chmod(0o600)
    with contextlib.ExitStack() as stack:
        victim = subprocess.Popen(["sleep", "600"], env={"TOKEN": "of-the-person"})
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        received: list[bytes] = []
        names = {
            "PRIVATE": str(private),
            "DATA": os.environ["JUPYTER_DATA_DIR"],
            "VICTIM": victim.pid,
            "TCP": _listen(stack, socket.AF_INET, ("127.0.0.1", 0), received),
            "UNIX": str(home / "u"),
            "ABSTRACT": f"\0keyless-{os.getpid()}",
        }
        _listen(stack, socket.AF_UNIX, names["UNIX"], received)
        _listen(stack, socket.AF_UNIX, names["ABSTRACT"], received)
        datagrams = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        datagrams.bind(str(names["UNIX"]) + "d")
        upstream = stack.enter_context(_Upstream())
        with (home / "config" / "jupyter_keyless_config.py").open("a") as config:
            config.write(
                f"c.Tools.declared = {{'leaky': {leaky(hosts=['api.example:443'])!r}}}\n"
                "c.Tools.aws = False\n"
                f"c.Egress.upstreams = {{'*.example': 'http://127.0.0.1:{upstream.port}'}}\n"
            )
        preamble = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        interpreter = Path(os.__file__).stat().st_mode
        report = _with_kernel(preamble, int(names["TCP"]), upstream.port, set(descendants()))
        datagrams.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            received.append(datagrams.recv(100))
        status = private.stat()
        report["after"] = {
            "victim runs": victim.poll() is None,
            "victim nice": os.getpriority(os.PRIO_PROCESS, victim.pid),
            "private": [private.read_text(), oct(status.st_mode & 0o777), status.st_mtime > 10],
            "interpreter unchanged": Path(os.__file__).stat().st_mode == interpreter,
            "received": [data.decode() for data in received],
            "asked": upstream.asked,
        }
    print(json.dumps(report))


def _with_kernel(preamble: str, tcp: int, upstream: int, before: set[int]) -> dict[str, Any]:
    manager = KernelManager(kernel_name="keyless")
    started = time.monotonic()
    credential = {"name": "canary", "kind": "generic", "fields": {"value": SECRET}}
    manager.start_kernel(keyless_credentials=[{**credential, "tools": ["leaky"]}])
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    report: dict[str, Any] = {
        "start": time.monotonic() - started,
        "level": getattr(manager.provisioner, "level", ""),
    }

    # Known by its socket's folder: at landlock-root that leads out of the runtime folder.
    apart = Path(os.path.realpath(Path(manager.ip).parent)).parent

    def cell(code: str) -> str:
        return _run(client, textwrap.dedent(code))

    report["harmless"] = json.loads(cell(HARMLESS))
    report["shell"] = cell("!echo from the shell")
    report["hostile"] = json.loads(cell(preamble + HOSTILE))
    report["keyless"] = cell("%keyless")
    tool = {
        "plain": "plain",
        "b64": "b64",
        "env": "env",
        "cwd": "cwd",
        "direct": f"connect 127.0.0.1 {tcp}",
        "gate refuses": f"proxied 127.0.0.1:{tcp}",
        "gate": f"proxied 127.0.0.1:{upstream} /hello",
        "private": f"read 0 {os.environ['HOME']}/private.txt",
        "kill": "ids",
        "daemon": f"daemon {os.environ['HOME']}/beat 600",
    }
    report["tool"] = {
        name: cell(f"%secure_exec --no-raise leaky {line}") for name, line in tool.items()
    }
    cell(DAEMONS)
    report["running"] = len(descendants()) - len(before)
    client.stop_channels()
    ended = time.monotonic()
    manager.shutdown_kernel(now=True)
    report["end"] = time.monotonic() - ended
    report["left"] = list(wait_until_gone(before, timeout=10).values())
    report["files"] = files_below(Path(os.environ["JUPYTER_RUNTIME_DIR"]))
    report["files"] += files_below(apart) if apart.is_dir() else []
    return report


def _run(client: BlockingKernelClient, code: str) -> str:
    said: list[str] = []

    def collect(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            said.append(content["text"])
        elif message["msg_type"] in ("execute_result", "display_data"):
            said.append(content["data"].get("text/plain", ""))
        elif message["msg_type"] == "error":
            said.append(f"{content['ename']}: {content['evalue']}")

    client.execute_interactive(code, output_hook=collect, timeout=60)
    return "".join(said)


def _listen(
    stack: contextlib.ExitStack, family: int, address: Any, received: list[bytes]
) -> int | str:
    listener = socket.socket(family)
    listener.bind(address)
    listener.listen()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(3)
                    received.append(connection.recv(100))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    stack.callback(listener.close)
    stack.callback(listener.shutdown, socket.SHUT_RDWR)
    return int(listener.getsockname()[1]) if family == socket.AF_INET else str(address)


class _Upstream:
    """A server that the tool may reach through the gate."""

    def __init__(self) -> None:
        asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", "5")
                self.end_headers()
                self.wfile.write(b"world")

            def log_message(self, *_: object) -> None:
                pass

        self.asked = asked
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port

    def __enter__(self) -> _Upstream:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


if __name__ == "__main__":
    main()
