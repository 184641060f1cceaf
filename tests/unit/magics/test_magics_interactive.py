"""What a person sees of a command on a terminal: prompts, echo, keys, interrupts."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless.magics import interactive
from keyless.magics.checks import Command, checked
from keyless.magics.client import SidecarClient
from keyless.magics.interactive import Dialogue, Screen, front_end, keys_for, window
from keyless.magics.running import run_command
from keyless.protocol.errors import InvalidRequest
from keyless.protocol.messages import (
    MAX_KEYS,
    Cancel,
    Exec,
    Keys,
    Output,
    Resize,
    Terminal,
    Waiting,
)

Channel = Any  # the fake sidecar of conftest.py


class Shown:
    """What was printed."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, stream: str, text: str) -> None:
        self.text += text


class Person:
    """Answers each question with the next line; ``None`` leaves it open."""

    def __init__(self, *lines: str | None) -> None:
        self.lines = deque(lines)
        self.asked: list[tuple[str, bool]] = []
        self._open = False

    def can_ask(self) -> bool:
        return True

    def ask(self, prompt: str, password: bool) -> None:
        self.asked.append((prompt, password))
        self._open = True

    def answer(self) -> str | None:
        if not self._open or not self.lines or self.lines[0] is None:
            return None
        self._open = False
        return self.lines.popleft()


@pytest.fixture
def screen() -> tuple[Screen, Shown]:
    shown = Shown()
    return Screen(shown), shown


def test_the_unfinished_line_is_the_prompt_and_is_not_printed(
    screen: tuple[Screen, Shown],
) -> None:
    it, shown = screen
    it.add("stdout", "hello\nyour \x1b[1mna")
    it.add("stdout", "me\x1b[0m? ")
    assert shown.text == "hello\n"
    assert it.prompt() == "your name? "
    it.typed("Zoë", echo=True)
    it.add("stdout", "Zo")
    it.add("stdout", "ë\r\nhello Zoë\n")
    assert shown.text == "hello\nhello Zoë\n"


def test_only_the_very_echo_is_left_out(screen: tuple[Screen, Shown]) -> None:
    it, shown = screen
    it.typed("abc", echo=True)
    it.add("stdout", "ab")
    it.add("stdout", "d\nabc\n")
    it.typed("secret", echo=False)
    it.add("stdout", "\nsecret\n")
    assert shown.text == "abd\nabc\n\nsecret\n"


def test_a_progress_bar_and_a_slow_line_are_shown(
    screen: tuple[Screen, Shown], monkeypatch: pytest.MonkeyPatch
) -> None:
    it, shown = screen
    it.add("stdout", "10 %\r20 %")
    assert shown.text == "10 %\r"
    it.settle()
    assert shown.text == "10 %\r"
    now = time.monotonic()
    monkeypatch.setattr(interactive.time, "monotonic", lambda: now + 2 * interactive.PATIENCE)
    it.settle()
    assert shown.text == "10 %\r20 %"


@given(st.text(), st.lists(st.text(alphabet="ab\r\n "), max_size=8))
def test_nothing_of_the_output_is_lost(line: str, pieces: list[str]) -> None:
    shown = Shown()
    it = Screen(shown)
    for piece in pieces:
        it.add("stdout", piece)
    it.flush()
    assert shown.text == "".join(pieces)
    it.typed(line, echo=True)
    it.add("stdout", "x" + line)
    it.flush()
    assert shown.text.endswith("x" + line)


def test_a_prompt_is_bounded() -> None:
    it = Screen(Shown())
    for _ in range(100):
        it.add("stdout", "y" * 100)
    assert len(it.prompt()) == interactive.MAX_PROMPT


def test_lines_are_keys() -> None:
    assert keys_for("select 1;") == b"select 1;\r"
    assert keys_for("") == b"\r"
    assert keys_for("^D") == keys_for("\x04") == b"\x04"
    assert keys_for("^C") == b"\x03"
    assert keys_for("^D ") == b"^D \r"
    assert keys_for("\ud800") == b"?\r"


