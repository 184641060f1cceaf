"""Where a person answers questions: the page that ``jupyter keyless page`` serves, if it runs.

That process leaves its address, never its token, in ``<jupyter runtime dir>/keyless-page.json``.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

__all__ = ["COMMAND", "page_address"]

#: What a person types to get the page.
COMMAND = "jupyter keyless page"
_FILE = "keyless-page.json"
_MOST = 4096
_ADDRESS = re.compile(r"http://127\.0\.0\.1:[1-9][0-9]{0,4}/")


def page_address(runtime_dir: str | os.PathLike[str]) -> str:
    """The page's address without its token; empty where none is served.

    Args:
        runtime_dir: Jupyter's runtime folder.
    """
    try:
        with (Path(runtime_dir) / _FILE).open("rb") as file:
            said = json.loads(file.read(_MOST))
        address, pid = said["url"], said["pid"]
        os.kill(pid, 0)  # one that was killed leaves its file behind
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return ""
    # Only what has no room for a token, or for another host.
    return address if isinstance(address, str) and _ADDRESS.fullmatch(address) else ""
