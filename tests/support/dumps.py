"""What a tool's processes hold, taken as root from outside: memory, environment, arguments, files.

The processes stand still while they are looked at.  Like :mod:`tests.support.hunt`, it shares no
code with the sidecar's sanitizer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.hunt import Hunter
from tests.support.leftovers import descendants
from tests.support.needles import Needles

_CHUNK = 16 * 1024 * 1024
_OVERLAP = 4096
#: Characters of an argument that are shown.
_WORD = 60
#: Pages of the kernel's own, which can't be read through ``/proc``.
_KERNELS = ("[vvar", "[vsyscall]")
_REGION = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+\s*(.*)")
#: Where a tool may write.
_FOLDERS = ("home", "tmp", "dev/shm", "workspace")


@dataclasses.dataclass
class Dump:
    """What was seen at one moment.

    Attributes:
        commands: programs by process.
        size: bytes of memory that were searched.
        environments: all variables of all processes; the later ones win.
        found: what is there and where, without values.
    """

    commands: dict[int, str] = dataclasses.field(default_factory=dict)
    size: int = 0
    environments: dict[str, str] = dataclasses.field(default_factory=dict)
    found: set[str] = dataclasses.field(default_factory=set)


class Dumper:
    """Dumps what runs below a sidecar.

    Args:
        pid: of the sidecar.
        scratch: its folder, where sandboxes without mounts have their folders.
        secrets: real values by name.
        keys: see :class:`Needles`.
    """

    def __init__(
        self,
        pid: int,
        scratch: Path,
        secrets: Mapping[str, str],
        keys: Mapping[str, bytes] | None = None,
    ) -> None:
        self._pid = pid
        self._scratch = scratch
        self._own = _read(pid, "cmdline")
        self._secrets = dict(secrets)
        self._keys = dict(keys or {})
        self._read: set[tuple[int, ...]] = set()
        self.learn({})

    def learn(self, secrets: Mapping[str, str]) -> None:
        """Search for these too from now on."""
        self._secrets |= secrets
        self._needles = Needles(self._secrets, self._keys)
        self._hunter = Hunter(self._secrets)

    def dump(self, *, thorough: bool = True) -> Dump:
        """Stop all processes of the tool, look at everything in them, and let them go on.

        Args:
            thorough: also look at the files that they can write, and at memory that is only a view
                of a program's file.
        """
        dump = Dump()
        with _stopped(self._pid) as stopped:
            for pid in stopped:
                command = _read(pid, "cmdline")
                # Between fork and exec a child still is the sidecar itself.
                if command in (b"", self._own):
                    continue
                words = [word[:_WORD].decode(errors="replace") for word in command.split(b"\0")]
                # A fork has its parent's command line, but may have a name of its own.
                name = _read(pid, "comm").decode(errors="replace").strip()
                dump.commands[pid] = f"{' '.join(words)} ({name})"
                environment = _read(pid, "environ")
                for word in environment.split(b"\0"):
                    name, _, value = word.decode(errors="replace").partition("=")
                    dump.environments[name] = value
                self._text(dump, command, f"arguments of {pid}")
                self._text(dump, environment, f"environment of {pid}")
                for where, data in memory(pid, writable=not thorough):
                    dump.size += len(data)
                    self._bytes(dump, data, f"{where} of {pid}")
                if thorough:
                    self._files(dump, pid)
        return dump

    def holds(self, text: str) -> bool:
        """Whether some memory of the tool has a text: that a dump sees what is there."""
        with _stopped(self._pid) as stopped:
            return any(
                text.encode() in data
                for pid in stopped
                if _read(pid, "cmdline") != self._own
                for _, data in memory(pid)
            )

    def variable(self, name: str) -> str | None:
        """A variable that a process set for itself: it is in its memory only."""
        setting = re.compile(re.escape(name.encode()) + rb"=([!-~]{8,})\0")
        with _stopped(self._pid) as stopped:
            for pid in stopped:
                if _read(pid, "cmdline") != self._own:
                    for _, data in memory(pid):
                        if found := setting.search(data):
                            return found[1].decode()
        return None

    def _text(self, dump: Dump, data: bytes, where: str) -> None:
        self._bytes(dump, data, where)
        # Exactly what the system trusts hides nothing, and is a great deal of base64.
        data = data.replace(_CERTIFICATES, b"") if _CERTIFICATES else data
        dump.found |= {f"{find}" for find in self._hunter.data(data, where)}

    def _bytes(self, dump: Dump, data: bytes, where: str) -> None:
        dump.found |= {f"{name} in {where}" for name in self._needles.search(data)}

    def _files(self, dump: Dump, pid: int) -> None:
        root = Path(f"/proc/{pid}/root/")
        with contextlib.suppress(OSError):
            if root.samefile("/"):  # not in a sandbox (yet), or in one without mounts
                folders = [self._scratch]
            else:
                folders = [root / folder for folder in _FOLDERS]
            for path in (path for folder in folders for path in _regular(folder)):
                info = path.stat()
                version = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)
                if version not in self._read:  # processes of one sandbox see the same files
                    self._read.add(version)
                    self._text(dump, path.read_bytes(), str(path))
        for link in Path(f"/proc/{pid}/fd").iterdir():
            # What has no name any more, or never had one.
            with contextlib.suppress(OSError):
                if stat.S_ISREG(link.stat().st_mode) and link.stat().st_nlink == 0:
                    self._text(dump, link.read_bytes(), f"open file of {pid}")


class Watching:
    """Dumps again and again, in a thread, from before the tool is there until it has gone."""

    def __init__(self, dumper: Dumper) -> None:
        self._dumper = dumper
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dumping")
        self.dumps = 0
        self.commands: set[str] = set()
        self.found: set[str] = set()
        #: Set when a process of the tool has been seen.
        self.seen = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        pause = 0.005
        while not self._stop.wait(pause):
            begun = time.monotonic()
            dump = self._dumper.dump(thorough=False)
            # The tool is to get on with its work, too.
            pause = max(0.005, 3 * (time.monotonic() - begun))
            if dump.commands:
                self.dumps += 1
                self.commands |= set(dump.commands.values())
                self.found |= dump.found
                self.seen.set()


def memory(pid: int, *, writable: bool = False) -> Iterator[tuple[str, bytes]]:
    """All memory that a process can read (or only what it can write), in pieces that overlap."""
    try:
        descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # it has ended
        return
    try:
        for line in _read(pid, "maps").decode(errors="replace").splitlines():
            match = _REGION.fullmatch(line)
            if match is None or match[3][0] != "r" or match[4].startswith(_KERNELS):
                continue
            if writable and match[3][1] != "w" and match[4].startswith("/"):
                continue
            start, end = int(match[1], 16), int(match[2], 16)
            while start < end:
                try:
                    data = os.pread(descriptor, min(_CHUNK, end - start), start)
                except OSError:  # beyond the end of a mapped file
                    break
                if not data:
                    break
                yield f"memory {match[4] or 'anonymous'}", data
                if start + len(data) >= end:
                    break
                start += max(len(data) - _OVERLAP, 1)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[list[int]]:
    """All processes below ``pid``, standing still: new ones are looked for until none comes."""
    with _ONE_AT_A_TIME:
        stopped: list[int] = []
        try:
            while True:
                new = [each for each in descendants(pid) if each not in stopped]
                if not new:
                    break
                for each in new:
                    stopped.append(each)
                    # Not while it is the sidecar's own image: a vfork holds the sidecar up.
                    if _read(each, "cmdline") != _read(pid, "cmdline"):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(each, signal.SIGSTOP)
            yield stopped
        finally:
            for each in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGCONT)


_ONE_AT_A_TIME = threading.Lock()
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_CERTIFICATES = _BUNDLE.read_bytes() if _BUNDLE.exists() else b""


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _regular(folder: Path) -> Iterator[Path]:
    """Plain files below a folder, without following links."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path
