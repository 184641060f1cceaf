"""Starts tool children: the sandbox, and the gate program that waits in it.

One :class:`Spawner` lives as long as the sidecar.  A child that it starts is first only the gate
(:mod:`keyless_sidecar.execution.gate`), which has handed out a listener and waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
from keyless_sidecar.execution.child import (
    GATE_TIMEOUT,
    HOME,
    MAX_SAID,
    NOT_MADE,
    PATH,
    Child,
    ChildFailed,
    Door,
    listening,
    say_hello,
)
from keyless_sidecar.execution.listener import Listener
from keyless_sidecar.execution.pipes import Pipe, ended, read_piece


@dataclasses.dataclass(frozen=True)
class Room:
    """What a child's sandbox is to be, whatever runs in it.

    Args:
        workspace: how the workspace appears.
        private: folder for HOME and TMPDIR, where sandboxes have none of their own.
        workspace_files: path and descriptor of files in it that are shown by themselves.
        binds: further read-only host paths.
        proc: whether the tool sees a /proc.
        unix_sockets: whether it may make AF_UNIX sockets.
        terminal: whether it will get a terminal.
        limits: resource limits of each process.
        cgroup: in which it is started.
    """

    workspace: WorkspaceMount
    limits: Limits
    private: str = ""
    workspace_files: tuple[tuple[str, int], ...] = ()
    binds: tuple[Bind, ...] = ()
    proc: bool = False
    unix_sockets: bool = False
    terminal: bool = False
    cgroup: tuple[str, ...] = ()

    def sandbox(self, argv: Sequence[str]) -> Sandbox:
        """The sandbox for a first program in it."""
        return Sandbox(
            argv=(*argv,),
            env={"PATH": PATH, "LANG": "C.UTF-8"},
            cwd="/",
            binds=self.binds,
            workspace=self.workspace,
            workspace_files=self.workspace_files,
            proc=self.proc,
            home=HOME,
            unix_sockets=self.unix_sockets,
            terminal=self.terminal,
            private=self.private,
            limits=self.limits,
            cgroup=self.cgroup,
        )


class Spawner:
    """Starts children.  One for each sidecar.

    Args:
        confiner: the isolation level in force.
        python: interpreter for the gate (a base installation, no virtual environment needed).
    """

    def __init__(self, confiner: Confiner, python: str | None = None) -> None:
        self.confiner = confiner
        self._python = os.path.realpath(python or sys.executable)
        self._binds = interpreter_binds(self._python)
        self._gate = Path(__file__).with_name("gate.py").read_text(encoding="utf-8")
        #: Text of what lays a second wall on a command, where its sandbox has namespaces.
        self.landlock = ""
        if confiner.own_network:
            self.landlock = Path(landlock.__file__).read_text(encoding="utf-8")
        # One thread that lives as long as the process: the kernel ends a sandbox with the thread
        # that started it, and the event loop must not wait for bubblewrap.
        self._thread = ThreadPoolExecutor(1, "keyless-spawn")

    async def start(
        self, spec: Sandbox, *, stdin: int, stdout: int, stderr: int, pass_fds: Sequence[int] = ()
    ) -> Confined:
        """Start a sandbox as it is described.

        Raises:
            ConfinementUnavailable: it could not be made.
            OSError: likewise.
        """

        def spawn() -> Confined:
            return self.confiner.spawn(
                spec, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=pass_fds
            )

        starting = asyncio.get_running_loop().run_in_executor(self._thread, spawn)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread can't be stopped; what it starts must not outlive this call.
            with contextlib.suppress(ConfinementUnavailable, OSError):
                (await starting).close()
            raise

    async def spawn(self, room: Room) -> Child:
        """Start a sandbox with the gate in it; returns when the gate waits for a command.

        Raises:
            ChildFailed: bubblewrap could not make the sandbox, or the gate didn't come up.
            TimeoutError: it took too long.
        """
        with contextlib.ExitStack() as undo:
            ours, theirs = socket.socketpair()
            out, err = Pipe(), Pipe()
            for each in (ours, theirs, out, err):
                undo.callback(each.close)
            ours.setblocking(False)
            listener = None if self.confiner.own_network else Listener()
            if listener:
                undo.callback(listener.close)
            gate = ("-I", "-S", "-B", "-c", self._gate, str(theirs.fileno()), self.landlock)
            spec = dataclasses.replace(
                room.sandbox((self._python, *gate)),
                binds=(*self._binds, *room.binds),
                gate_port=listener.port if listener else 0,
                gate_token=listener.token if listener else b"",
            )
            said = ""
            try:
                confined = await self.start(
                    spec,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=err.write_end,
                    pass_fds=(theirs.fileno(),),
                )
                undo.callback(confined.close)
                theirs.close()
                door = await asyncio.wait_for(_door(ours, listener), GATE_TIMEOUT)
            except TimeoutError:
                raise
            except (ConfinementUnavailable, OSError) as error:
                door, said = None, f"{type(error).__name__}: {error} "
            if door is None:
                said += await last_words(err)
                raise ChildFailed(NOT_MADE, detail=said.strip())
            undo.pop_all()
            return Child(confined, door, out, err, ended(confined.process))

    def close(self) -> None:
        """Let the thread end; sandboxes that still run end with it."""
        self._thread.shutdown(wait=False)


async def last_words(err: Pipe) -> str:
    """What was said on a pipe that nobody writes to any more, or soon won't."""
    err.close_write()
    try:
        said = await asyncio.wait_for(read_piece(err.read_end, MAX_SAID), 1.0)
    except TimeoutError:
        return ""
    return said.decode(errors="replace").strip()


async def _door(channel: socket.socket, listener: Listener | None) -> Door | None:
    """What the gate hands out, or the sidecar for it; ``None`` where it didn't come up."""
    message, sockets, _ = await say_hello(channel)
    port = message.get("port")
    if listener is not None and port == 0 and not sockets:
        taken = listener.take()
        taken.setblocking(False)
        return Door(channel, taken, listener.port, listener.token)
    found = listening(sockets)
    if found is None or not isinstance(port, int):
        return None
    return Door(channel, found, port)
