"""Files of the workspace, as the host reads and writes them.

On this machine beneath the workspace's own descriptor, following no link: a cell may have put
anything there.  On another machine through the kernel, in pieces.
"""

from __future__ import annotations

import asyncio
import base64
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from keyless.host.errors import SandboxFileError
from keyless_kernel.confine import WORKSPACE
from keyless_kernel.confine.beneath import WorkspaceError
from keyless_kernel.confine.workspace import WorkspaceRoot

__all__ = ["CellFiles", "Files", "ListedFile", "LocalFiles", "save"]

#: Bytes of a file that go through a kernel at once.
_PIECE = 2 * 1024 * 1024
_ANY_SIZE = 2**62


@dataclass(frozen=True)
class ListedFile:
    """One entry of a folder; ``size`` is in bytes."""

    name: str
    kind: Literal["file", "folder", "link", "other"]
    size: int


class Files(Protocol):
    """The workspace's files.  Every method raises :class:`SandboxFileError`."""

    async def write(self, path: str, content: bytes | Path) -> None:
        """Put a whole file into place, or nothing; folders on the way are made."""

    async def read(self, path: str, max_size: int) -> bytes:
        """A whole file of at most so many bytes."""

    def pieces(self, path: str) -> AsyncIterator[tuple[bytes, int]]:
        """A file of any size: its pieces, each with the size of the whole."""

    async def listing(self, path: str) -> list[ListedFile]:
        """A folder, by name."""


async def save(
    pieces: AsyncIterator[tuple[bytes, int]],
    target: Path,
    progress: Callable[[int, int], object] | None,
) -> int:
    """Write pieces into a file of the host's: all of them, or none where it doesn't come to that.

    Args:
        pieces: as of :meth:`Files.pieces`.
        target: replaced in one step.
        progress: called with the bytes so far and the bytes in all.

    Returns:
        The number of bytes.
    """
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    done = 0
    try:
        with open(descriptor, "wb") as file:
            async for data, size in pieces:
                await asyncio.to_thread(file.write, data)
                done += len(data)
                if progress is not None:
                    progress(done, max(done, size))
        os.replace(name, target)  # noqa: PTH105
    except BaseException:
        os.unlink(name)  # noqa: PTH108
        raise
    return done


class LocalFiles:
    """The workspace on this machine.

    Args:
        folder: host path.
        level: of isolation; it tells where cells see the workspace.
    """

    def __init__(self, folder: Path, level: str) -> None:
        inside = WORKSPACE if level.startswith("namespaces") else os.path.realpath(folder)
        try:
            self._root = WorkspaceRoot(folder, inside)
        except WorkspaceError as error:
            raise SandboxFileError(f"the workspace {error.message}") from error

    def close(self) -> None:
        """Give the descriptor back."""
        self._root.close()

    async def write(self, path: str, content: bytes | Path) -> None:
        """As :meth:`Files.write`."""
        await self._do(path, lambda rel: self._write(rel, content))

    async def read(self, path: str, max_size: int) -> bytes:
        """As :meth:`Files.read`."""
        return bytes(await self._do(path, lambda rel: self._read(rel, max_size)))

    async def pieces(self, path: str) -> AsyncIterator[tuple[bytes, int]]:
        """As :meth:`Files.pieces`."""
        descriptor: int = await self._do(
            path, lambda rel: self._root.open_read(rel, max_size=_ANY_SIZE)
        )
        with open(descriptor, "rb", buffering=0) as file:
            while data := await asyncio.to_thread(file.read, _PIECE):
                yield data, os.fstat(descriptor).st_size

    async def listing(self, path: str) -> list[ListedFile]:
        """As :meth:`Files.listing`."""
        found: list[ListedFile] = await self._do(path or ".", self._list)
        return found

    async def _do(self, path: str, act: Callable[[str], Any]) -> Any:
        def there() -> Any:
            return act(self._root.relative(path))

        try:
            return await asyncio.to_thread(there)
        except WorkspaceError as error:
            raise SandboxFileError(f"{path!r} {error.message}") from error
        except OSError as error:
            raise SandboxFileError(f"{path!r}: {error.strerror}") from error

    def _write(self, rel: str, content: bytes | Path) -> None:
        owner = self._root.stat("")
        self._root.check_output(rel)
        parent = rel.rpartition("/")[0]
        self._root.make_folder(parent, uid=owner.st_uid, gid=owner.st_gid)
        source = content if isinstance(content, bytes) else os.open(content, os.O_RDONLY)
        try:
            self._root.replace(rel, source, uid=owner.st_uid, gid=owner.st_gid, mode=0o644)
        finally:
            if isinstance(source, int):
                os.close(source)

    def _read(self, rel: str, max_size: int) -> bytes:
        with open(self._root.open_read(rel, max_size=max_size), "rb") as file:
            data = file.read(max_size + 1)  # it may have grown
        if len(data) > max_size:
            raise WorkspaceError("too-large", f"is larger than {max_size} bytes")
        return data

    def _list(self, rel: str) -> list[ListedFile]:
        folder = self._root.folder(rel)
        try:
            with os.scandir(folder) as entries:
                found = [_listed(e.name, e.stat(follow_symlinks=False)) for e in entries]
        finally:
            os.close(folder)
        return sorted(found, key=lambda entry: entry.name)


