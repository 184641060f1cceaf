"""One sandbox for one command, with what belongs to it: folders, limits, files that are held.

:mod:`keyless_sidecar.execution.ready` makes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from keyless_kernel.confine import WORKSPACE, Confiner, WorkspaceMount
from keyless_kernel.confine.folders import remove_tree
from keyless_sidecar.execution.budget import Budget
from keyless_sidecar.execution.child import Child
from keyless_sidecar.execution.inputs import Fixed
from keyless_sidecar.tools import CheckedFile
from keyless_sidecar.warm import Zygote

#: How a command sees the workspace.
Mode = Literal["rw", "ro", "overlay"]


@dataclasses.dataclass
class Place:
    """A sandbox that waits for its command, with what belongs to it.

    Args:
        folder: private folder on the host.
        mount: how it sees the workspace.
        inputs: files that are held as they were checked.
        budget: its limits.
        child: what waits in it.
        zygote: that its command was forked from, if it was.
        cold_because: why it is not warm, where it might be.
        ready: whether it was made beforehand.
    """

    folder: Path
    mount: WorkspaceMount
    inputs: Fixed
    budget: Budget
    child: Child
    zygote: Zygote | None = None
    cold_because: str = ""
    ready: bool = False


def mounted(confiner: Confiner, workspace: str, folder: Path, mode: Mode) -> WorkspaceMount:
    """Make a sandbox's private folder, and say how it is to see the workspace.

    Args:
        confiner: the isolation in force.
        workspace: host path.
        folder: to be made.
        mode: how the workspace appears.

    Raises:
        OSError: the folder can't be made.
    """
    folder.mkdir(mode=0o700)
    if not confiner.own_folders:
        folder.chmod(0o711)  # the sandbox's user passes through it
    if mode != "overlay":
        return WorkspaceMount(workspace, mode)
    upper, work, layer = folder / "upper", folder / "work", folder / "inputs"
    layer.mkdir(mode=0o755)
    for each in (upper, work):
        each.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(each, confiner.uid, confiner.gid)
    # The merged root takes its mode from here.
    upper.chmod(0o755)
    return WorkspaceMount(workspace, mode, str(upper), str(work), str(layer))


def must_hold(files: Sequence[CheckedFile]) -> bool:
    """Whether a command's files are held in a layer over the workspace."""
    return any(file.use == "read" or (file.use == "folder" and file.path) for file in files)


def shows(place: Place) -> bool:
    """Whether a sandbox shows all that is held in its layer, and not what the workspace has there.

    Blocks for a moment.
    """
    inside = f"/proc/{place.child.pids[-1]}/root{WORKSPACE}"
    for folder, folders, names in os.walk(place.mount.layer):
        below = os.path.relpath(folder, place.mount.layer)
        for name in (*folders, *names):
            held = os.lstat(f"{folder}/{name}")
            try:
                shown = os.lstat(f"{inside}/{below}/{name}")
            except OSError:
                return False
            if name in folders:
                if not stat.S_ISDIR(shown.st_mode):
                    return False
            elif (shown.st_ino, shown.st_size, shown.st_mtime_ns) != (
                held.st_ino,
                held.st_size,
                held.st_mtime_ns,
            ):
                return False
    return True


async def free(budget: Budget | None, folder: Path) -> None:
    """Remove what is left of a sandbox."""
    with contextlib.suppress(asyncio.CancelledError):
        if budget is not None:
            await asyncio.to_thread(budget.close)
        await asyncio.to_thread(remove_tree, folder)
