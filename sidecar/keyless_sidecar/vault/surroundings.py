"""What sources take from the machine: the person's home, network rules, keyring, and what to trust.

Made by :mod:`keyless_sidecar.server` and the vault command; tests make their own.
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from keyless_sidecar.vault.kinds import VaultError
from keyless_sidecar.vault.os_keyring import OsKeyring

__all__ = ["Surroundings", "person_home", "require_secure"]


def person_home() -> Path:
    """The home of the person whose process this is; the environment has no say in it."""
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return Path("/nonexistent")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Surroundings:
    """See the module.

    Args:
        home: the person's home folder.
        aws_folder: folder of ``config`` and ``credentials``.
        upstreams: host pattern → URL (``c.Egress.upstreams``).
        workspace: host path of the workspace: nothing in it is trusted; empty where there is none.
        keyring: the operating system's keyring.
        now: the clock.
        show_errors: programs may write to this process's standard error (at a terminal, when a
            person tests an entry).
    """

    home: Path = field(default_factory=person_home)
    aws_folder: Path | None = None
    upstreams: Mapping[str, str] = field(default_factory=dict)
    workspace: str = ""
    keyring: OsKeyring = field(default_factory=OsKeyring)
    now: Callable[[], datetime] = _now
    show_errors: bool = False

    def aws(self) -> Path:
        """Folder of the AWS configuration."""
        return self.aws_folder or self.home / ".aws"

    def aws_state(self) -> tuple[object, ...]:
        """Changes whenever the AWS configuration, or a token that a log-in left, does."""
        folder = self.aws()
        files = [folder / "config", folder / "credentials"]
        for cache in (folder / "sso" / "cache", folder / "login" / "cache"):
            if cache.is_dir():
                files += sorted(cache.glob("*.json"))
        return tuple(_stamp(file) for file in files)

    def upstream(self, host: str) -> str:
        """The configured URL in place of a host, empty where there is none."""
        for pattern, url in self.upstreams.items():
            if fnmatchcase(host, pattern):
                return url
        return ""

    def require_trusted(self, name: str, path: Path) -> None:
        """Refuse a file that anybody but root and this user can change, or the kernel can.

        Args:
            name: the entry, for errors.
            path: absolute; links are followed.

        Raises:
            VaultError: it lies in the workspace, is another user's, or others may write it or a
                folder above it.  One that isn't there is fine.
        """
        real = Path(os.path.realpath(path))
        workspace = Path(os.path.realpath(self.workspace)) if self.workspace else None
        if workspace is not None and (real.is_relative_to(workspace)):
            raise VaultError(f"{name}: {path} lies in the workspace, where cells can change it")
        for place in (*reversed(real.parents), real):
            try:
                info = place.lstat()
            except FileNotFoundError:
                return
            except OSError as error:
                raise VaultError(f"{name}: {place} can't be read: {error.strerror}") from None
            if info.st_uid not in (0, os.geteuid()):
                raise VaultError(f"{name}: {place} belongs to another user (uid {info.st_uid})")
            shared = stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX
            if info.st_mode & (stat.S_IWOTH | stat.S_IWGRP) and not shared:
                raise VaultError(f"{name}: others can change {place}: chmod go-w it")


def require_secure(name: str, url: str) -> None:
    """Refuse a URL that would send secrets in clear over a network.

    Raises:
        VaultError: it is neither https nor http to this machine itself.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise VaultError(f"{name}: the address is no URL") from None
    if not host or "@" in parts.netloc:
        raise VaultError(f"{name}: the address is https://HOST[:PORT], without a user")
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)):
        return
    raise VaultError(f"{name}: the address must be https (http only on this machine itself)")


def _stamp(file: Path) -> tuple[object, ...]:
    try:
        info = file.stat()
    except OSError:
        return (str(file),)
    return (str(file), info.st_ino, info.st_size, info.st_mtime_ns)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
