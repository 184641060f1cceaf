"""Whether the files that a process has loaded are still what they were."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

#: Files that are looked at, at most.
_MOST = 20_000

_Mark = tuple[int, int, int]


class Packages:
    """The loaded files, and the folders that they lie in.  Blocks for milliseconds when made.

    An installer replaces files, which changes their folders; :meth:`changed` looks at these.  Who
    edits a file in its place is found out by :meth:`look`, which takes longer.

    Args:
        files: as the process names them; only those below ``places`` or ``/usr`` count.
        places: absolute paths: of programs, and of what its sandbox shows.
    """

    def __init__(self, files: Iterable[str], places: Sequence[str]) -> None:
        roots = ("/usr/", *(f"{place}/" for place in places))
        chosen = [each for each in files if isinstance(each, str) and each.startswith(roots)][
            :_MOST
        ]
        programs = [place for place in places if not os.path.isdir(place)]  # noqa: PTH112
        folders = {str(Path(each).parent) for each in chosen}
        # Where packages lie next to each other a new one leaves its mark.
        folders |= {str(Path(each).parent.parent) for each in chosen}
        self._folders = {each: _mark(each) for each in (*programs, *folders)}
        self._files = {each: _mark(each) for each in chosen}
        self._seen = False

    def changed(self) -> bool:
        """Whether anything is known to have changed; looks at programs and folders."""
        self._seen = self._seen or any(_mark(each) != was for each, was in self._folders.items())
        return self._seen

    def look(self) -> None:
        """Look at each file.  May be called in any thread."""
        if any(_mark(each) != was for each, was in self._files.items()):
            self._seen = True


def _mark(path: str) -> _Mark:
    try:
        info = os.stat(path)  # noqa: PTH116 - a thousand times
    except OSError:
        return (0, 0, 0)
    return (info.st_mtime_ns, info.st_size, info.st_ino)
