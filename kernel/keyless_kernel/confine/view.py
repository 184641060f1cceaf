"""Which host paths a sandbox sees: system libraries, the interpreter, and little of /etc."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from keyless_kernel.confine.errors import ConfinementUnavailable
from keyless_kernel.confine.sandbox import Bind

#: Top-level folders that are either part of /usr (a link) or folders of their own.
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")

#: What programs need from /etc, none of it private.
_ETC = (
    "alternatives",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "os-release",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
)

#: What makes a folder a virtual environment.
VENV_CONFIG = "pyvenv.cfg"

#: Folders below the binds that may hold configuration of the trusted side.
_MASKED = ("/usr/local/etc", "/usr/etc")


def system_arguments() -> list[str]:
    """bubblewrap arguments for the read-only system view (sorted, parents first)."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM:
        path = Path("/") / name
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    arguments += ["--perms", "0755", "--dir", "/etc", "--perms", "0755", "--dir", "/etc/ssl"]
    for name in _ETC:
        path = Path("/etc") / name
        if path.exists():
            arguments += ["--ro-bind", str(path.resolve()), str(path)]
    for masked in _MASKED:
        if Path(masked).is_dir() and not Path(masked).is_symlink():
            arguments += ["--perms", "0755", "--tmpfs", masked]
    return arguments


def system_folders() -> list[str]:
    """The same view as single folders, without the masked ones (for rules instead of mounts)."""
    folders: list[str] = []
    for name in ("usr", *_SYSTEM):
        path = Path("/") / name
        if path.is_dir() and not path.is_symlink():
            folders += _without_masked(path)
    return folders


def _without_masked(folder: Path) -> list[str]:
    masked = [Path(path) for path in _MASKED]
    if folder in masked:
        return []
    if not any(folder in path.parents for path in masked):
        return [str(folder)]
    return [name for path in sorted(folder.iterdir()) for name in _without_masked(path)]


def etc_paths(further: tuple[str, ...] = ()) -> list[str]:
    """What programs need from /etc, resolved."""
    paths = (Path("/etc") / name for name in (*_ETC, *further))
    return [str(path.resolve()) for path in paths if path.exists()]


def mask_arguments(bind: Bind) -> list[str]:
    """Hide the Jupyter configuration that an environment may hold in its ``etc`` folder."""
    if not bind.writable and (Path(bind.source) / "etc" / "jupyter").is_dir():
        return ["--perms", "0755", "--tmpfs", f"{bind.target}/etc"]
    return []


def etc_files(uid: int, gid: int, home: str) -> tuple[tuple[str, bytes], ...]:
    """Synthetic /etc files: one user, no name service."""
    user = f"keyless:x:{uid}:{gid}:Keyless:{home}:/bin/sh\n"
    nobody = "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    return (
        ("/etc/passwd", f"root:x:0:0:root:/:/usr/sbin/nologin\n{user}{nobody}".encode()),
        ("/etc/group", f"root:x:0:\nkeyless:x:{gid}:\nnogroup:x:65534:\n".encode()),
        ("/etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n"),
        ("/etc/hosts", b"127.0.0.1 localhost keyless\n::1 localhost\n"),
        ("/etc/machine-id", b""),
    )


def interpreter_binds(
    executable: str = sys.executable, packages: tuple[str, ...] = ()
) -> tuple[Bind, ...]:
    """What a Python interpreter needs, read-only: its environment and its base installation.

    Args:
        executable: the interpreter; its ``pyvenv.cfg`` tells the base.
        packages: import names whose folders are added where they lie elsewhere (an editable
            install).

    Raises:
        ConfinementUnavailable: the interpreter lies where a bind would show far too much.
    """
    roots: list[Path] = []
    binary = Path(executable)
    prefix = binary.parent.parent
    if (prefix / VENV_CONFIG).is_file():
        roots.append(prefix)
        if home := venv_home(prefix):
            roots.append(home.resolve().parent)
    roots.append(binary.resolve().parent.parent)
    for package in packages:
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            roots.append(Path(location))
    binds: list[Bind] = []
    for root in roots:
        path = str(root)
        if path == "/usr" or path.startswith("/usr/"):
            continue
        if len(root.parts) < 3:
            raise ConfinementUnavailable(
                f"the Python interpreter lies in {path}, which can't be shown to the sandbox as a "
                "whole; use one in a virtual environment or below /usr"
            )
        if not any(path == bind.source or path.startswith(bind.source + "/") for bind in binds):
            binds.append(Bind(path, path))
    return tuple(binds)


def venv_home(prefix: Path) -> Path | None:
    """The base interpreter's folder that a virtual environment names; None where it is none."""
    config = prefix / VENV_CONFIG
    if config.is_file():
        for line in config.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "home" and value.strip():
                return Path(value.strip())
    return None


def parents(paths: list[str], covered: list[str]) -> list[str]:
    """Folders that must be made, parents first, for ``paths`` to be mounted.

    Those below a path in ``covered`` exist already.  bubblewrap would make them 0700.
    """
    needed: set[str] = set()
    for path in paths:
        for parent in Path(path).parents:
            name = str(parent)
            if name == "/" or any(name == top or name.startswith(top + "/") for top in covered):
                break
            needed.add(name)
    return sorted(needed)


def refuse_exposure(binds: tuple[Bind, ...], private: list[str]) -> None:
    """Make sure that no bind shows a private folder (vault, audit, runtime, config).

    Raises:
        ConfinementUnavailable: one of ``private`` lies in, or is, a folder that would be shown.
    """
    for bind in binds:
        source = Path(bind.source).resolve()
        for name in private:
            path = Path(name).resolve()
            if path == source or source in path.parents:
                raise ConfinementUnavailable(
                    f"{path} lies inside {source}, which the sandbox would see; move it elsewhere "
                    "(JUPYTER_DATA_DIR, JUPYTER_RUNTIME_DIR, JUPYTER_CONFIG_DIR)"
                )
