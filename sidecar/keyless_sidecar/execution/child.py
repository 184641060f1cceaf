"""One tool child: a sandbox that waits for its command, then runs it, and its end.

:class:`keyless_sidecar.execution.spawner.Spawner` and :func:`keyless_sidecar.warm.join` make
children.  What waits in one has handed out a listener already and knows nothing of a command:
:meth:`Child.execute` tells it all, and makes it the tool.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import json
import os
import signal
import socket
import struct
from collections.abc import Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from keyless_kernel.confine import Confined
from keyless_sidecar.execution.pipes import Pipe, read_piece, readable
from keyless_sidecar.execution.terminal import Terminal

#: Seconds for a sandbox and what waits in it to come up, and for the tool to take over.
GATE_TIMEOUT = 30.0
HOME = "/home/tool"
PATH = "/usr/bin:/bin"
#: Bytes that a sandbox may say about its failure.
MAX_SAID = 2000
NOT_MADE = "The sandbox for the tool could not be made; the audit record holds the reason."


class ChildFailed(Exception):
    """The child didn't come up.

    Args:
        message: one sentence, without host paths.
        detail: what bubblewrap or the program in the sandbox said, for the audit only.
        request: the request itself is at fault (too long for the system, say).
    """

    def __init__(self, message: str, *, detail: str = "", request: bool = False) -> None:
        super().__init__(message)
        self.detail = detail
        self.request = request


@dataclasses.dataclass(frozen=True)
class Door:
    """What the program that waits in a sandbox has handed out.

    Args:
        channel: to it; non-blocking.
        listener: the only way of the sandbox to a network.
        port: of the listener, on the sandbox's loopback.
        token: what each connection starts with, where others could connect as well.
    """

    channel: socket.socket
    listener: socket.socket
    port: int
    token: bytes = b""


@dataclasses.dataclass(frozen=True)
class Joined:
    """A command that isn't the first program of its sandbox, but entered it.

    Args:
        pid: on the host.
        descriptor: pidfd; the child takes it over.
    """

    pid: int
    descriptor: int


class Child:
    """A sandbox.  Owned by the event loop's thread; :meth:`close` must be called.

    Args:
        confined: the sandbox.
        door: taken over.
        out, err: its streams; taken over.
        exit_status: waits for the command's end.
        joined: the command, where it isn't the first program in the sandbox.
    """

    def __init__(
        self,
        confined: Confined,
        door: Door,
        out: Pipe,
        err: Pipe,
        exit_status: Coroutine[Any, Any, int],
        joined: Joined | None = None,
    ) -> None:
        self._confined = confined
        self._door = door
        self._listener: socket.socket | None = door.listener
        self._out = out
        self._err = err
        self._terminal: Terminal | None = None
        self._exit: asyncio.Task[int] = asyncio.ensure_future(exit_status)
        self._command = joined.descriptor if joined else -1
        try:
            self._init = os.pidfd_open(confined.init_pid)
        except ProcessLookupError:  # it ended already
            self._init = -1
        self.port = door.port
        self.token = door.token
        #: What it was started from: for the record.
        self.warm = joined is not None
        #: Roots of the trees of processes that belong to the command.
        self.pids = (confined.init_pid, *([joined.pid] if joined else []))

    @property
    def alive(self) -> bool:
        """Whether it still waits for its command, or runs it."""
        return not self._exit.done()

    def take_listener(self) -> socket.socket:
        """The listening socket, which is the caller's from now on."""
        if self._listener is None:
            raise ValueError("the listener was taken already")
        taken, self._listener = self._listener, None
        return taken

    async def execute(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        files: Mapping[str, str] = MappingProxyType({}),
        *,
        stdin: int | None = None,
        terminal: Terminal | None = None,
    ) -> None:
        """Let it become the tool; returns when it has.

        Args:
            argv: of the tool.
            env: the tool's whole environment, secrets included.
            cwd: absolute folder inside the sandbox.
            files: path below HOME and content of what it finds there, secrets included.
            stdin: descriptor of its standard input; ``None`` for an empty one.
            terminal: which it gets in place of its streams; it stays the caller's.

        Raises:
            ChildFailed: the program can't be executed.
        """
        self._terminal = terminal
        channel = self._door.channel
        with open(os.devnull, "rb") as empty:
            streams = {
                "stdin": empty.fileno() if stdin is None else stdin,
                "stdout": self._out.write_end,
                "stderr": self._err.write_end,
            }
            if terminal is not None:
                streams["terminal"] = terminal.slave
            command = {
                "argv": [*argv],
                "env": {**env},
                "cwd": cwd,
                "files": [*files.items()],
                "streams": [*streams],
            }
            message = json.dumps(command).encode()
            loop = asyncio.get_running_loop()
            with contextlib.suppress(OSError):  # it is gone: the answer below says so
                # The first bytes on this socket: there is room for them.
                socket.send_fds(channel, [struct.pack(">I", len(message))], [*streams.values()])
                await loop.sock_sendall(channel, message)
        self._out.close_write()
        self._err.close_write()
        if terminal is not None:
            terminal.close_slave()
        try:
            answer = await loop.sock_recv(channel, 4096)
        except OSError:
            answer = b""
        if answer:
            raise _execution_failure(answer)
        channel.close()

    async def read(self, stream: str, size: int) -> bytes:
        """The next piece of ``"stdout"`` or ``"stderr"``; empty at its end.

        With a terminal, its output is ``"stdout"``.
        """
        if stream == "stdout" and self._terminal is not None:
            return await self._terminal.read(size)
        return await read_piece((self._out if stream == "stdout" else self._err).read_end, size)

    async def wait(self) -> int:
        """The command's exit status (128 + n for signal n)."""
        return await asyncio.shield(self._exit)

    def interrupt(self) -> None:
        """Send the command a SIGINT."""
        if self._command < 0:
            self._confined.signal(signal.SIGINT)
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._command, signal.SIGINT)

    def kill(self) -> None:
        """End everything in the sandbox, now."""
        self._confined.kill()

    async def close(self) -> None:
        """End and reap what is left, and free all descriptors; nothing in it runs any more then."""
        self._confined.kill()
        await asyncio.shield(self._exit)
        if self._init >= 0:
            # It ends after all others of its pid namespace: until then one of them may still write.
            await readable(self._init)
        for descriptor in (self._init, self._command):
            if descriptor >= 0:
                os.close(descriptor)
        self._init = self._command = -1
        self._confined.close()
        self._door.channel.close()
        self._out.close()
        self._err.close()
        if self._listener is not None:
            self._listener.close()
            self._listener = None


