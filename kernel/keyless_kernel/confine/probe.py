"""Which level can be put in force here: found out by running a sandboxed ``true``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from keyless_kernel.confine import levels
from keyless_kernel.confine.bubblewrap import Confiner, find_bwrap
from keyless_kernel.confine.config import Confinement
from keyless_kernel.confine.errors import ConfinementUnavailable
from keyless_kernel.confine.sandbox import Sandbox, WorkspaceMount

#: First version of bubblewrap that mounts overlays.
OVERLAY_SINCE = (0, 11)


def probe(config: Confinement) -> Confiner:
    """The confiner for the strongest level that works on this machine.

    Raises:
        ConfinementUnavailable: nothing works that is as strong as ``config.minimum``.
    """
    if sys.platform != "linux":
        raise ConfinementUnavailable(
            f"Keyless isolates kernels by Linux namespaces; this is {sys.platform}. "
            "Run it on Linux, or in a Linux virtual machine or container"
        )
    bwrap = find_bwrap(config.bwrap)
    root = os.geteuid() == 0
    level = levels.NAMESPACES_ROOT if root else levels.NAMESPACES
    if not levels.at_least(level, config.minimum):
        raise ConfinementUnavailable(
            f"c.Confinement.minimum asks for {config.minimum!r}, but the strongest level for "
            f"{'root' if root else 'an ordinary user'} is {level!r}"
        )
    uid = config.sandbox_uid if root else os.geteuid()
    gid = config.sandbox_uid if root else os.getegid()
    confiner = Confiner(level=level, bwrap=bwrap, uid=uid, gid=gid, overlay=False)
    failure = _try(confiner, None)
    if failure:
        raise ConfinementUnavailable(_explain(failure, root))
    if bwrap_version(bwrap) >= OVERLAY_SINCE:
        confiner.overlay = _overlay_works(confiner)
    return confiner


def bwrap_version(bwrap: str) -> tuple[int, ...]:
    """Version of a bubblewrap program, ``(0,)`` where it doesn't say."""
    answer = subprocess.run([bwrap, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"(\d+)\.(\d+)", answer.stdout)
    return tuple(int(part) for part in found.groups()) if found else (0,)


def _overlay_works(confiner: Confiner) -> bool:
    with tempfile.TemporaryDirectory(prefix="keyless-probe-") as name:
        folder = Path(name)
        for part in ("lower", "upper", "work"):
            (folder / part).mkdir()
            os.chown(folder / part, confiner.uid, confiner.gid)
        mount = WorkspaceMount(
            str(folder / "lower"), "overlay", str(folder / "upper"), str(folder / "work")
        )
        failure = _try(confiner, mount, command=("/usr/bin/touch", "/workspace/probe"))
        return not failure and (folder / "upper" / "probe").is_file()


def _try(
    confiner: Confiner,
    workspace: WorkspaceMount | None,
    command: tuple[str, ...] = ("/usr/bin/true",),
) -> str:
    """Run ``command`` in a full sandbox; empty when it worked, else what was said."""
    spec = Sandbox(argv=command, env={"PATH": "/usr/bin:/bin"}, workspace=workspace)
    with tempfile.TemporaryFile() as errors:
        try:
            confined = confiner.spawn(
                spec, stdin=subprocess.DEVNULL, stdout=errors.fileno(), stderr=errors.fileno()
            )
            status = confined.process.wait(timeout=20)
            confined.close()
        except (ConfinementUnavailable, subprocess.TimeoutExpired) as error:
            errors.seek(0)
            said = errors.read(2000).decode(errors="replace").strip()
            return said.splitlines()[-1] if said else str(error)
        errors.seek(0)
        said = errors.read(2000).decode(errors="replace").strip()
        return "" if status == 0 else (said or f"exit status {status}")


def _explain(said: str, root: bool) -> str:
    if root:
        return (
            f"no sandbox as root ({said}); it takes CAP_SYS_ADMIN, which containers drop. "
            "Run the server as an ordinary user with user namespaces, or the container with "
            "--cap-add SYS_ADMIN and a seccomp profile that allows mount"
        )
    return (
        f"no user namespaces ({said}); allow them by `sysctl user.max_user_namespaces=15000` "
        "(and kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0 "
        "where these exist), or run the server as root"
    )
