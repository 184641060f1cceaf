"""Does a few system calls for a sandbox of the landlock levels, after a look at what they name.

Landlock knows no rule for changing a file's mode or times, and its rules for connections know
ports but no addresses.  The sandbox's filter hands these calls to the wrapper process
(:mod:`keyless_kernel.confine.jail`), which is outside of the sandbox's rules, has the same user,
and answers here.  What a call names is read once and used as read: changing it meanwhile is no way
around.  Loaded by its path, without a package: standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import stat
import struct
from pathlib import Path

_RECEIVE, _SEND, _VALID, _ADD_FD = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_SETFD = 1

_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH = 0x100, 0x1000
_OPENAT2 = 437
_NO_MAGICLINKS = 0x02
_PATH_MAX = 4096
_SET_ID = stat.S_ISUID | stat.S_ISGID
#: Seconds for the gate to take a connection; it listens on this machine.
_CONNECT_TIMEOUT = 5.0

MODE_CALLS = ("chmod", "fchmod", "fchmodat", "fchmodat2")
TIME_CALLS = ("utimensat", "futimesat", "utimes", "utime")


class Clerk:
    """Answers one sandbox's notifications.

    Args:
        listener: the filter's notification descriptor.
        names: system-call number → name, of those that are handed over.
        roots: folders whose files may be changed.
        gate: TCP port on 127.0.0.1 that may be connected to (0 for none), and what is said there
            first, so that the gate knows whose connection it is.
    """

    def __init__(
        self, listener: int, names: dict[int, str], roots: list[str], gate: tuple[int, bytes]
    ) -> None:
        self.listener = listener
        self._names = names
        self._roots = [os.path.realpath(root) for root in roots]
        self._port, self._token = gate
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.syscall.restype = ctypes.c_long

    def answer(self) -> None:
        """Take one notification and answer it."""
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self.listener, _RECEIVE, buffer)
        except OSError:
            return  # the caller was killed meanwhile
        identity, pid, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer)
        code = 0
        try:
            name = self._names.get(number, "")
            if name == "connect":
                self._connect(identity, pid, arguments)
            elif name in MODE_CALLS:
                self._change_mode(identity, pid, name, arguments)
            elif name in TIME_CALLS:
                self._change_times(identity, pid, name, arguments)
            else:
                code = errno.EPERM
        except OSError as error:
            code = error.errno or errno.EPERM
        except (ValueError, OverflowError, struct.error):
            code = errno.EINVAL
        # Where the caller was killed meanwhile, nobody waits for the answer.
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.listener, _SEND, struct.pack("=Qqii", identity, 0, -code, 0))

    # ------------------------------------------------------------------ connections

    def _connect(self, identity: int, pid: int, arguments: list[int]) -> None:
        """A connection of our own to the gate takes the place of the caller's socket."""
        number, address, size = arguments[0] & 0xFFFFFFFF, arguments[1], arguments[2] & 0xFFFFFFFF
        data = self._read(identity, pid, address, min(size, 128))
        if len(data) < 8:
            raise OSError(errno.EINVAL, "address")
        (family,) = struct.unpack_from("=H", data)
        port, host = struct.unpack_from(">H4s", data, 2)
        if family != socket.AF_INET or host != b"\x7f\0\0\1" or not port or port != self._port:
            raise OSError(errno.EACCES, "destination")
        if not _link(f"/proc/{pid}/fd/{number}").startswith("socket:"):
            raise OSError(errno.ENOTSOCK, "descriptor")
        flags = 0
        with open(f"/proc/{pid}/fdinfo/{number}", "rb") as file:
            for line in file:
                if line.startswith(b"flags:"):
                    flags = int(line.split()[1], 8)
        self._check_alive(identity)
        with socket.socket() as connection:
            connection.settimeout(_CONNECT_TIMEOUT)
            connection.connect(("127.0.0.1", port))
            connection.sendall(self._token)
            connection.setblocking(not flags & os.O_NONBLOCK)
            request = struct.pack(
                "=QIIII", identity, _SETFD, connection.fileno(), number, flags & os.O_CLOEXEC
            )
            fcntl.ioctl(self.listener, _ADD_FD, request)

    # ------------------------------------------------------------------ files

    def _change_mode(self, identity: int, pid: int, name: str, arguments: list[int]) -> None:
        folder, path, mode, flags = _AT_FDCWD, arguments[0], arguments[1], 0
        if name == "fchmod":
            folder, path = _signed(arguments[0]), 0
        elif name != "chmod":
            folder, path, mode = _signed(arguments[0]), arguments[1], arguments[2]
            flags = arguments[3] & 0xFFFFFFFF if name == "fchmodat2" else 0
        opened = self._file(identity, pid, folder, path, flags)
        try:
            if stat.S_ISLNK(os.fstat(opened).st_mode):
                raise OSError(errno.EOPNOTSUPP, "link")
            Path(f"/proc/self/fd/{opened}").chmod(mode & 0o7777 & ~_SET_ID)
        finally:
            os.close(opened)

    def _change_times(self, identity: int, pid: int, name: str, arguments: list[int]) -> None:
        folder, path, times, flags = _AT_FDCWD, arguments[0], arguments[1], 0
        if name in ("utimensat", "futimesat"):
            folder, path, times = _signed(arguments[0]), arguments[1], arguments[2]
            flags = arguments[3] & 0xFFFFFFFF if name == "utimensat" else 0
        new = None
        if times:
            words = 2 if name == "utime" else 4
            values = struct.unpack(f"={words}q", self._read(identity, pid, times, 8 * words))
            if name == "utime":
                values = (values[0], 0, values[1], 0)
            elif name != "utimensat":  # microseconds
                values = (values[0], values[1] * 1000, values[2], values[3] * 1000)
            new = struct.pack("=4q", *values)
        opened = self._file(identity, pid, folder, path, flags)
        try:
            if stat.S_ISLNK(os.fstat(opened).st_mode):
                return  # a link's own times matter to nobody
            target = f"/proc/self/fd/{opened}".encode()
            if self._libc.utimensat(_AT_FDCWD, target, new, 0) != 0:
                raise OSError(ctypes.get_errno(), "utimensat")
        finally:
            os.close(opened)

    def _file(self, identity: int, pid: int, folder: int, address: int, flags: int) -> int:
        """An O_PATH descriptor of what a call names, which lies in one of the folders.

        An open descriptor alone (``address`` 0) is no proof: what can only be read can be opened.

        Raises:
            OSError: it names nothing, or something outside.
        """
        path = self._text(identity, pid, address) if address else b""
        if address and not path and not flags & _AT_EMPTY_PATH:
            raise OSError(errno.ENOENT, "path")
        if not address and folder < 0:
            raise OSError(errno.EBADF, "descriptor")
        start = "cwd" if folder == _AT_FDCWD else f"fd/{folder}"
        try:
            base = os.open(f"/proc/{pid}/{start}", os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            raise OSError(errno.EBADF, "descriptor") from None
        try:
            self._check_alive(identity)
            if path:
                how = os.O_PATH | os.O_CLOEXEC
                if flags & _AT_SYMLINK_NOFOLLOW:
                    how |= os.O_NOFOLLOW
                request = struct.pack("=QQQ", how, 0, _NO_MAGICLINKS)
                opened = int(
                    self._libc.syscall(
                        *(ctypes.c_long(_OPENAT2), base, path, request),
                        ctypes.c_size_t(len(request)),
                    )
                )
                if opened < 0:
                    raise OSError(ctypes.get_errno(), "openat2")
            else:
                opened = os.dup(base)
        finally:
            os.close(base)
        where = _link(f"/proc/self/fd/{opened}")
        # What has no name, as memory files, has no name with a slash before its first colon.
        nameless = where.startswith("/memfd:") and os.fstat(opened).st_nlink == 0
        if nameless or any(where == root or where.startswith(root + "/") for root in self._roots):
            return opened
        os.close(opened)
        raise OSError(errno.EPERM, "outside")

    # ------------------------------------------------------------------ the caller's memory

    def _read(self, identity: int, pid: int, address: int, size: int) -> bytes:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            # Only now is it sure that the pid is still the caller's.
            self._check_alive(identity)
            try:
                return os.pread(memory.fileno(), size, address)
            except (OSError, OverflowError):
                raise OSError(errno.EFAULT, "address") from None

    def _text(self, identity: int, pid: int, address: int) -> bytes:
        """A string that ends with a NUL, read page by page: the next one may not be mapped."""
        text = b""
        while len(text) < _PATH_MAX:
            start = address + len(text)
            piece = self._read(identity, pid, start, 256 - start % 256)
            if not piece:
                raise OSError(errno.EFAULT, "path")
            found = piece.find(b"\0")
            if found >= 0:
                return text + piece[:found]
            text += piece
        raise OSError(errno.ENAMETOOLONG, "path")

    def _check_alive(self, identity: int) -> None:
        fcntl.ioctl(self.listener, _VALID, struct.pack("=Q", identity))


def _link(path: str) -> str:
    """What a link says, to the letter: ``Path`` would tidy it up."""
    return os.readlink(path)  # noqa: PTH115


def _signed(number: int) -> int:
    """A descriptor argument as the kernel reads it: 32 bits with a sign."""
    return int(ctypes.c_int32(number & 0xFFFFFFFF).value)
