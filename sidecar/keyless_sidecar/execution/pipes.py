"""Descriptors in the event loop: wait for one, read a piece from one, wait for a process's end.

Nothing is read ahead: a caller that doesn't ask leaves the bytes in the pipe, and the writer
behind it waits.  Used by :mod:`keyless_sidecar.execution.child` and ``runner``.
"""

from __future__ import annotations

import asyncio
import os
import subprocess


async def readable(descriptor: int) -> None:
    """Return when ``descriptor`` has something to read, or has ended."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(descriptor, wake)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


async def read_piece(descriptor: int, size: int) -> bytes:
    """Up to ``size`` bytes from a non-blocking descriptor; empty at its end."""
    while True:
        try:
            return os.read(descriptor, size)
        except BlockingIOError:
            await readable(descriptor)


async def ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process and reap it; its exit status."""
    status = process.poll()
    if status is not None:
        return status
    pidfd = os.pidfd_open(process.pid)
    try:
        await readable(pidfd)
    finally:
        os.close(pidfd)
    return process.wait()


class Pipe:
    """One pipe out of a child: the read end is ours and non-blocking, the write end the child's."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)

    def close_write(self) -> None:
        """Drop our copy of the child's end, so that the pipe can end."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def close(self) -> None:
        """Drop both ends."""
        self.close_write()
        if self.read_end >= 0:
            os.close(self.read_end)
            self.read_end = -1
