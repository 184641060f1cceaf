"""One request under way, as the channel and the runner share it.  Owned by the event loop's thread.

The channel (:mod:`keyless_sidecar.channel`) puts in what the kernel side sends later: credit,
standard input, keys, a cancel.  The runner (:mod:`keyless_sidecar.execution.runner`) waits for it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Sequence
from typing import Protocol

from keyless.protocol.calls import Call
from keyless.protocol.messages import OUTPUT_WINDOW, Exec, Reply, Terminal
from keyless_sidecar.vault import EntryInfo

_MOST_CREDIT = 2**31
#: Bytes that may be typed ahead of a command that doesn't read.
MOST_TYPED_AHEAD = 256 * 1024
INTERRUPT = b"\x03"


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


class Keyboard:
    """What is typed on a command's terminal, until the terminal takes it.

    Args:
        terminal: its size at first.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.rows, self.columns = terminal.rows, terminal.columns
        #: Set when there is something new.
        self.changed = asyncio.Event()
        #: Bytes that were typed, and how many of them were dropped for want of room.
        self.typed = 0
        self.dropped = 0
        self._waiting = bytearray()

    def press(self, data: bytes) -> None:
        """Type.  Ctrl-C by itself overtakes what nobody has read, as on any terminal."""
        self.typed += len(data)
        if data == INTERRUPT:
            self.dropped += len(self._waiting)
            self._waiting.clear()
        taken = data[: MOST_TYPED_AHEAD - len(self._waiting)]
        self.dropped += len(data) - len(taken)
        self._waiting += taken
        self.changed.set()

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size."""
        self.rows, self.columns = rows, columns
        self.changed.set()

    def peek(self, size: int) -> bytes:
        """The next bytes, which stay; empty when all is taken."""
        return bytes(self._waiting[:size])

    def take(self, size: int) -> None:
        """Drop bytes that were passed on."""
        del self._waiting[:size]


class SendMany(Protocol):
    """Passes replies on, in one go; waits while the kernel side takes none."""

    def __call__(self, *replies: Reply) -> Awaitable[None]: ...


class Underway:
    """Any request under way, as the channel knows it."""

    #: Bytes of standard input that were announced.
    announced = 0

    def __init__(self) -> None:
        self.credit = Credit()
        self.cancelled = asyncio.Event()
        #: Whether it was cancelled by a person, over the control socket.
        self.stopped = False

    def feed_stdin(self, data: bytes) -> None:
        """Take a piece of standard input.

        Raises:
            FlowError: none was announced, or less.
        """
        raise FlowError("standard input that was not announced")

    def typing(self) -> Keyboard:
        """The keyboard of its terminal.

        Raises:
            FlowError: it asked for none.
        """
        raise FlowError("keys or a size for a terminal that was not asked for")


class Flow(Underway):
    """One ``Exec`` under way.

    Args:
        request: as it came.
        origin: ``cell``, or ``control`` where it came over the control socket.
        lent: a credential for this command alone, which stands in no list.
    """

    def __init__(
        self, request: Exec, *, origin: str = "cell", lent: Sequence[EntryInfo] = ()
    ) -> None:
        super().__init__()
        self.request = request
        self.origin = origin
        self.lent = tuple(lent)
        self.announced = request.stdin_size or 0
        self.stdin = None if request.stdin_size is None else StandardInput(request.stdin_size)
        self.keyboard = None if request.terminal is None else Keyboard(request.terminal)

    def feed_stdin(self, data: bytes) -> None:
        """See :class:`Underway`."""
        if self.stdin is None:
            super().feed_stdin(data)
        else:
            self.stdin.feed(data)

    def typing(self) -> Keyboard:
        """See :class:`Underway`."""
        return super().typing() if self.keyboard is None else self.keyboard

    def close(self) -> None:
        """Free what it holds."""
        if self.stdin is not None:
            self.stdin.close()


class CallFlow(Underway):
    """One ``Call`` under way.

    Args:
        request: as it came.
    """

    def __init__(self, request: Call) -> None:
        super().__init__()
        self.request = request
        #: The end of its answer, which goes out together with the reply.
        self.last: list[Reply] = []
