"""What a tool wrote: from its private overlay into the workspace, searched for secrets first.

:mod:`keyless_sidecar.execution.command` calls :func:`collect` in a thread, after everything in the
tool's sandbox is gone; so the overlay's upper folder no longer changes, while the workspace may.
Only names, contents and the executable bit of regular files get through, in new files: no times, no
extended attributes, no links, no special files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import stat
from collections.abc import Iterator
from itertools import islice

from keyless.protocol.messages import WrittenFile
from keyless_sidecar.printable import printable
from keyless_sidecar.sanitize import Patterns, sanitize_text, scan_file
from keyless_sidecar.workspace import WorkspaceError, WorkspaceRoot

MAX_DEPTH = 64
_CHUNK = 1 << 20
#: Extended attributes of overlayfs; "user." in a user namespace, "trusted." otherwise.
_OVERLAY = ("trusted.overlay.", "user.overlay.")


@dataclasses.dataclass(frozen=True)
class OutputLimits:
    """How much one command may leave.

    Args:
        entries: files, folders and deletions.
        size: bytes over all files.
    """

    entries: int = 10_000
    size: int = 4 * 1024**3


@dataclasses.dataclass
class Collected:
    """What came of it: files in place, what the user should know, secrets found by name."""

    files: list[WrittenFile] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    redactions: dict[str, int] = dataclasses.field(default_factory=dict)


def collect(
    upper: int,
    workspace: WorkspaceRoot,
    patterns: Patterns,
    limits: OutputLimits,
    *,
    uid: int,
    gid: int,
) -> Collected:
    """Apply the changes in an overlay's upper folder to the workspace.  Blocks.

    Args:
        upper: descriptor of the upper folder.
        workspace: where the changes go.
        patterns: what may not get there.
        limits: how much may get there.
        uid, gid: owner of new files.
    """
    collector = _Collector(workspace, patterns, limits, uid, gid)
    collector.folder(upper, "", 0)
    return collector.result


class _Collector:
    """The state of one collection.  Owned by one thread."""

    def __init__(
        self,
        workspace: WorkspaceRoot,
        patterns: Patterns,
        limits: OutputLimits,
        uid: int,
        gid: int,
    ) -> None:
        self.result = Collected()
        self._workspace = workspace
        self._patterns = patterns
        self._owner = (uid, gid)
        self._entries_left = limits.entries
        self._size_left = limits.size
        self._limits = limits

    def folder(self, fd: int, path: str, depth: int) -> None:
        """Apply one folder of the upper layer; ``path`` is relative, empty for the workspace."""
        with os.scandir(fd) as entries:
            names = sorted(entry.name for entry in islice(entries, self._entries_left + 1))
        for name in names:
            if self._entries_left <= 0:
                self._note(
                    f"The command wrote more than {self._limits.entries} files; the rest was "
                    "discarded."
                )
                return
            self._entries_left -= 1
            rel = f"{path}/{name}" if path else name
            try:
                self._entry(fd, name, rel, depth)
            except WorkspaceError as error:
                self._note(f"{printable(rel)} was not written: it {error.message}.")
            except OSError as error:
                self._note(f"{printable(rel)} was not written: {os.strerror(error.errno or 0)}.")

    def _entry(self, parent: int, name: str, rel: str, depth: int) -> None:
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:  # how overlayfs marks a deletion
            self._workspace.remove(rel)
            return
        if not self._name_is_clean(rel):
            return
        if stat.S_ISDIR(info.st_mode):
            self._subfolder(parent, name, rel, depth)
        elif stat.S_ISREG(info.st_mode):
            self._file(parent, name, rel)
        else:
            kind = "symbolic link" if stat.S_ISLNK(info.st_mode) else "special file"
            self._note(f"{printable(rel)} was not written: it is a {kind}, only files are kept.")

    def _name_is_clean(self, rel: str) -> bool:
        try:
            rel.encode()
        except UnicodeEncodeError:
            self._note("A file was withheld: its name is not valid UTF-8.")
            return False
        found: dict[str, int] = {}
        # A name could be spread over folders.
        for text in (rel, rel.replace("/", "")):
            found = found or sanitize_text(self._patterns, text)[1]
        if found:
            self._withheld("A file or folder", "its name holds", found)
        return not found

    def _subfolder(self, parent: int, name: str, rel: str, depth: int) -> None:
        if depth >= MAX_DEPTH:
            self._note(f"{printable(rel)} was not written: it is nested too deep.")
            return
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            marks = _marks(fd)
            if "redirect" in marks:
                self._note(f"{printable(rel)} was not written: a renamed folder can't be followed.")
                return
            if marks.get("opaque") == b"y" or not self._is_folder(rel):
                self._workspace.remove(rel)
            uid, gid = self._owner
            self._workspace.make_folder(rel, uid=uid, gid=gid)
            self.folder(fd, rel, depth + 1)
        finally:
            os.close(fd)

    def _is_folder(self, rel: str) -> bool:
        try:
            return stat.S_ISDIR(self._workspace.stat(rel).st_mode)
        except WorkspaceError:
            return False

    def _file(self, parent: int, name: str, rel: str) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with _opened(name, flags, parent) as fd:
            marks = _marks(fd)
            if "whiteout" in marks:
                self._workspace.remove(rel)
                return
            if "metacopy" in marks:  # only mode or owner changed
                return
            info = os.fstat(fd)
            if info.st_size > self._size_left:
                self._note(
                    f"{printable(rel)} was withheld: the command wrote more than "
                    f"{self._limits.size} bytes."
                )
                return
            self._size_left -= info.st_size
            found = scan_file(self._patterns, fd)
            if found:
                self._withheld(printable(rel), "it holds", found)
                return
            os.lseek(fd, 0, os.SEEK_SET)
            digest = _digest(fd)
            os.lseek(fd, 0, os.SEEK_SET)
            if self._is_folder(rel):
                self._workspace.remove(rel)
            mode = 0o755 if info.st_mode & stat.S_IXUSR else 0o644
            uid, gid = self._owner
            size = self._workspace.replace(rel, fd, uid=uid, gid=gid, mode=mode)
            self.result.files.append(WrittenFile(path=rel, size=size, sha256=digest))

    def _withheld(self, what: str, how: str, found: dict[str, int]) -> None:
        self._note(f"{what} was withheld: {how} {', '.join(sorted(found))}.")
        for name, count in found.items():
            self.result.redactions[name] = self.result.redactions.get(name, 0) + count

    def _note(self, sentence: str) -> None:
        if sentence not in self.result.notes:
            self.result.notes.append(sentence)


@contextlib.contextmanager
def _opened(name: str, flags: int, folder: int) -> Iterator[int]:
    fd = os.open(name, flags | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


def _marks(fd: int) -> dict[str, bytes]:
    """Overlay attributes by their last name."""
    found: dict[str, bytes] = {}
    try:
        names = os.listxattr(fd)
    except OSError:  # a file system without attributes has no marks
        return found
    for name in names:
        for prefix in _OVERLAY:
            if name.startswith(prefix):
                found[name.removeprefix(prefix)] = os.getxattr(fd, name)
    return found


def _digest(fd: int) -> str:
    digest = hashlib.sha256()
    while chunk := os.read(fd, _CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
