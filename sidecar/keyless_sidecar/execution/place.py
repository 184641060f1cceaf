"""One sandbox for one command, with what belongs to it: folders, limits, files that are held.

:mod:`keyless_sidecar.execution.ready` makes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from keyless_kernel.confine import Confiner, WorkspaceMount
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


def must_hold(files: Sequence[CheckedFile], mode: Mode) -> bool:
    """Whether something of the workspace must be held fixed before the sandbox is made."""
    if mode != "overlay":
        return any(file.sha256 for file in files)
    return any(file.use == "read" or (file.use == "folder" and file.path) for file in files)


async def free(budget: Budget | None, folder: Path) -> None:
    """Remove what is left of a sandbox."""
    with contextlib.suppress(asyncio.CancelledError):
        if budget is not None:
            await asyncio.to_thread(budget.close)
        await asyncio.to_thread(remove_tree, folder)
