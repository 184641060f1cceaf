"""One request under way, as the channel and the runner share it.  Owned by the event loop's thread.

The channel (:mod:`keyless_sidecar.channel`) puts in what the kernel side sends later: credit,
standard input, a cancel.  The runner (:mod:`keyless_sidecar.execution.runner`) waits for it.
"""

from __future__ import annotations

import asyncio
import os

from keyless.protocol.messages import OUTPUT_WINDOW, Exec

_MOST_CREDIT = 2**31


class FlowError(Exception):
    """The kernel side sent what it may not send; the connection must be closed."""


class Credit:
    """How many bytes of output the kernel side still takes."""

    def __init__(self, initial: int = OUTPUT_WINDOW) -> None:
        self._available = initial
        self._more = asyncio.Event()

    def add(self, size: int) -> None:
        """Allow ``size`` more bytes."""
        self._available = min(self._available + size, _MOST_CREDIT)
        self._more.set()

    async def take(self, size: int) -> None:
        """Wait until ``size`` bytes may be sent, and use them up."""
        while self._available < size:
            self._more.clear()
            await self._more.wait()
        self._available -= size


class StandardInput:
    """Collects what an ``Exec`` announced, in memory that becomes the child's descriptor.

    Args:
        size: bytes announced.
    """

    def __init__(self, size: int) -> None:
        self._due = size
        #: Set when all of it has arrived.
        self.complete = asyncio.Event()
        self._fd = os.memfd_create("keyless-stdin", os.MFD_CLOEXEC)
        if size == 0:
            self.complete.set()

    def feed(self, data: bytes) -> None:
        """Add a piece.

        Raises:
            FlowError: more than was announced.
        """
        if len(data) > self._due:
            raise FlowError("more standard input than announced")
        self._due -= len(data)
        if self._fd >= 0:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        if self._due == 0:
            self.complete.set()

    def open(self) -> int:
        """A read-only descriptor at the beginning; the caller closes it."""
        return os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Forget the content; further pieces are counted and dropped."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Flow:
    """One ``Exec`` under way.

    Args:
        request: as it came.
    """

    def __init__(self, request: Exec) -> None:
        self.request = request
        self.credit = Credit()
        self.cancelled = asyncio.Event()
        self.stdin = None if request.stdin_size is None else StandardInput(request.stdin_size)

    def feed_stdin(self, data: bytes) -> None:
        """Take a piece of standard input.

        Raises:
            FlowError: none was announced, or less.
        """
        if self.stdin is None:
            raise FlowError("standard input that was not announced")
        self.stdin.feed(data)

    def close(self) -> None:
        """Free what it holds."""
        if self.stdin is not None:
            self.stdin.close()
