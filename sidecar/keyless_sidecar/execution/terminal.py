"""A command's terminal: a pseudo-terminal made outside of its sandbox.

:mod:`keyless_sidecar.execution.runner` makes one for a request that asks for it.  The child gets
the other end as its controlling terminal (:mod:`keyless_sidecar.execution.gate`), and only that: it
has no way to any other terminal, and its system-call filter refuses to type into this one.  What it
writes is read here and takes the way of all output, through the sanitizer.  What a person types
goes through the line discipline, so that Ctrl-C and Ctrl-D mean what they mean on any terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from keyless_sidecar.execution.pipes import read_piece
from keyless_sidecar.flow import INTERRUPT, Keyboard

#: Seconds of silence after which a command may be waiting for keys: behind the beginning of a line,
#: which looks like a prompt, and elsewhere.
QUIET_AT_PROMPT, QUIET = 0.2, 0.5
#: Seconds between two looks.
LOOK = 0.1
#: Seconds until keys are tried again that the terminal didn't take: it tells nobody when it would.
AGAIN = 0.05
_PIECE = 4096
_OUTPUT_FLAGS, _LOCAL_FLAGS = 1, 3
#: States in /proc of a process that works: it runs, or waits for a disk.
_AT_WORK = ("R", "D")

Report = Callable[[bool], Awaitable[None]]


class Terminal:
    """One pseudo-terminal.  Owned by the event loop's thread; :meth:`close` must be called.

    Args:
        keyboard: what is typed, and its size.
        report: told when the command seems to wait for keys, and whether it will echo them.

    Raises:
        OSError: none can be had here.
    """

    def __init__(self, keyboard: Keyboard, report: Report) -> None:
        self.keyboard = keyboard
        self._report = report
        #: Passes on what is held back of the command's output; called in each silence.
        self.flush: Callable[[], Awaitable[None]] | None = None
        self._master, self._slave = os.openpty()
        try:
            os.set_blocking(self._master, False)
            attributes = termios.tcgetattr(self._slave)
            attributes[_OUTPUT_FLAGS] &= ~termios.ONLCR  # lines end as in a file
            termios.tcsetattr(self._slave, termios.TCSANOW, attributes)
            self._set_size()
        except BaseException:
            self.close()
            raise
        self._reading_since: float | None = None
        self._last_key = 0.0
        self._at_line_start = True

    @property
    def slave(self) -> int:
        """The command's end, until :meth:`close_slave`."""
        return self._slave

    def close_slave(self) -> None:
        """Drop our copy of the command's end, so that the terminal ends with the command."""
        if self._slave >= 0:
            os.close(self._slave)
            self._slave = -1

    def close(self) -> None:
        """Drop both ends."""
        self.close_slave()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    async def read(self, size: int) -> bytes:
        """The next piece of what the command wrote; empty when nobody has the terminal any more."""
        self._reading_since = asyncio.get_running_loop().time()
        try:
            data = await read_piece(self._master, size)
        except OSError:  # EIO: the last one who had it is gone
            return b""
        finally:
            self._reading_since = None
        self._at_line_start = data.endswith((b"\n", b"\r"))
        return data

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Pass keys on and watch for silence, as long as the block runs."""
        tasks = [asyncio.ensure_future(each) for each in (self._type(), self._watch())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                # That the kernel side went away, the channel's reading side says.
                if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                    raise result

    async def _type(self) -> None:
        keyboard = self.keyboard
        while True:
            await keyboard.changed.wait()
            keyboard.changed.clear()
            self._set_size()
            while data := keyboard.peek(_PIECE):
                try:
                    if data.startswith(INTERRUPT):  # not behind what the command doesn't read
                        termios.tcflush(self._master, termios.TCOFLUSH)
                    keyboard.take(os.write(self._master, data))
                except BlockingIOError:  # the command doesn't read
                    await asyncio.sleep(AGAIN)
                except (OSError, termios.error):  # nobody has the terminal any more
                    return
                self._last_key = asyncio.get_running_loop().time()

    async def _watch(self) -> None:
        """Report silence once, and again when the echo changes meanwhile."""
        reported: bool | None = None
        flushed = False
        while True:
            await asyncio.sleep(LOOK)
            silence = self._silence()
            if silence < QUIET_AT_PROMPT:
                reported, flushed = None, False
                continue
            if self.flush is not None and not flushed:
                await self.flush()
            flushed = True
            if (silence < QUIET and self._at_line_start) or self._at_work():
                continue
            if (echo := self._echo()) != reported:
                await self._report(echo)
            reported = echo

    def _silence(self) -> float:
        """Seconds since anything was written or typed; 0 where what was written is on its way."""
        if self._reading_since is None:
            return 0.0
        return asyncio.get_running_loop().time() - max(self._reading_since, self._last_key)

    def _echo(self) -> bool:
        """Whether typed text is shown.  A program that edits lines itself shows it, too."""
        try:
            flags = termios.tcgetattr(self._master)[_LOCAL_FLAGS]
        except termios.error:
            return True
        return bool(flags & termios.ECHO) or not flags & termios.ICANON

    def _at_work(self) -> bool:
        """Whether the program in the foreground is seen running."""
        try:
            group = fcntl.ioctl(self._master, termios.TIOCGPGRP, bytes(4))
            (leader,) = struct.unpack("i", group)
            state = Path(f"/proc/{leader}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return False
        return state in _AT_WORK

    def _set_size(self) -> None:
        size = struct.pack("HHHH", self.keyboard.rows, self.keyboard.columns, 0, 0)
        with contextlib.suppress(OSError):  # the command is gone
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
