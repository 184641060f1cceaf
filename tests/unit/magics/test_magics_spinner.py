"""The line that says how long a command runs: when it comes, how often, and that it goes."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless.magics.channel import Answer, Pending
from keyless.magics.spinner import Bundle, Spinner, person_watches
from keyless.protocol.messages import Finished, Output

END = Finished(id=1, exit_code=0, duration=0.1, record_id="r")


class Wait(Pending):
    """Answers that come at their times, on a clock that stands still but for waiting."""

    def __init__(self, *answers: tuple[float, Answer]) -> None:
        super().__init__(lambda _: iter(()))
        self.now = 0.0
        self._coming = list(answers)

    def next(self, timeout: float | None = None) -> Answer:
        when, answer = self._coming[0]
        if timeout is not None and self.now + timeout < when:
            self.now += timeout
            raise TimeoutError
        self.now = max(self.now, when)
        del self._coming[0]
        return answer


class Page:
    """What a notebook's page shows of the line, and each message that it got."""

    def __init__(self, wait: Wait, error: type[BaseException] | None = None) -> None:
        self.messages: list[tuple[float, str]] = []
        self.html = ""
        self._wait, self._error = wait, error

    def show(self, bundle: Bundle) -> None:
        self.messages.append((self._wait.now, bundle["text/plain"]))
        self.html = bundle["text/html"]
        if self._error is not None:
            raise self._error

    update = show


def run(wait: Wait, page: Page, what: str = "aws s3 sync") -> list[Answer]:
    spinner = Spinner(what, page, lambda: wait.now)
    heard: list[Answer] = []
    try:
        while END not in heard:
            heard.append(spinner.next(wait))
    finally:
        spinner.close()
    return heard


def output(text: str = "x\n") -> Output:
    return Output(id=1, stream="stdout", data=text)


def test_a_fast_command_and_one_that_keeps_talking_have_none() -> None:
    for wait in (Wait((0.9, END)), Wait(*((n * 0.8, output()) for n in range(20)), (15.9, END))):
        page = Page(wait)
        run(wait, page)
        assert page.messages == []


def test_it_comes_after_a_second_tells_the_time_and_goes() -> None:
    wait = Wait((3.5, END))
    page = Page(wait)
    assert run(wait, page) == [END]
    assert [text.partition(" ")[2] for _, text in page.messages] == [
        "aws s3 sync: 1 s",
        "aws s3 sync: 2 s",
        "aws s3 sync: 3 s",
        "",
    ]
    assert page.html == ""


@given(st.lists(st.floats(0, 3000), max_size=30), st.floats(0, 3000))
def test_never_more_than_one_message_a_second_and_nothing_late(
    times: list[float], end: float
) -> None:
    coming = [(when, output()) for when in sorted(times) if when < end]
    wait = Wait(*coming, (end, END))
    page = Page(wait)
    assert run(wait, page) == [*(answer for _, answer in coming), END]
    assert wait.now == end  # it was not waited longer than there was to wait
    drawn = [when for when, text in page.messages if text]
    assert all(later - earlier > 0.999 for earlier, later in itertools.pairwise(drawn))
    assert len(drawn) <= 61 + end / 5
    assert page.html == ""


def test_long_waits_in_words() -> None:
    wait = Wait((7300, END))
    page = Page(wait)
    run(wait, page, "<b>\x1b[31m")
    said = [text.partition(" ")[2] for _, text in page.messages]
    assert {"<b>: 59 s", "<b>: 2 min 00 s", "<b>: 2 h 00 min"} <= set(said)
    assert not any("\x1b" in text for text in said)


def test_a_hostile_name_makes_no_markup() -> None:
    wait = Wait((1.5, END))
    shown: list[str] = []

    class Watched(Page):
        def show(self, bundle: Bundle) -> None:
            shown.append(bundle["text/html"])

        update = show

    run(wait, Watched(wait), "<img src=x onerror=alert(1)>")
    assert "<img" not in "".join(shown)


def test_a_front_end_that_fails_does_not_end_the_command() -> None:
    wait = Wait((1.5, output()), (60, END))
    page = Page(wait, RuntimeError)
    assert run(wait, page) == [output(), END]
    assert len(page.messages) <= 2


def test_an_interrupt_while_it_is_drawn_gets_through_and_leaves_no_line() -> None:
    wait = Wait((60, END))
    page = Page(wait, KeyboardInterrupt)

    def close_quietly(bundle: Bundle) -> None:
        page.html = bundle["text/html"]

    page.update = close_quietly  # type: ignore[method-assign,assignment]
    with pytest.raises(KeyboardInterrupt):
        run(wait, page)
    assert page.html == ""


def test_progress_takes_its_place() -> None:
    wait = Wait((1.5, output()), (60, END))
    page = Page(wait)
    spinner = Spinner("lambda.invoke", page, lambda: wait.now)
    spinner.next(wait)
    spinner.stop()
    spinner.next(wait)
    spinner.close()
    assert [text for _, text in page.messages][1:] == [""]


class Kernel:
    def __init__(self, asks: bool) -> None:
        self.can_ask = lambda: asks


@pytest.mark.parametrize(
    ("kernel", "watched"),
    [(None, False), (object(), False), (Kernel(False), False), (Kernel(True), True)],
)
def test_only_where_somebody_could_type(
    kernel: Any, watched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = type("Shell", (), {"kernel": kernel})()
    monkeypatch.setattr("keyless.magics.spinner.current_shell", lambda: shell)
    assert person_watches() is watched
    elsewhere: list[bool] = []
    thread = threading.Thread(target=lambda: elsewhere.append(person_watches()))
    thread.start()
    thread.join()
    assert elsewhere == [False]
