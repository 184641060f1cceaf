"""How the shared probes are run: what they are told, and the routes to the privileged side.

The text of the adapters runs in the kernels, as attacker code.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any

from tests.support.kernels import ECHO_HOST, Session, Stage, sidecar_pid
from tests.support.unprotected import naive_socket

#: A value that a vault must refuse; the probe C13 looks for it.
PIN = "4821"

#: ``RT_PRIV`` over the product's own function.
#: The probes ask for their user's home. Where sandboxes see the machine's own list of users, theirs
#: need not be in it; no attacker would stop for that.
_OWN_NAME = """
import os, pwd
try:
    pwd.getpwuid(os.getuid())
except KeyError:
    pwd.getpwuid = lambda uid: pwd.struct_passwd(
        ("keyless", "x", uid, uid, "", os.environ["HOME"], "/bin/sh")
    )
"""

PRODUCT_ROUTE = """
def RT_PRIV(argv, stdin=None, timeout=60):
    from keyless import (
        ExecError, InvalidRequest, PolicyDenied, SidecarUnavailable, ToolNotFound, secure_exec,
    )
    try:
        done = secure_exec(
            argv[0], list(argv[1:]), stdin=stdin, timeout=timeout, raise_error=False
        )
    except (PolicyDenied, InvalidRequest, ToolNotFound) as error:
        return {"rc": None, "out": "", "err": str(error), "refused": True}
    except ExecError as error:
        if isinstance(error, SidecarUnavailable):
            raise
        out = error.result.stdout if error.result else ""
        err = error.result.stderr if error.result else ""
        return {"rc": None, "out": out, "err": err + str(error), "refused": False}
    return {"rc": done.exit_code, "out": done.stdout, "err": done.stderr, "refused": False}
"""

#: ``RT_PRIV`` over the naive sidecar's unix socket.
NAIVE_ROUTE = """
def RT_PRIV(argv, stdin=None, timeout=60):
    import json, os, socket
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(3)
        s.connect(RT_NAIVE)
        s.settimeout(90)
        request = {"argv": list(argv), "stdin": stdin, "timeout": timeout, "cwd": os.getcwd()}
        s.sendall(json.dumps(request).encode() + b"\\n")
        return json.loads(s.makefile("rb").read()) | {"refused": False}
"""

#: What an unprotected person's machine holds beside the naive sidecar.
NAIVE_SURROUNDINGS = """
import ctypes, os, pathlib, sys
_home = pathlib.Path(os.environ["HOME"])
for _name in (".jupyter", ".local/share/jupyter/runtime", ".ipython/profile_default/startup"):
    (_home / _name).mkdir(parents=True, exist_ok=True)
(_home / ".local/share/jupyter/runtime/jpserver-1.json").write_text('{"token": "abc"}')
_token = {"broker": RT_SECRET_VALUE}
pathlib.Path("/tmp/trace.log").write_text(RT_SECRET_VALUE)
_inherited = os.open(RT_VAULT, os.O_RDONLY)
_libc = ctypes.CDLL(None)
_x86 = os.uname().machine == "x86_64"
_libc.syscall(250 if _x86 else 219, 1, 0)
_value = RT_SECRET_VALUE.encode()
_libc.syscall(248 if _x86 else 217, b"user", b"rt", _value, len(_value), -3)
_path = pathlib.Path(os.environ["HOME"], "lib")
(_path / "__pycache__").mkdir(parents=True, exist_ok=True)
"""


def outcome(printed: str, probe: str) -> str:
    """The line with a probe's verdict, as it printed it."""
    lines = [
        line for line in printed.splitlines() if re.match(rf"(LEAK|BLOCKED|SKIP): {probe}\b", line)
    ]
    return lines[-1] if lines else f"no verdict in {printed[-300:]!r}"


def title(source: str) -> str:
    """What a probe does: the second line of its docstring."""
    lines = source.splitlines()
    return lines[1].strip() if len(lines) > 1 else ""


def placeholder_hints(session: Session) -> dict[str, Any]:
    """What an attacker may know where tools hold placeholders, the placeholder itself included."""
    told = session.run(
        "from keyless import secure_exec; print(secure_exec('rt-placeholder', ['plain']).stdout)"
    )
    found = re.search(r"token=(\S+)", told.text)
    if found is None:
        raise RuntimeError(f"the tool doesn't tell its placeholder: {told.text} {told.error}")
    return {
        "leaky": "rt-placeholder",
        "placeholder": found[1],
        "allowed_echo_url": f"https://{ECHO_HOST}/",
    }


def product_hints(world: Stage, session: Session) -> dict[str, Any]:
    """What an attacker may know about a protected kernel."""
    return {
        "leaky": "rt-leaky",
        "benign_argv": ["rt-leaky", "argv", "benign"],
        "denied_argv": ["aws", "configure", "list"],
        "approval_argv": ["rt-leaky", "argv", "approve-me"],
        "sidecar_sockets": [],  # there is none: the channel is an inherited socketpair
        "sidecar_pids": [sidecar_pid(session), os.getpid()],
        "pid_ns": os.readlink("/proc/self/ns/pid"),  # noqa: PTH115 - no Path for it
        "sidecar_sys_path": [path for path in sys.path if Path(path).is_dir()],
        "vault_paths": [str(world.home / "data" / "keyless"), str(world.home / "runtime")],
        "log_paths": [str(path) for path in world.audit.iterdir()],
        "real_home": str(world.person),
        "loopback_ports": [int(world.aws.endpoint.rpartition(":")[2]), world.listener.port],
        "pin_sha256": hashlib.sha256(PIN.encode()).hexdigest(),
        "timeout_s": 2,
        "upload_argv": ["aws", "s3", "cp", "{FILE}", "s3://rt-bucket/rt_b05"],
    }


def naive_hints(world: Stage, session: Session) -> dict[str, Any]:
    """The same about an unprotected one."""
    socket = str(naive_socket(session.workspace))
    log = world.person / "audit.log"
    log.touch()
    return {
        "leaky": "rt-leaky",
        "benign_argv": ["rt-leaky", "argv", "benign"],
        "denied_argv": ["rt-leaky", "rc", "0"],
        "approval_argv": ["rt-leaky", "rc", "0"],
        "sidecar_sockets": [socket],
        "unix_sockets": [socket],
        "vault_paths": [str(world.home / "vault.json")],
        "log_paths": [str(log)],
        "real_home": str(world.person),
        "pin_sha256": hashlib.sha256(PIN.encode()).hexdigest(),
        "placeholder": "PLACEHOLDER",
        "allowed_echo_url": "http://127.0.0.1:9/",
        "timeout_s": 1,
        "upload_argv": ["cat", "{FILE}"],
    }


def cell(
    folder: Path, probe: Path, world: Stage, hints: dict[str, Any], route: str, budget: float
) -> str:
    """Everything that runs as one cell: hints, route, prelude, probe.

    Args:
        budget: seconds that the probe gives itself.
    """
    told = {"canaries": world.canaries.hashed(), "hints": hints}
    return "\n".join(
        (
            f"RT_CANARIES = {told!r}",
            route,
            _OWN_NAME,
            (folder / "_prelude.py").read_text(),
            f"RT.__init__.__defaults__ = ({budget},)",
            probe.read_text(),
        )
    )
