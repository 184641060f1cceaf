"""Where one kernel's folders are: its sockets, private folders, scratch space and workspace.

Made by the supervisor, which knows the level.  In a sandbox of namespaces the host's paths don't
matter.  At the landlock levels the kernel uses them as they are; and as root its user is another
one, who can't enter Jupyter's runtime folder: then they lie together in a folder of their own.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from keyless_kernel.confine import Confiner
from keyless_kernel.confine.folders import remove_tree

#: Where the kernel's sockets lie in a sandbox of namespaces.
SOCKETS = "/run/keyless"
HOME = "/home/keyless"
#: Where the kernel finds the certificates that it is to trust, where it has a way to a network.
CERTIFICATES = "/etc/keyless"


class Unusable(Exception):
    """The workspace can't be used; the message says what to do."""


@dataclass(frozen=True)
class Places:
    """One kernel's folders.

    Attributes:
        sockets: on the host.
        sockets_inside: as the kernel sees it.
        private: for HOME and TMPDIR at the landlock levels, else empty.
        scratch: for the sidecar.
        certificates: on the host; what is written there later, the kernel sees read-only.
        workspace: on the host.
        apart: folder outside of the runtime folder that holds the others; empty for none.
    """

    sockets: str
    sockets_inside: str
    private: str
    scratch: str
    certificates: str
    workspace: str
    apart: str

    def remove(self) -> None:
        """Remove what lies apart; the rest goes with the runtime folder."""
        if self.apart:
            remove_tree(self.apart)


def prepare(
    confiner: Confiner, runtime: Path, workspace: str, *, ephemeral: bool, apart: str = ""
) -> Places:
    """Make the folders anew, but for a workspace that exists.

    Args:
        confiner: the level in force.
        runtime: the kernel's runtime folder.
        workspace: its host path.
        ephemeral: whether it belongs to this kernel, and may be moved.
        apart: the folder of an earlier start.

    Raises:
        Unusable: the kernel's user can't write in the workspace.
        OSError: a folder can't be made.
    """
    runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    runtime.chmod(0o700)
    if confiner.own_folders or confiner.uid == os.geteuid():
        return _fill(confiner, runtime, runtime, workspace)
    base = Path(apart or tempfile.mkdtemp(prefix="keyless-"))
    try:
        base.chmod(0o711)  # the sandbox's user passes through it, nobody lists it
        return _fill(confiner, runtime, base, str(base / "workspace") if ephemeral else workspace)
    except BaseException:
        if not apart:
            remove_tree(base)
        raise


def _fill(confiner: Confiner, runtime: Path, base: Path, workspace: str) -> Places:
    if (runtime / "s").is_symlink():
        (runtime / "s").unlink()
    for name in ("s", "private", "scratch", "certificates"):
        remove_tree(base / name)
    (base / "s").mkdir(mode=0o700)
    os.chown(base / "s", confiner.uid, confiner.gid)
    passing = 0o700 if base == runtime else 0o711
    for name in ("private", "scratch"):
        (base / name).mkdir(mode=0o700)
        (base / name).chmod(passing)
    (base / "certificates").mkdir()
    (base / "certificates").chmod(0o755)
    if base != runtime:
        (runtime / "s").symlink_to(base / "s")
    _make_workspace(Path(workspace), confiner)
    return Places(
        sockets=str(base / "s"),
        sockets_inside=SOCKETS if confiner.own_folders else str(base / "s"),
        private="" if confiner.own_folders else str(base / "private"),
        scratch=str(base / "scratch"),
        certificates=str(base / "certificates"),
        workspace=workspace,
        apart="" if base == runtime else str(base),
    )


def environment(confiner: Confiner, places: Places) -> dict[str, str]:
    """Variables of the kernel that depend on where its folders are."""
    variables = {
        "HOME": confiner.home_path(HOME, places.private),
        "USER": "keyless",
        "LOGNAME": "keyless",
        "KEYLESS_WORKSPACE": confiner.workspace_path(places.workspace),
    }
    if not confiner.own_folders:
        variables["TMPDIR"] = confiner.temporary_path(places.private)
    return variables


def _make_workspace(workspace: Path, confiner: Confiner) -> None:
    if not workspace.exists():
        workspace.mkdir(mode=0o700, parents=True)
        os.chown(workspace, confiner.uid, confiner.gid)
    status = workspace.stat()
    writable = status.st_mode & 0o002 or (status.st_uid == confiner.uid and status.st_mode & 0o200)
    if not writable:
        raise Unusable(
            f"the workspace {workspace} belongs to user {status.st_uid}, but kernels run as "
            f"user {confiner.uid}; run: chown -R {confiner.uid}:{confiner.gid} {workspace}"
        )
    if confiner.own_folders or confiner.uid == os.geteuid():
        return
    for parent in workspace.resolve().parents:
        if not _may_enter(parent, confiner.uid, confiner.gid):
            raise Unusable(
                f"the workspace lies below {parent}, which the kernels' user {confiner.uid} can't "
                f"enter; c.Confinement.workspace may name a folder elsewhere, or run: "
                f"chmod o+x {parent}"
            )


def _may_enter(folder: Path, uid: int, gid: int) -> bool:
    with contextlib.suppress(OSError):
        status = folder.stat()
        if status.st_uid == uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)
    return False


__all__ = ["CERTIFICATES", "HOME", "SOCKETS", "Places", "Unusable", "environment", "prepare"]
