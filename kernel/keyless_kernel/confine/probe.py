"""Which level can be put in force here: found out by running a sandboxed ``true``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from keyless_kernel.confine import landlock, levels
from keyless_kernel.confine.base import Confiner
from keyless_kernel.confine.bubblewrap import BubblewrapConfiner, find_bwrap
from keyless_kernel.confine.config import Confinement
from keyless_kernel.confine.errors import ConfinementUnavailable
from keyless_kernel.confine.landlock_confiner import LandlockConfiner
from keyless_kernel.confine.sandbox import WORKSPACE, Bind, Sandbox, WorkspaceMount
from keyless_kernel.confine.settings import Found
from keyless_kernel.confine.view import interpreter_binds

#: First version of bubblewrap that mounts overlays.
OVERLAY_SINCE = (0, 11)

#: Run inside at the landlock levels: what must be out of reach is, or the level doesn't count.
_CHECKS = """
import os, socket
for what in ((os.listdir, "/"), (open, "/proc/1/status"), (os.kill, os.getppid(), 0)):
    try:
        what[0](*what[1:])
    except OSError:
        continue
    raise SystemExit(f"{what[0].__name__} was not refused")
try:
    socket.socket(socket.AF_INET)
except OSError:
    pass
else:
    raise SystemExit("a network socket was not refused")
"""


def probe(config: Confinement, scratch: Path | None = None) -> Confiner:
    """The confiner for the strongest level that works on this machine.

    Args:
        config: what an operator says about it.
        scratch: folder for trying the overlay, for whoever clears up after a killed probe; the
            system's one for temporary files where it is left out.

    Raises:
        ConfinementUnavailable: nothing works that is as strong as ``config.minimum``.
    """
    confiner = strongest(config)
    try_overlay(confiner, scratch)
    return confiner


def strongest(config: Confinement) -> Confiner:
    """The same, without a try whether overlays work: a kernel's own sandbox needs none.

    Raises:
        ConfinementUnavailable: nothing works that is as strong as ``config.minimum``.
    """
    root = _allowed_root(config)
    reasons: list[str] = []
    for attempt in (partial(_namespaces, config, root), partial(_landlock, config, root)):
        try:
            return attempt()
        except ConfinementUnavailable as error:
            reasons.append(str(error))
    raise ConfinementUnavailable("; ".join(reasons))


def try_overlay(confiner: Confiner, scratch: Path | None = None) -> None:
    """Find out whether overlays work, and note it in the confiner."""
    if isinstance(confiner, BubblewrapConfiner) and bwrap_version(confiner.bwrap) >= OVERLAY_SINCE:
        confiner.overlay = _overlay_works(confiner, scratch)


def as_found(config: Confinement, found: Found) -> Confiner:
    """The confiner that another trusted process of this machine has found by :func:`probe`.

    Nothing is tried out again.  What doesn't hold any more makes sandboxes fail: none is weaker
    than its level says, since each is made whole or not at all.

    Args:
        config: as that process had it.
        found: what it found.

    Raises:
        ConfinementUnavailable: the level isn't one that ``config`` allows this user.
    """
    root = _allowed_root(config)
    mine = levels.NAMESPACES_ROOT if root else levels.NAMESPACES
    if found.level == mine:
        confiner: Confiner = _bubblewrap(config, root)
        confiner.overlay = found.overlay
        return confiner
    weaker = levels.LANDLOCK_ROOT if root else levels.LANDLOCK
    if found.level != weaker:
        raise ConfinementUnavailable(f"the level {found.level!r} is none of this user's")
    return _landlocked(config, root)


def _allowed_root(config: Confinement) -> bool:
    """Whether this is root; raises where not even its strongest level would be enough."""
    if sys.platform != "linux":
        raise ConfinementUnavailable(
            f"Keyless isolates kernels by Linux namespaces or Landlock; this is {sys.platform}. "
            "Run it on Linux, or in a Linux virtual machine or container"
        )
    root = os.geteuid() == 0
    best = levels.NAMESPACES_ROOT if root else levels.NAMESPACES
    if not levels.at_least(best, config.minimum):
        raise ConfinementUnavailable(
            f"c.Confinement.minimum asks for {config.minimum!r}, but the strongest level for "
            f"{'root' if root else 'an ordinary user'} is {best!r}"
        )
    return root


def _namespaces(config: Confinement, root: bool) -> Confiner:
    confiner = _bubblewrap(config, root)
    failure = _try(confiner, None)
    if failure:
        raise ConfinementUnavailable(_explain(failure, root))
    return confiner


def _bubblewrap(config: Confinement, root: bool) -> BubblewrapConfiner:
    bwrap = find_bwrap(config.bwrap)
    level = levels.NAMESPACES_ROOT if root else levels.NAMESPACES
    uid, gid = _identity(config, root)
    confiner = BubblewrapConfiner(level=level, bwrap=bwrap, uid=uid, gid=gid, overlay=False)
    confiner.guarantees += (levels.STACKED if landlock.abi() else levels.NOT_STACKED,)
    return confiner


def _landlock(config: Confinement, root: bool) -> Confiner:
    confiner = _landlocked(config, root)
    level = confiner.level
    # The interpreter itself, since there are no mounts that would bring it within reach.
    command = (sys.executable, "-I", "-S", "-c", _CHECKS)
    failure = _try(confiner, None, command=command, binds=interpreter_binds(sys.executable))
    if failure:
        raise ConfinementUnavailable(
            f"no sandbox at the level {level!r} ({failure}); as root it takes CAP_SETUID, "
            "CAP_SETGID and CAP_SETPCAP, and an interpreter in a folder that others may enter"
            if root
            else f"no sandbox at the level {level!r} ({failure})"
        )
    return confiner


def _landlocked(config: Confinement, root: bool) -> Confiner:
    level = levels.LANDLOCK_ROOT if root else levels.LANDLOCK
    if not levels.at_least(level, config.minimum):
        raise ConfinementUnavailable(
            f"without namespaces the level would be {level!r}, which starts only where "
            f"c.Confinement.minimum = {level!r} allows it"
        )
    version = landlock.abi()
    if version < landlock.ABI_NEEDED:
        raise ConfinementUnavailable(
            f"the level {level!r} needs Landlock {landlock.ABI_NEEDED} (Linux 6.12 or newer); "
            + (f"this kernel has version {version}" if version else "this kernel has none")
        )
    uid, gid = _identity(config, root)
    return LandlockConfiner(level=level, uid=uid, gid=gid)


def _identity(config: Confinement, root: bool) -> tuple[int, int]:
    """Host user and group id of sandboxed processes."""
    return (config.sandbox_uid, config.sandbox_uid) if root else (os.geteuid(), os.getegid())


def bwrap_version(bwrap: str) -> tuple[int, ...]:
    """Version of a bubblewrap program, ``(0,)`` where it doesn't say."""
    answer = subprocess.run([bwrap, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"(\d+)\.(\d+)", answer.stdout)
    return tuple(int(part) for part in found.groups()) if found else (0,)


def _overlay_works(confiner: Confiner, scratch: Path | None) -> bool:
    with tempfile.TemporaryDirectory(prefix="keyless-probe-", dir=scratch) as name:
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
    binds: tuple[Bind, ...] = (),
) -> str:
    """Run ``command`` in a full sandbox; empty when it worked, else what was said."""
    spec = Sandbox(
        argv=command,
        env={"PATH": "/usr/bin:/bin"},
        cwd=WORKSPACE if confiner.own_folders else "/",
        binds=binds,
        workspace=workspace,
    )
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
