"""Removing folders that hostile code has filled."""

from __future__ import annotations

import subprocess
from pathlib import Path


def remove_tree(folder: str | Path) -> None:
    """Remove a folder with all that is in it; not an error where it isn't there.

    ``rm`` takes any depth (:func:`shutil.rmtree` ends with a ``RecursionError``) and follows no
    link.  What stays is what this process may not remove.
    """
    if not Path(folder).exists():
        return
    remove = ["/bin/rm", "-rf", "--", str(folder)]
    if subprocess.run(remove, env={}, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        # As an ordinary user: cells, tools and overlayfs leave folders without permission bits.
        loosen = ["/bin/chmod", "-R", "u+rwx", "--", str(folder)]
        subprocess.run(loosen, env={}, stderr=subprocess.DEVNULL, check=False)
        subprocess.run(remove, env={}, stderr=subprocess.DEVNULL, check=False)


__all__ = ["remove_tree"]
