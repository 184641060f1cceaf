"""Puts each isolation level in force on this machine, whatever user the tests run as.

:func:`run_at` runs a program in surroundings where exactly one level is the strongest that works:

- ``namespaces-root``: as root, as it is;
- ``namespaces``: as an ordinary user, who can make user namespaces;
- ``landlock-root``: as root with the capabilities and the system-call filter of a container;
- ``landlock``: as an ordinary user under that filter, so that user namespaces fail.

``python tests/support/levels.py LEVEL PROGRAM ...`` does the same from a terminal.  The interpreter
of a development machine often lies in a private home, where an ordinary user can't reach it: a
mount namespace with nothing else of that home makes it reachable, without any change outside.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

LEVELS = ("namespaces-root", "namespaces", "landlock-root", "landlock")
#: The ordinary user made for a test: only a number, it needs no entry anywhere.
USER = 62000
CHECKOUT = Path(__file__).resolve().parents[2]

#: What Docker leaves to root in a container.
_CONTAINER_CAPABILITIES = (
    *("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"),
    *("net_bind_service", "net_raw", "sys_chroot", "mknod", "audit_write", "setfcap"),
)
_REFUSED_IN_CONTAINERS = (
    *("unshare", "setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "fsopen"),
    *("fsconfig", "fsmount", "fspick", "mount_setattr", "bpf", "perf_event_open", "keyctl"),
    *("add_key", "request_key", "io_uring_setup", "userfaultfd", "open_by_handle_at"),
)
_NEW_NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000)
_NEW_NETWORK = 0x40000000
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18


def unavailable(level: str) -> str:
    """Why a level can't be put in force by this process; empty where it can."""
    if level not in LEVELS:
        raise ValueError(f"no level {level!r}")
    if level.endswith("-root") and os.geteuid() != 0:
        return f"{level} needs root"
    return ""


def uid_at(level: str) -> int:
    """The user that :func:`run_at` runs programs as."""
    return 0 if level.endswith("-root") else (os.geteuid() or USER)


@contextmanager
def home_at(level: str) -> Iterator[Path]:
    """A private home folder for the level's user, with Jupyter's folders; removed at the end.

    Its path is short, since socket addresses are.
    """
    # Late: this file also runs as a program of its own, without a path to the others.
    from tests.support.policies import write_policy

    home = Path(tempfile.mkdtemp(prefix="kl-"))
    home.chmod(0o755)
    uid = uid_at(level)
    try:
        for name in ("config", "data", "runtime"):
            (home / name).mkdir(mode=0o700)
            os.chown(home / name, uid, uid if uid == USER else os.getegid())
        os.chown(home, uid, uid if uid == USER else os.getegid())
        # The levels without namespaces start only where the configuration names one.
        config = home / "config" / "jupyter_keyless_config.py"
        config.write_text(f"c.Confinement.minimum = {level!r}\n")
        policy = write_policy(home / "config" / "keyless" / "policy.cedar")
        for mine in (config, policy.parent, policy):
            os.chown(mine, uid, -1)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def environment_at(level: str, home: Path, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """A whole environment: nothing of this process's but ``PATH`` and coverage settings.

    Coverage only where the level's user can write its data: it fails with a traceback elsewhere.
    """
    measured = uid_at(level) == os.geteuid()
    kept = {
        k: v
        for k, v in os.environ.items()
        if k == "PATH" or (measured and k.startswith("COVERAGE_"))
    }
    user = "root" if level.endswith("-root") else "tester"
    return {
        **kept,
        "HOME": str(home),
        "USER": user,
        "LOGNAME": user,
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        **(env or {}),
    }


def command_at(level: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs ``argv`` at a level (for ``subprocess.Popen``)."""
    return [sys.executable, "-I", str(Path(__file__).resolve()), level, *argv]


def run_at(
    level: str,
    argv: Sequence[str],
    env: Mapping[str, str] | None = None,
    *,
    home: Path | None = None,
    timeout: float = 110,
    cwd: Path = CHECKOUT,
) -> subprocess.CompletedProcess[str]:
    """Run a program where ``level`` is the strongest level that works.

    Args:
        level: one of :data:`LEVELS`.
        argv: program and arguments, ``(sys.executable, "-m", "pytest", "-p",
            "no:cacheprovider", NODE)`` say.
        env: variables beyond those of :func:`environment_at`.
        home: home folder, from :func:`home_at`; default: a fresh one, removed at the end.
        timeout: seconds.
        cwd: working folder; the checkout can only be read by the ordinary user.

    Returns:
        The finished process with its output as text.
    """
    if home is None:
        with home_at(level) as fresh:
            return run_at(level, argv, env, home=fresh, timeout=timeout, cwd=cwd)
    return subprocess.run(
        command_at(level, argv),
        env=environment_at(level, home, env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


# ------------------------------------------------------------------ in the process that becomes it


def _enter(level: str, argv: Sequence[str]) -> None:
    reason = unavailable(level)
    if reason:
        raise SystemExit(reason)
    prefix: list[str] = []
    root = os.geteuid() == 0
    if root and level != "namespaces-root":
        _make_reachable([Path(sys.base_prefix), Path(sys.prefix), CHECKOUT])
    if root and not level.endswith("-root"):
        prefix = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        prefix += ["--inh-caps=-all", "--"]
    elif level == "landlock-root":
        kept = ",".join(f"+{name}" for name in _CONTAINER_CAPABILITIES)
        prefix = ["setpriv", f"--bounding-set=-all,{kept}", "--inh-caps=-all", "--"]
    if level.startswith("landlock"):
        _load_container_filter(no_new_privileges=not root)
    command = [*prefix, *argv]
    os.execvp(command[0], command)  # noqa: S606


def _make_reachable(folders: list[Path]) -> None:
    """Cover private ancestors of ``folders`` by empty ones that hold only these folders."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: str, target: Path, kind: str | None, flags: int, data: str = "") -> None:
        arguments = (source.encode(), bytes(target), kind.encode() if kind else None)
        if libc.mount(*arguments, ctypes.c_ulong(flags), data.encode()) != 0:
            raise OSError(ctypes.get_errno(), f"mount on {target}")

    if libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mount("none", Path("/"), None, _MS_REC | _MS_PRIVATE)
    opened = {folder: os.open(folder, os.O_PATH | os.O_DIRECTORY) for folder in folders}
    for folder in folders:
        for parent in reversed(folder.parents):
            if not parent.stat().st_mode & 0o001:
                mount("tmpfs", parent, "tmpfs", 0, "mode=0755,size=1m")
                for each, descriptor in opened.items():
                    if parent in each.parents:
                        each.mkdir(parents=True, exist_ok=True)
                        mount(f"/proc/self/fd/{descriptor}", each, None, _MS_BIND | _MS_REC)
    for descriptor in opened.values():
        os.close(descriptor)


def _load_container_filter(*, no_new_privileges: bool) -> None:
    """A system-call filter like Docker's default, as far as it matters here."""
    import pyseccomp as seccomp

    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    rules.set_attr(seccomp.Attr.CTL_NNP, no_new_privileges)
    for name in _REFUSED_IN_CONTAINERS:
        rules.add_rule(seccomp.ERRNO(errno.EPERM), name)
    for flag in (*_NEW_NAMESPACES, _NEW_NETWORK):
        rules.add_rule(
            seccomp.ERRNO(errno.EPERM), "clone", seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag)
        )
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    rules.load()


if __name__ == "__main__":
    _enter(sys.argv[1], sys.argv[2:])
