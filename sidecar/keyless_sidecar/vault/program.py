"""Run a person's program and read what it prints: sources ``command`` and ``credential_process``.

No shell, no environment of ours, nothing on its standard input; what it prints on standard error
goes to a terminal or nowhere, never to the kernel side.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from keyless_sidecar.vault.answers import MAX_ANSWER
from keyless_sidecar.vault.kinds import VaultError
from keyless_sidecar.vault.surroundings import Surroundings

__all__ = ["run_program"]


def run_program(
    name: str,
    argv: Sequence[str],
    surroundings: Surroundings,
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    most: int = MAX_ANSWER,
) -> bytes:
    """What the program prints, once it ended with status 0.

    Args:
        name: the entry, for errors.
        argv: absolute path and arguments.
        timeout: seconds; its whole process group ends then.
        environment: beside PATH, HOME, LANG and USER.
        most: largest output in bytes.

    Raises:
        VaultError: it can't be trusted or started, fails, takes too long, or prints too much.
    """
    surroundings.require_trusted(name, Path(argv[0]))
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if surroundings.show_errors else subprocess.DEVNULL,
            env={**_environment(surroundings.home), **(environment or {})},
            cwd="/",
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "an argument can't be passed"
        raise VaultError(f"{name}: {argv[0]} can't be started: {reason}") from None
    try:
        output = _read(name, process, timeout, most)
    finally:
        # Also what it left behind; the group is there as long as its leader isn't reaped.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()
    if process.returncode != 0:
        raise VaultError(f"{name}: {argv[0]} failed with status {process.returncode}")
    return output


def _read(name: str, process: subprocess.Popen[bytes], timeout: float, most: int) -> bytes:
    """All its output until it ends.  Doesn't reap it."""
    deadline = time.monotonic() + timeout
    output = bytearray()
    if process.stdout is None:
        return b""
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    end = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            selector.register(end, selectors.EVENT_READ)
            ended = False
            # What it started in the background may keep the pipe open: its own end counts.
            while not ended:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise VaultError(f"{name}: the program took longer than {timeout:g} seconds")
                ended = any(key.fd == end for key, _ in ready)
                if not _drain(pipe, output, most) and pipe in selector.get_map():
                    selector.unregister(pipe)
                if len(output) > most:
                    raise VaultError(f"{name}: the program printed more than {most} bytes")
    finally:
        os.close(end)
    return bytes(output)


def _drain(pipe: int, output: bytearray, most: int) -> bool:
    """Add what a pipe has now; False at its end."""
    with contextlib.suppress(BlockingIOError):
        while len(output) <= most:
            chunk = os.read(pipe, 65536)
            if not chunk:
                return False
            output += chunk
    return True


def _environment(home: Path) -> dict[str, str]:
    values = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}
    with contextlib.suppress(KeyError):
        values["USER"] = values["LOGNAME"] = pwd.getpwuid(os.geteuid()).pw_name
    return values
