"""One tool child: its sandbox, the gate program that starts in it, and its end.

:class:`Spawner` lives as long as the sidecar; it makes one :class:`Child` for each command, for
:mod:`keyless_sidecar.execution.runner`.  A child is first only the gate
(:mod:`keyless_sidecar.execution.gate`), which has handed out a listener and waits;
:meth:`Child.execute` makes it the tool.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

from keyless_kernel.confine import (
    Bind,
    Confined,
    ConfinementUnavailable,
    Confiner,
    Limits,
    Sandbox,
    WorkspaceMount,
    interpreter_binds,
    landlock,
)
from keyless_sidecar.execution.pipes import Pipe, ended, read_piece, readable
from keyless_sidecar.execution.terminal import Terminal

#: Seconds for the sandbox and the gate in it to come up, and for the tool to take over.
GATE_TIMEOUT = 30.0
HOME = "/home/tool"
PATH = "/usr/bin:/bin"
_MAX_SAID = 2000


class ChildFailed(Exception):
    """The child didn't come up.

    Args:
        message: one sentence, without host paths.
        detail: what bubblewrap or the gate said, for the audit only.
        request: the request itself is at fault (too long for the system, say).
    """

    def __init__(self, message: str, *, detail: str = "", request: bool = False) -> None:
        super().__init__(message)
        self.detail = detail
        self.request = request


class Listener:
    """The sidecar's own listener for one child, where sandboxes share the machine's loopback.

    Every program of the machine can reach it, so each connection must begin with the token.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._socket.getsockname()[1]
        self.token = secrets.token_bytes(32)

    def take(self) -> socket.socket:
        """The listening socket, which is the caller's from now on."""
        if self._socket is None:
            raise ValueError("the listener was taken already")
        taken, self._socket = self._socket, None
        return taken

    def close(self) -> None:
        """Close it, unless it was taken."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Child:
    """A running sandbox.  Owned by the event loop's thread; :meth:`close` must be called."""

    def __init__(
        self,
        confined: Confined,
        channel: socket.socket,
        out: Pipe,
        err: Pipe,
        listener: Listener | None,
        terminal: Terminal | None = None,
    ) -> None:
        self._confined = confined
        self._terminal = terminal
        self._listener = listener
        self._channel = channel
        self._out = out
        self._err = err
        self._exit: asyncio.Task[int] = asyncio.ensure_future(ended(confined.process))
        try:
            self._init = os.pidfd_open(confined.init_pid)
        except ProcessLookupError:  # it ended already
            self._init = -1
        #: Port of the listener on the sandbox's loopback.
        self.port = 0
        #: What each connection to the listener starts with: the tool's own are told from others'.
        self.token = b""
        #: Of the sandbox's init.
        self.init_pid = confined.init_pid

    async def take_listener(self) -> socket.socket:
        """The listening socket that the gate, or the sidecar for it, made; the caller owns it.

        Raises:
            ChildFailed: the gate didn't come up.
        """
        await readable(self._channel.fileno())
        data, descriptors, _, _ = socket.recv_fds(self._channel, 4096, 1)
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        try:
            self.port = int(json.loads(data)["port"])
            if self._listener and not sockets:
                self.port, self.token = self._listener.port, self._listener.token
                sockets.append(self._listener.take())
            (listener,) = sockets
            if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise ValueError("not a listener")
        except (ValueError, KeyError, TypeError):
            for each in sockets:
                each.close()
            raise await self._failed() from None
        listener.setblocking(False)
        return listener

    async def execute(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        files: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Let the gate become the tool; returns when it has.

        Args:
            argv: absolute program first.
            env: the tool's whole environment, secrets included.
            cwd: absolute folder inside the sandbox.
            files: path below HOME and content of what it finds there, secrets included.

        Raises:
            ChildFailed: the program can't be executed.
        """
        command = {"argv": [*argv], "env": {**env}, "cwd": cwd, "files": [*files.items()]}
        message = json.dumps(command).encode()
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # the gate is gone: the answer below says so
            await loop.sock_sendall(self._channel, struct.pack(">I", len(message)) + message)
        try:
            answer = await loop.sock_recv(self._channel, 4096)
        except OSError:
            answer = b""
        if answer:
            raise _execution_failure(answer)
        self._channel.close()

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
        self._confined.signal(signal.SIGINT)

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
            os.close(self._init)
            self._init = -1
        self._confined.close()
        self._channel.close()
        self._out.close()
        self._err.close()
        if self._listener:
            self._listener.close()

    async def _failed(self) -> ChildFailed:
        """Why the gate isn't there, with what bubblewrap said."""
        self._confined.kill()
        await self.wait()
        said = await read_piece(self._err.read_end, _MAX_SAID)
        return ChildFailed(
            "The sandbox for the tool could not be made; the audit record holds the reason.",
            detail=said.decode(errors="replace").strip(),
        )


class Spawner:
    """Starts children.  One for each sidecar.

    Args:
        confiner: the isolation level in force.
        python: interpreter for the gate (a base installation, no virtual environment needed).
    """

    def __init__(self, confiner: Confiner, python: str | None = None) -> None:
        self._confiner = confiner
        self._python = os.path.realpath(python or sys.executable)
        self._binds = interpreter_binds(self._python)
        self._gate = Path(__file__).with_name("gate.py").read_text(encoding="utf-8")
        self._landlock = ""
        if confiner.own_network:
            self._landlock = Path(landlock.__file__).read_text(encoding="utf-8")
        # One thread that lives as long as the process: the kernel ends a sandbox with the thread
        # that started it, and the event loop must not wait for bubblewrap.
        self._thread = ThreadPoolExecutor(1, "keyless-spawn")

    async def spawn(
        self,
        *,
        workspace: WorkspaceMount,
        private: str = "",
        workspace_files: Sequence[tuple[str, int]] = (),
        binds: Sequence[Bind] = (),
        stdin: int = subprocess.DEVNULL,
        proc: bool = False,
        unix_sockets: bool = False,
        terminal: Terminal | None = None,
        limits: Limits,
        cgroup: tuple[str, ...] = (),
    ) -> Child:
        """Start a sandbox with the gate in it.

        Args:
            workspace: how the workspace appears.
            private: folder for HOME and TMPDIR, where sandboxes have none of their own.
            workspace_files: path and descriptor of files in it that are shown by themselves.
            binds: further read-only host paths.
            stdin: descriptor of the tool's standard input.
            proc: whether the tool sees a /proc.
            unix_sockets: whether it may make AF_UNIX sockets.
            terminal: which it gets in place of its streams; it stays the caller's.
            limits: resource limits of each process.
            cgroup: in which it is started.

        Raises:
            ChildFailed: bubblewrap could not make the sandbox.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        out, err = Pipe(), Pipe()
        listener = None if self._confiner.own_network else Listener()
        slave = () if terminal is None else (terminal.slave,)
        argv = (
            *(self._python, "-I", "-S", "-B", "-c", self._gate, str(theirs.fileno())),
            *(self._landlock, "".join(map(str, slave))),
        )
        spec = Sandbox(
            argv=argv,
            env={"PATH": PATH, "LANG": "C.UTF-8"},
            cwd="/",
            binds=(*self._binds, *binds),
            workspace=workspace,
            workspace_files=tuple(workspace_files),
            proc=proc,
            home=HOME,
            unix_sockets=unix_sockets,
            terminal=terminal is not None,
            private=private,
            gate_port=listener.port if listener else 0,
            gate_token=listener.token if listener else b"",
            limits=limits,
            cgroup=cgroup,
        )

        def start() -> Confined:
            return self._confiner.spawn(
                spec,
                stdin=stdin,
                stdout=out.write_end,
                stderr=err.write_end,
                pass_fds=(theirs.fileno(), *slave),
            )

        starting = asyncio.get_running_loop().run_in_executor(self._thread, start)
        try:
            confined = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread can't be stopped; what it starts must not outlive this call.
            with contextlib.suppress(ConfinementUnavailable, OSError):
                (await starting).close()
            _close(ours, theirs, out, err, listener)
            raise
        except (ConfinementUnavailable, OSError) as error:
            said = b"" if isinstance(error, OSError) else await _rest(err)
            _close(ours, theirs, out, err, listener)
            raise ChildFailed(
                "The sandbox for the tool could not be made; the audit record holds the reason.",
                detail=f"{type(error).__name__}: {error} {said.decode(errors='replace')}".strip(),
            ) from None
        theirs.close()
        out.close_write()
        err.close_write()
        if terminal is not None:
            terminal.close_slave()
        return Child(confined, ours, out, err, listener, terminal)

    def close(self) -> None:
        """Let the thread end; sandboxes that still run end with it."""
        self._thread.shutdown(wait=False)


async def _rest(pipe: Pipe) -> bytes:
    pipe.close_write()
    return await read_piece(pipe.read_end, _MAX_SAID)


def _close(*things: socket.socket | Pipe | Listener | None) -> None:
    for thing in things:
        if thing is not None:
            thing.close()


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
