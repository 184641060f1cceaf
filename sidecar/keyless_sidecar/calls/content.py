"""Content on its way between workspace files and a call: read as it is sent, kept as it comes.

What is sent is read from a descriptor that was opened once, beneath the workspace.  What comes goes
into a private file without a name, so that nothing of it is left where the call is ended, and from
there, searched for secrets, into the workspace: a temporary name first, then renamed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from keyless.protocol.messages import WrittenFile
from keyless_sidecar.execution.acting import acting_as
from keyless_sidecar.printable import printable
from keyless_sidecar.sanitize import ContentSearch, Patterns
from keyless_sidecar.workspace import WorkspaceError, WorkspaceRoot

__all__ = ["Download", "Owner", "Saved", "TooMuch", "Upload", "put"]


Moved = Callable[[int], None]


class TooMuch(Exception):
    """More content than may be kept; the message is one sentence."""


class Upload:
    """A workspace file as botocore reads it.  Used by one call's threads; :meth:`close` it.

    Args:
        descriptor: ours from now on.
        name: for people.
        moved: called with the number of bytes sent so far.
    """

    def __init__(self, descriptor: int, name: str, moved: Moved = lambda _: None) -> None:
        self._descriptor = descriptor
        self._position = 0
        # The thread that reads may not be the one that closes.
        self._turn = threading.Lock()
        self.name = name
        self.size = os.fstat(descriptor).st_size
        self.moved = moved

    def __len__(self) -> int:
        return self.size

    def __bool__(self) -> bool:
        return True

    def read(self, amount: int | None = -1) -> bytes:
        """The next bytes.

        Raises:
            OSError: the file can't be read, or was closed.
        """
        wanted = self.size if amount is None or amount < 0 else amount
        with self._turn:
            if self._descriptor < 0:
                raise OSError("the file was closed")
            data = os.pread(self._descriptor, wanted, self._position)
            self._position += len(data)
            self.moved(self._position)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As files do."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """As files do."""
        return self._position

    def close(self) -> None:
        """Give the descriptor back.  Idempotent."""
        with self._turn:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)


class Download:
    """Content that is kept until it is put into the workspace.  Owned by one thread at a time.

    Args:
        scratch: private folder.
        member: of the answer.
        target: path relative to the workspace.
        most: bytes.
        patterns: what it is searched for while it comes.
    """

    def __init__(
        self, scratch: Path, member: str, target: str, most: int, patterns: Patterns
    ) -> None:
        self.member = member
        self.target = target
        self._most = most
        self._size = 0
        self._digest = hashlib.sha256()
        self._search = ContentSearch(patterns, grows=True)
        self._file = cast("BinaryIO", tempfile.TemporaryFile(dir=scratch, buffering=0))  # noqa: SIM115

    def expect(self, size: int) -> None:
        """Refuse content that is announced as too large.

        Raises:
            TooMuch: it is.
        """
        if size > self._most:
            raise TooMuch(
                f"The answer's {self.member} has {size} bytes, and a call may leave {self._most} "
                "(c.Tools.max_written)."
            )

    def write(self, data: bytes) -> None:
        """Keep the next bytes.

        Raises:
            TooMuch: more than may be kept.
            OSError: the disk is full.
        """
        self._size += len(data)
        self.expect(self._size)
        self._digest.update(data)
        self._search.feed(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def secrets(self) -> dict[str, int]:
        """The secrets in it, by label; called once, at its end."""
        return self._search.finish()

    def place(self, workspace: WorkspaceRoot, owner: Owner) -> WrittenFile:
        """Put it into the workspace.

        Raises:
            WorkspaceError: the place is no good (any more).
        """
        self._file.seek(0)
        with acting_as(owner.uid, owner.gid):
            folder = self.target.rpartition("/")[0]
            workspace.make_folder(folder, uid=owner.uid, gid=owner.gid)
            workspace.check_output(self.target)
            size = workspace.replace(
                self.target, self._file.fileno(), uid=owner.uid, gid=owner.gid, mode=0o644
            )
        return WrittenFile(path=self.target, size=size, sha256=self._digest.hexdigest())

    def close(self) -> None:
        """Forget it.  Idempotent."""
        self._file.close()


@dataclasses.dataclass(frozen=True)
class Owner:
    """Whose new files are."""

    uid: int
    gid: int


@dataclasses.dataclass
class Saved:
    """What came of the content: files in place, what the user should know, secrets found."""

    files: list[WrittenFile] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    redactions: dict[str, int] = dataclasses.field(default_factory=dict)


def put(downloads: list[Download], workspace: WorkspaceRoot, owner: Owner) -> Saved:
    """Put content that holds no secrets into the workspace.  Blocks.

    A file that holds one is withheld, and a note says so.
    """
    saved = Saved()
    for download in downloads:
        name = printable(download.target)
        found = download.secrets()
        for label, count in found.items():
            saved.redactions[label] = saved.redactions.get(label, 0) + count
        if found:
            saved.notes.append(f"{name} was withheld: it holds {', '.join(sorted(found))}.")
            continue
        try:
            saved.files.append(download.place(workspace, owner))
        except WorkspaceError as error:
            saved.notes.append(f"{name} was not written: it {error.message}.")
        except OSError as error:
            saved.notes.append(f"{name} was not written: {os.strerror(error.errno or 0)}.")
    return saved
