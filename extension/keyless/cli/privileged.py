"""Start the privileged package's half of a command, in a process of its own.

``keyless`` never imports ``keyless_sidecar``: what handles secrets runs as ``python -I``, with
nothing on its path that a notebook could have put there.  It shares this process's terminal and
descriptors, so prompts, pipes and ``--from-fd`` go straight to it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jupyter_core.paths import jupyter_runtime_dir
from traitlets.config import Config

from keyless_kernel.confine import ConfigError
from keyless_kernel.confine.settings import data_dir, load_config

__all__ = ["ask", "become", "run", "vault_folder"]

_TIMEOUT = 60.0
#: Commands that open the vault.
_VAULT_USERS = frozenset({"vault", "scrub"})


def run(command: str, arguments: Sequence[str]) -> int:
    """Run ``vault`` or ``audit`` at the person's terminal; returns its exit status."""
    try:
        argv = _argv(command, arguments, load_config())
    except ConfigError as error:
        print(f"jupyter keyless {command}: {error}", file=sys.stderr)
        return 1
    # Descriptors that the shell opened for --from-fd pass on; Python's own are not inheritable.
    with subprocess.Popen(argv, close_fds=False) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                # It got the signal too, and ends by itself.
                continue


def become(command: str, arguments: Sequence[str]) -> int:
    """Turn this process into the privileged one, so that whoever ends it ends that."""
    try:
        argv = _argv(command, arguments, load_config())
    except ConfigError as error:
        print(f"jupyter keyless {command}: {error}", file=sys.stderr)
    else:
        os.execv(argv[0], argv)  # noqa: S606 - no shell
    return 1


def ask(
    command: str,
    arguments: Sequence[str],
    config: Config,
    *,
    stdin: str = "",
    passphrase: str | None = None,
    timeout: float = _TIMEOUT,
) -> subprocess.CompletedProcess[str]:
    """Run one without a terminal and return what it said.

    Args:
        command: its name.
        arguments: after those that say where vault and audit lie.
        config: says that.
        stdin: its standard input.
        passphrase: of the vault, given over a descriptor.
        timeout: seconds that it may take.

    Raises:
        subprocess.TimeoutExpired: it hangs.
    """
    argv = _argv(command, arguments, config)
    with contextlib.ExitStack() as stack:
        descriptors = []
        if passphrase is not None:
            file = stack.enter_context(os.fdopen(os.memfd_create("passphrase"), "w+b"))
            file.write(passphrase.encode())
            file.seek(0)
            descriptors = [file.fileno()]
            argv += ["--passphrase-fd", str(file.fileno())]
        return subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            pass_fds=descriptors,
            # Without a terminal: it must not ask the one that this process was started from.
            start_new_session=True,
        )


def vault_folder(config: Config) -> Path:
    """Folder of ``vault.json``, as the sidecar determines it."""
    return _folder(config, "Vault") or data_dir()


def _argv(command: str, arguments: Sequence[str], config: Config) -> list[str]:
    if command == "page":
        places = ["--runtime-dir", jupyter_runtime_dir()]
        return [sys.executable, "-I", "-m", "keyless_sidecar", command, *places, *arguments]
    places = ["--data-dir", str(vault_folder(config) if command in _VAULT_USERS else data_dir())]
    records = _folder(config, "Audit")
    if command == "audit" and records:
        places += ["--folder", str(records)]
    return [sys.executable, "-I", "-m", "keyless_sidecar", command, *places, *arguments]


def _folder(config: Config, section: str) -> Path | None:
    # Asked for by membership: a Config makes up what is missing.
    if section in config and "folder" in config[section] and config[section]["folder"]:
        return Path(str(config[section]["folder"]))
    return None