async def say_hello(channel: socket.socket) -> tuple[dict[str, Any], list[socket.socket], int]:
    """The first message of what waits in a sandbox, its sockets, and its process id (0: unknown).

    Returns an empty message where it ended without one.
    """
    await readable(channel.fileno())
    room = socket.CMSG_SPACE(4 * 4) + socket.CMSG_SPACE(struct.calcsize("3i"))
    data, rights, _, _ = channel.recvmsg(4096, room)
    sockets: list[socket.socket] = []
    pid = 0
    for level, kind, content in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = struct.unpack(f"{len(content) // 4}i", content[: len(content) // 4 * 4])
            sockets += [socket.socket(fileno=number) for number in numbers]
        elif level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            pid = struct.unpack("3i", content)[0]
    try:
        message = json.loads(data)
    except ValueError:
        message = {}
    return (message if isinstance(message, dict) else {}), sockets, pid


def listening(sockets: Sequence[socket.socket]) -> socket.socket | None:
    """The one listener among them, non-blocking; closes them all where it isn't so."""
    if len(sockets) == 1 and sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sockets[0].setblocking(False)
        return sockets[0]
    for each in sockets:
        each.close()
    return None


def _execution_failure(answer: bytes) -> ChildFailed:
    try:
        number = int(json.loads(answer)["errno"])
    except (ValueError, KeyError, TypeError):
        number = 0
    if number == errno.E2BIG:
        return ChildFailed(
            "The arguments are too long for the system: put the value into a file and pass "
            "file://NAME.",
            request=True,
        )
    reason = os.strerror(number) if number else "no reason given"
    return ChildFailed(f"The tool's program could not be started: {reason}.", detail=reason)
