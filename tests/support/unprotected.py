"""The counterpart of a protected kernel: nothing between a cell and the secrets.

It shows that an attack can win.  Kernel and naive sidecar live in a process namespace of their own,
with nothing of the host's files but the system's: the attacks find *their* victim, and no other
process or file of the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from tests.support.kernels import Session, Stage

from keyless_kernel.confine import interpreter_binds
from keyless_kernel.confine.bubblewrap import find_bwrap
from keyless_kernel.confine.view import system_arguments

NAIVE = Path(__file__).with_name("naive.py")
ROOT = Path(__file__).parents[2]
#: Stands in for psql and curl: writes where it is told, and answers with what it was sent.
_FAKE = """#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in
    -o) echo rows > "$2" ;;
    -L) env > "$2" ;;
    *PLACEHOLDER*) echo "$1" | sed "s/PLACEHOLDER/$RT_SECRET/" ;;
  esac
  shift
done
"""


class _Manager(KernelManager):
    """A kernel manager with a kernelspec that is in no folder."""

    spec: KernelSpec

    @property
    def kernel_spec(self) -> KernelSpec:
        return self.spec


@contextlib.contextmanager
def unprotected(
    world: Stage, tools: dict[str, Path], *, secrets_in_kernel: bool
) -> Iterator[Session]:
    """Start a plain kernel beside a naive sidecar.

    Args:
        world: where; its canaries are the secrets.
        tools: programs by name, to be found on PATH.
        secrets_in_kernel: whether the kernel's own environment holds them too.
    """
    workspace = world.workspace(os.geteuid())
    binaries = world.home / f"bin-{workspace.name}"
    binaries.mkdir()
    for name, path in tools.items():
        (binaries / name).symlink_to(path)
    for name in ("psql", "curl"):
        (binaries / name).write_text(_FAKE)
        (binaries / name).chmod(0o755)
    secrets = {
        "LEAKY_SECRET": world.canaries.leaky,
        "RT_SECRET": world.canaries.leaky,
        "AWS_ACCESS_KEY_ID": world.canaries.key_id,
        "AWS_SECRET_ACCESS_KEY": world.canaries.key,
    }
    (world.home / "vault.json").write_text(json.dumps(secrets))
    settings = {
        "home": str(world.home),
        "socket": str(naive_socket(workspace)),
        "workspace": str(workspace),
        "secrets": secrets,
        "pin": "4821",
        "tools": {
            "PATH": f".:{binaries}:/usr/bin:/bin",
            "PYTHONPATH": ".",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
    }
    environment = {
        "PATH": f"{binaries}:/usr/bin:/bin",
        "HOME": str(world.person),
        "NAIVE": json.dumps(settings),
        "LANG": "C.UTF-8",
        "IPYTHONDIR": str(world.home / "ipython"),
    }
    if secrets_in_kernel:
        environment |= secrets
    manager = _Manager(transport="ipc", ip=str(world.home / "k"))
    manager.connection_file = str(world.home / f"connection-{workspace.name}.json")
    manager.spec = KernelSpec(
        argv=[
            *_terrarium(world, workspace),
            sys.executable,
            str(NAIVE),
            "start",
            "{connection_file}",
        ],
        display_name="unprotected",
    )
    manager.start_kernel(env=environment)
    session = Session(manager, workspace)
    try:
        _await_naive(workspace)
        yield session
    finally:
        session.stop()


def naive_socket(workspace: Path) -> Path:
    """Where the naive sidecar of the kernel in ``workspace`` listens."""
    return workspace.parent / f"{workspace.name}.sock"


def _await_naive(workspace: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        with socket.socket(socket.AF_UNIX) as link:
            try:
                return link.connect(str(naive_socket(workspace)))
            except OSError:
                if time.monotonic() > deadline:
                    raise
        time.sleep(0.02)


def _terrarium(world: Stage, workspace: Path) -> list[str]:
    """A process namespace of its own, and of the host's files the system's and the stage."""
    argv = [find_bwrap(), "--die-with-parent", "--unshare-pid", "--unshare-net", "--unshare-ipc"]
    argv += [*system_arguments(), "--ro-bind", "/etc/passwd", "/etc/passwd"]
    argv += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/run"]
    for bind in interpreter_binds():
        argv += ["--ro-bind", bind.source, bind.target]
    argv += ["--ro-bind", str(ROOT), str(ROOT), "--bind", str(world.home), str(world.home)]
    return [*argv, "--chdir", str(workspace), "--"]
