"""Files that the Jupyter server doesn't hand out or write, although they lie in its folder.

A cell can make a link in its workspace, and a script in a notebook page can ask the server to write
through it: to settings, start-up scripts or kernel specifications, which are programs in the end.
So paths are resolved: a link may not lead out of the server's folder nor to something hidden, and
Jupyter's own folders and Keyless' own code are out of reach wherever they lie.

A check of names only.  A cell that swaps a folder for a link between the check and the use gets
through, so a workspace had better not lie in the server's folder where that matters.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from jupyter_core.paths import (
    jupyter_config_path,
    jupyter_path,
    jupyter_runtime_dir,
)

__all__ = ["private_folders", "why_unreachable"]

_OURS = ("keyless", "keyless_kernel", "keyless_sidecar")


def private_folders(further: Iterable[str] = ()) -> tuple[Path, ...]:
    """Resolved paths of folders whose files are programs or secrets.

    Args:
        further: those that the configuration names.
    """
    code = [folder for name in _OURS for folder in _folders_of(name)]
    home = os.environ.get("IPYTHONDIR") or "~/.ipython"
    named = [
        *(sys.prefix, home, jupyter_runtime_dir()),
        *jupyter_config_path(),
        *jupyter_path(),
        *code,
        *further,
    ]
    return tuple({Path(folder).expanduser().resolve() for folder in named if folder})


def why_unreachable(
    path: str, root: str, private: Iterable[Path], *, links: bool = False, hidden: bool = False
) -> str:
    """Why a file may not be used; empty where it may.

    Args:
        path: absolute, below ``root`` as it is written.
        root: the server's folder.
        private: see :func:`private_folders`.
        links: whether links may lead out of the folder.
        hidden: whether links may lead to hidden files.
    """
    base, real = Path(root).resolve(), Path(path).resolve()
    for folder in private:
        if real == folder or folder in real.parents:
            return "It is one of the files that Jupyter or Keyless is made of."
    plain = base / os.path.relpath(path, os.path.abspath(root))  # noqa: PTH100 - links stay links
    if real == plain or links:
        return ""
    if not real.is_relative_to(base):
        return "It is a link that leads out of the server's folder."
    if not hidden and any(part.startswith(".") for part in real.relative_to(base).parts):
        return "It is a link that leads to a hidden file."
    return ""


def _folders_of(package: str) -> list[str]:
    spec = find_spec(package)
    return list(spec.submodule_search_locations or []) if spec else []