def test_the_window_has_the_size_that_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LINES", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    assert window() == Terminal(rows=24, columns=80)
    monkeypatch.setenv("COLUMNS", "9999")
    monkeypatch.setenv("LINES", "50")
    assert window() == Terminal(rows=50, columns=500)


def test_without_a_kernel_nobody_has_the_keyboard() -> None:
    with pytest.raises(InvalidRequest, match="can't be asked for input"):
        front_end()
    with pytest.raises(InvalidRequest, match="not both"):
        checked(Command("psql", (), stdin=b"", terminal=Terminal()))


# ---------------------------------------------------------------------- with a sidecar


def talk(
    client: SidecarClient, person: Person, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, Shown]:
    monkeypatch.setattr("keyless.magics.running.front_end", lambda: person)
    shown = Shown()
    command = Command("psql", (), terminal=Terminal())
    return run_command(client, command, shown), shown


def test_a_line_is_asked_for_and_typed(
    channel: Channel, client: SidecarClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    def on_exec(request: Exec) -> None:
        assert request.terminal == Terminal()
        channel.send(
            Output(id=request.id, stream="stdout", data="shop=> "),
            Waiting(id=request.id, echo=True),
            Waiting(id=request.id, echo=True),
            Output(id=request.id, stream="stdout", data="notice\nshop=> "),
            Waiting(id=request.id, echo=False),
        )

    channel.on_exec = on_exec
    long = "x" * (MAX_KEYS + 10)
    person = Person(long)
    person.answer = lambda ask=person.answer: None if len(person.asked) < 2 else ask()  # type: ignore[method-assign, misc]

    def finish() -> None:
        channel.wait_for(Keys, 2)
        channel.finish(channel.execs()[0])

    ending = threading.Thread(target=finish)
    ending.start()
    result, shown = talk(client, person, monkeypatch)
    ending.join()
    # The echo went off while the box was open: asked anew, hidden.
    assert person.asked == [("psql: shop=> ", False), ("psql: shop=> ", True)]
    assert shown.text == "notice\n"
    assert result.stdout == "shop=> notice\nshop=> "
    assert b"".join(keys.data for keys in channel.wait_for(Keys, 2)) == long.encode() + b"\r"


def test_interrupts_are_control_c_then_a_cancel(
    channel: Channel, client: SidecarClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)

    def on_exec(request: Exec) -> None:
        channel.send(Waiting(id=request.id, echo=True))

    channel.on_exec = on_exec
    person = Person(None)
    ask = person.ask

    def asked(prompt: str, password: bool) -> None:
        ask(prompt, password)
        os.kill(os.getpid(), signal.SIGINT)

    person.ask = asked  # type: ignore[method-assign]

    def again() -> None:
        channel.wait_for(Keys)
        os.kill(os.getpid(), signal.SIGINT)
        channel.wait_for(Cancel)
        channel.finish(channel.execs()[0])

    other = threading.Thread(target=again)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        talk(client, person, monkeypatch)
    other.join()
    assert [keys.data for keys in channel.wait_for(Keys)] == [b"\x03"]
    assert len(channel.cancelled()) == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_a_new_size_goes_out_with_the_next_line(
    channel: Channel, client: SidecarClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    sent: list[Any] = []
    dialogue = Dialogue("psql", Person("x"), Shown())
    monkeypatch.setenv("COLUMNS", "132")
    answers = deque([Waiting(id=1, echo=True)])

    class Pending:
        def next(self, timeout: float) -> Any:
            if answers:
                return answers.popleft()
            raise OSError("no more")

    with contextlib.suppress(OSError):
        dialogue.next(Pending(), lambda message: sent.append(message(1)))  # type: ignore[arg-type]
    assert sent == [Resize(id=1, rows=window().rows, columns=132), Keys(id=1, data=b"x\r")]