class CellFiles:
    """The workspace of a kernel elsewhere.

    Args:
        ask: does an operation of :mod:`keyless.magics.host_cells` in the kernel.
    """

    def __init__(self, ask: Callable[..., Awaitable[Any]]) -> None:
        self._ask = ask

    async def write(self, path: str, content: bytes | Path) -> None:
        """As :meth:`Files.write`."""
        if isinstance(content, Path):
            content = await asyncio.to_thread(content.read_bytes)
        token = str(await self._ask("token"))
        try:
            for offset in range(0, max(len(content), 1), _PIECE):
                piece = content[offset : offset + _PIECE]
                await self._ask(
                    "write",
                    path=path,
                    data=base64.b64encode(piece).decode(),
                    token=token,
                    offset=offset,
                    last=offset + _PIECE >= len(content),
                )
        except asyncio.CancelledError:
            await self._ask("discard", path=path, token=token)
            raise

    async def read(self, path: str, max_size: int) -> bytes:
        """As :meth:`Files.read`."""
        data = b""
        while True:
            piece = await self._ask("read", path=path, offset=len(data), size=_PIECE)
            got = base64.b64decode(piece["data"])
            data += got
            if len(data) > max_size or piece["size"] > max_size:
                raise SandboxFileError(f"{path!r} is larger than {max_size} bytes")
            if len(got) < _PIECE:
                return data

    async def pieces(self, path: str) -> AsyncIterator[tuple[bytes, int]]:
        """As :meth:`Files.pieces`."""
        offset = 0
        while True:
            piece = await self._ask("read", path=path, offset=offset, size=_PIECE)
            got = base64.b64decode(piece["data"])
            if got:
                yield got, piece["size"]
            offset += len(got)
            if len(got) < _PIECE:
                return

    async def listing(self, path: str) -> list[ListedFile]:
        """As :meth:`Files.listing`."""
        return msgspec.convert(await self._ask("list", path=path or "."), list[ListedFile])


def _listed(name: str, info: os.stat_result) -> ListedFile:
    kinds: tuple[tuple[Callable[[int], bool], Literal["file", "folder", "link"]], ...] = (
        (stat.S_ISREG, "file"),
        (stat.S_ISDIR, "folder"),
        (stat.S_ISLNK, "link"),
    )
    kind = next((name for test, name in kinds if test(info.st_mode)), "other")
    return ListedFile(name, kind, info.st_size)  # type: ignore[arg-type]
