"""A child whose command is a fork of a zygote that entered its sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
from pathlib import Path

from keyless_kernel.confine import ConfinementUnavailable, joining
from keyless_sidecar.execution.child import (
    GATE_TIMEOUT,
    Child,
    ChildFailed,
    Door,
    Joined,
    listening,
    say_hello,
)
from keyless_sidecar.execution.pipes import Pipe, read_piece, readable
from keyless_sidecar.execution.spawner import Room, Spawner, last_words
from keyless_sidecar.warm.process import Zygote

#: Exit status of a command that was killed.
_KILLED = 137


async def join(spawner: Spawner, zygote: Zygote, room: Room) -> Child:
    """Let bubblewrap make a sandbox, and a fork of the zygote enter it.

    It waits for its command when this returns, and was looked at from outside: it is as confined as
    a program that bubblewrap started there.

    Args:
        spawner: starts sandboxes.
        zygote: of the tool.
        room: what the sandbox is to be.

    Raises:
        ChildFailed: it didn't come up, or isn't confined.  Nothing of it is left.
    """
    try:
        return await asyncio.wait_for(_join(spawner, zygote, room), GATE_TIMEOUT)
    except (ConfinementUnavailable, OSError) as error:  # TimeoutError among them
        detail = f"{type(error).__name__}: {error}"
        raise ChildFailed("The warm tool could not enter its sandbox.", detail=detail) from None


async def _join(spawner: Spawner, zygote: Zygote, room: Room) -> Child:
    with contextlib.ExitStack() as undo:
        lifeline, theirs = socket.socketpair()
        channel, far = socket.socketpair()
        out, err = Pipe(), Pipe()
        for each in (lifeline, theirs, channel, far, out, err):
            undo.callback(each.close)
        for each in (lifeline, channel):
            each.setblocking(False)
        zygote.take()
        undo.callback(zygote.leave)
        # The pid of whoever writes comes from the system.
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        zygote.fork(far)
        far.close()
        # It stands for the command until that is there, and tells when the sandbox is ready.
        spec = zygote.below(room.sandbox(("/usr/bin/cat",)))
        try:
            confined = await spawner.start(
                spec, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=err.write_end
            )
        except ConfinementUnavailable as error:
            raise ConfinementUnavailable(f"{error} {await last_words(err)}".strip()) from None
        undo.callback(confined.close)
        theirs.close()
        lifeline.send(b"\n")
        await readable(lifeline.fileno())
        if not lifeline.recv(1):
            raise ConfinementUnavailable(f"the sandbox ended: {await last_words(err)}")
        status = Pipe()
        undo.callback(status.close)
        namespaces = joining.open_namespaces(confined.init_pid)
        try:
            socket.send_fds(channel, [b"j"], [*namespaces, status.write_end])
        finally:
            for descriptor in namespaces:
                os.close(descriptor)
        status.close_write()
        message, sockets, pid = await say_hello(channel)
        listener, port = listening(sockets), message.get("port")
        if listener is None or not isinstance(port, int) or not pid:
            raise ConfinementUnavailable(str(message.get("error", "it said nothing"))[:500])
        undo.callback(listener.close)
        command = os.pidfd_open(pid)
        undo.callback(os.close, command)
        channel.send(b"s")
        if not (await say_hello(channel))[0].get("settled"):
            raise ConfinementUnavailable("the warm tool ended while it came up")
        for file in room.cgroup:
            Path(file).write_text(str(pid))
        _require_confined(spawner, zygote, pid, confined.init_pid)
        if select.select([command], [], [], 0)[0]:  # the pid might be another's by now
            raise ConfinementUnavailable("the warm tool ended at once")
        undo.pop_all()
        door = Door(channel, listener, port)
        ended = _exit_status(status, lifeline, zygote)
        return Child(confined, door, out, err, ended, Joined(pid, command))


def _require_confined(spawner: Spawner, zygote: Zygote, pid: int, init: int) -> None:
    confiner = spawner.confiner
    model = joining.first_child(init)
    lacking = joining.shortcoming(pid, model, uid=confiner.uid, gid=confiner.gid)
    lacking = lacking or zygote.surplus(pid)
    if lacking:
        raise ConfinementUnavailable(f"the warm tool isn't confined: {lacking}")


async def _exit_status(status: Pipe, lifeline: socket.socket, zygote: Zygote) -> int:
    """What the doorman says; it says nothing where it was killed."""
    try:
        text = await read_piece(status.read_end, 16)
        return int(text) if text.isdigit() else _KILLED
    finally:
        status.close()
        lifeline.close()
        zygote.leave()
