"""A real Secret Service for tests: a session bus and GNOME Keyring of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import secretstorage
from jeepney.io.blocking import open_dbus_connection

__all__ = ["AVAILABLE", "SecretService"]

_START = 30.0
_PROGRAMS = ("dbus-daemon", "gnome-keyring-daemon")
AVAILABLE = all(map(shutil.which, _PROGRAMS))


class SecretService:
    """A context manager: an unlocked, empty keyring on a bus at :attr:`bus`.

    Args:
        home: an empty folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._processes: list[subprocess.Popen[bytes]] = []
        self.bus = ""

    def __enter__(self) -> Self:
        bus, keyring = (str(shutil.which(name)) for name in _PROGRAMS)
        runtime = self._home / "run"
        runtime.mkdir(mode=0o700)
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self._home),
            "XDG_RUNTIME_DIR": str(runtime),
        }
        read, write = os.pipe()
        config = self._home / "bus.conf"
        # No services to start, and above all not those of the machine.
        config.write_text(
            f"<busconfig><type>session</type><listen>unix:path={runtime}/bus</listen>"
            "<auth>EXTERNAL</auth><policy context='default'>"
            "<allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/>"
            "<allow own='*'/></policy></busconfig>"
        )
        argv = [bus, f"--config-file={config}", "--nofork", f"--print-address={write}"]
        self._start(argv, environment, pass_fds=(write,))
        os.close(write)
        with os.fdopen(read) as address:
            self.bus = address.readline().strip()
        argv = [keyring, "--foreground", "--unlock", "--components=secrets"]
        daemon = self._start(argv, {**environment, "DBUS_SESSION_BUS_ADDRESS": self.bus})
        # It prints its variables once it is on the bus.
        if daemon.stdin and daemon.stdout:
            daemon.stdin.write(b"a test's own password")
            daemon.stdin.close()
            daemon.stdout.readline()
        self._wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()

    def _wait(self) -> None:
        deadline = time.monotonic() + _START
        with open_dbus_connection(self.bus) as connection:
            while not secretstorage.check_service_availability(connection):
                if time.monotonic() > deadline:
                    raise RuntimeError("the keyring didn't come up")
                os.sched_yield()

    def _start(
        self, argv: list[str], environment: dict[str, str], pass_fds: tuple[int, ...] = ()
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            pass_fds=pass_fds,
            cwd="/",
        )
        self._processes.append(process)
        return process
