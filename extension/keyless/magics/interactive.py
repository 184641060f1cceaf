"""``--interactive``: the cell's input box is the keyboard of a command's terminal.

The command writes to a terminal of its own in the sidecar.  What it writes is printed as it comes;
when the sidecar says that it seems to wait for keys, the front end is asked for a line as
``input()`` asks, with the unfinished line as the prompt.  A prompt is what a tool wrote, so it
begins with the tool's name; nothing that is typed here approves anything.

All of this runs in the kernel's main thread.  Interrupts only leave a note here (see
:meth:`Dialogue.listening`), so none of them can lose an answer of the sidecar's.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

from keyless.magics.channel import Answer, Pending
from keyless.protocol.errors import InvalidRequest
from keyless.protocol.messages import MAX_KEYS, Keys, Request, Resize, Terminal, Waiting

__all__ = ["Dialogue", "front_end", "keys_for", "window"]

#: Seconds between two looks at the input box.
LOOK = 0.03
#: Seconds after which the beginning of a line is printed, though it might be a prompt.
PATIENCE = 0.6
MAX_PROMPT = 200
_SIZE_LIMIT = 500
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
#: What stands for keys that an input box can't hold.
_SIGNS = {"^C": b"\x03", "^D": b"\x04", "\x04": b"\x04"}

Say = Callable[[Callable[[int], Request]], None]
Show = Callable[[Literal["stdout", "stderr"], str], None]


class FrontEnd(Protocol):
    """The kernel, as far as it asks the front end."""

    def can_ask(self) -> bool:
        """Whether the front end takes questions."""

    def ask(self, prompt: str, password: bool) -> None:
        """Open the input box."""

    def answer(self) -> str | None:
        """What was typed since."""


def front_end() -> FrontEnd:
    """Who has the keyboard.

    Raises:
        InvalidRequest: nobody: the front end takes no questions, or this isn't the main thread.
    """
    from IPython.core.getipython import get_ipython  # late: importing keyless stays cheap

    kernel: Any = getattr(get_ipython(), "kernel", None)
    if threading.current_thread() is not threading.main_thread():
        raise InvalidRequest("--interactive works in the kernel's main thread only")
    if not hasattr(kernel, "can_ask") or not kernel.can_ask():
        raise InvalidRequest(
            "this front end can't be asked for input, so --interactive has no keyboard: run the "
            "cell in a notebook that a person sees, or give the input with --stdin NAME"
        )
    front: FrontEnd = kernel
    return front


def window() -> Terminal:
    """The terminal's size: LINES and COLUMNS in the kernel's environment, else 24 lines of 80."""
    size = shutil.get_terminal_size((80, 24))
    return Terminal(
        rows=min(max(size.lines, 1), _SIZE_LIMIT), columns=min(max(size.columns, 1), _SIZE_LIMIT)
    )


def keys_for(line: str) -> bytes:
    """The keys that a typed line stands for: itself and Enter, or what ``^C`` and ``^D`` name."""
    return _SIGNS.get(line, line.encode(errors="replace") + b"\r")


class Screen:
    """What of the command's output is printed, and when.

    A front end shows prompt and typed line by itself, as for ``input()``.  So the beginning of a
    line is held for a moment in case it becomes the prompt, and the terminal's echo is left out.

    Args:
        show: prints.
    """

    def __init__(self, show: Show) -> None:
        self._show = show
        self._line = ""
        self._held = ""
        self._since = 0.0
        self._echo = ""
        self._echoed = ""

    def add(self, stream: Literal["stdout", "stderr"], text: str) -> None:
        """Take a piece of output."""
        if stream == "stderr":
            self._show(stream, text)
            return
        if self._echo:
            text = self._without_echo(text)
        self._put(text)

    def prompt(self) -> str:
        """The unfinished line, which is not printed any more."""
        self._held = ""
        return _COLOUR.sub("", self._line)[-MAX_PROMPT:]

    def typed(self, line: str, echo: bool) -> None:
        """A line goes to the command; ``echo``: its terminal will show it."""
        self.flush()
        self._line = ""
        self._echo = line + "\n" if echo else ""

    def settle(self) -> None:
        """Print what has been held for too long."""
        if (self._held or self._echoed) and time.monotonic() - self._since > PATIENCE:
            self.flush()

    def flush(self) -> None:
        """Print what is held."""
        echoed, self._echo, self._echoed = self._echoed, "", ""
        self._put(echoed)
        held, self._held = self._held, ""
        if held:
            self._show("stdout", held)

    def _put(self, text: str) -> None:
        cut = max(text.rfind("\n"), text.rfind("\r")) + 1
        if cut:
            self._show("stdout", self._held + text[:cut])
            self._line = self._held = ""
        if text[cut:]:
            self._since = self._since if self._held else time.monotonic()
            self._held += text[cut:]
            self._line = (self._line + text[cut:])[-4 * MAX_PROMPT :]

    def _without_echo(self, text: str) -> str:
        if not self._echoed:
            self._since = time.monotonic()
        self._echoed += text
        plain = self._echoed.replace("\r", "")
        if len(plain) < len(self._echo) and self._echo.startswith(plain):
            return ""  # the rest is still to come
        left, rest = len(self._echo), self._echoed
        self._echo, same = "", plain.startswith(self._echo)
        self._echoed = ""
        while same and left:
            left -= rest[0] != "\r"
            rest = rest[1:]
        return rest


class Dialogue:
    """One command and the person who talks to it.

    Args:
        tool: its name, which stands before each prompt.
        front: who has the keyboard.
        show: prints.
    """

    def __init__(self, tool: str, front: FrontEnd, show: Show) -> None:
        self._tool = tool
        self._front = front
        self.screen = Screen(show)
        self._asked: bool | None = None
        self._interrupts = 0
        self._passed_on = 0
        self._size = window()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """While the block runs, the first interrupt is Ctrl-C for the command.

        A second one without a line in between raises :class:`KeyboardInterrupt` in :meth:`next`,
        which cancels the command; a third one wherever the main thread is.
        """

        def note(number: int, frame: object) -> None:
            self._interrupts += 1
            if self._interrupts > 2:
                raise KeyboardInterrupt

        before = signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            self.screen.flush()

    def next(self, pending: Pending, say: Say) -> Answer:
        """The sidecar's next answer; meanwhile keys go out.

        Args:
            pending: where answers arrive.
            say: sends a message about the command.

        Raises:
            KeyboardInterrupt: interrupted twice.
        """
        while True:
            self._pass_interrupts_on(say)
            self._pass_line_on(say)
            try:
                answer = pending.next(LOOK)
            except TimeoutError:
                self.screen.settle()
                continue
            if not isinstance(answer, Waiting):
                return answer
            self._ask(answer)

    def _ask(self, waiting: Waiting) -> None:
        if self._asked is waiting.echo:  # the box is open, so its prompt stays
            self.screen.flush()
            return
        self._asked = waiting.echo
        self._front.ask(f"{self._tool}: {self.screen.prompt()}", not waiting.echo)

    def _pass_line_on(self, say: Say) -> None:
        if self._asked is None or (line := self._front.answer()) is None:
            return
        keys = keys_for(line)
        self.screen.typed(line, echo=self._asked and keys.endswith(b"\r"))
        self._asked = None
        self._interrupts = self._passed_on = 0
        self._resize(say)
        for start in range(0, len(keys), MAX_KEYS):
            piece = keys[start : start + MAX_KEYS]
            say(lambda number, piece=piece: Keys(id=number, data=piece))  # type: ignore[misc]

    def _pass_interrupts_on(self, say: Say) -> None:
        if self._interrupts > 1:
            raise KeyboardInterrupt
        if self._interrupts > self._passed_on:
            self._passed_on = 1
            self._asked = None  # front ends close the box on an interrupt: ask again
            say(lambda number: Keys(id=number, data=b"\x03"))

    def _resize(self, say: Say) -> None:
        size = window()
        if size != self._size:
            self._size = size
            say(lambda number: Resize(id=number, rows=size.rows, columns=size.columns))
