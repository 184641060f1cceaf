"""Containers by podman and runc, with all that belongs to them in one folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_PROGRAMS = {
    "podman": "podman",
    "runc": "runc",
    "mmdebstrap": "mmdebstrap",
    "conmon": "conmon",
}
_CONFIG = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Failed(Exception):
    """A program ended badly; its command, its status, and the end of what it said."""


class Podman:
    """One place with images and containers.

    Args:
        folder: of all of it; made where it isn't there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "containers.conf"
        config.write_text(_CONFIG)
        self._environment = {**os.environ, "CONTAINERS_CONF": str(config)}

    def run(self, *argv: str, stdin: int | None = None, seconds: float = 600) -> str:
        """One podman command.

        Returns:
            What it wrote to standard output.

        Raises:
            Failed: it did.
        """
        places = (f"--root={self._folder / 'storage'}", f"--runroot={self._folder / 'run'}")
        return output(["podman", *places, *argv], self._environment, stdin=stdin, seconds=seconds)


def output(
    argv: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    stdin: int | None = None,
    seconds: float = 600,
) -> str:
    """Run a program; returns its standard output.

    Raises:
        Failed: it did, or took longer than ``seconds``.
    """
    try:
        done = subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(argv[:12])} took longer than {seconds:.0f} s") from None
    if done.returncode:
        said = (done.stdout + done.stderr)[-4000:]
        raise Failed(f"{' '.join(argv)[:300]} ended with {done.returncode}:\n{said}")
    return done.stdout


def need_programs() -> None:
    """Install what is missing, as root on Debian.

    Raises:
        Failed: it can't be installed here; what is missing.
    """
    if os.geteuid():
        raise Failed("containers with a user of their own are made as root here: run as root")
    missing = [package for package, program in _PROGRAMS.items() if not shutil.which(program)]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Failed(f"missing here: {', '.join(missing)}")
    print(f"installing: {' '.join(missing)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    output(["apt-get", "update", "-qq"], environment)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    output(install, environment)
