"""The client over a real socket: order, credit, threads, interrupts, forks, a sidecar that dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from keyless.magics import client as client_module
from keyless.magics.channel import Pending
from keyless.magics.checks import Command
from keyless.magics.client import SidecarClient, shared_client
from keyless.protocol.errors import InvalidRequest, SidecarUnavailable
from keyless.protocol.frames import encode
from keyless.protocol.messages import (
    OUTPUT_WINDOW,
    Cancel,
    Credit,
    Exec,
    Failed,
    Finished,
    Hello,
    Output,
    Started,
    Stdin,
    Welcome,
)

Channel = Any  # the fake sidecar of conftest.py
COMMAND = Command(tool="aws", argv=("s3", "ls"))


def silent(stream: str, text: str) -> None:
    """Drop output."""


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Ctrl-C as in the kernel."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_main() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def test_hello_goes_first_and_once(channel: Channel, client: SidecarClient) -> None:
    client.run(COMMAND, silent)
    client.run(COMMAND, silent)
    assert [type(r) for r in channel.requests if not isinstance(r, Credit)] == [Hello, Exec, Exec]
    assert [request.id for request in channel.execs()] == [1, 2]


def test_output_comes_while_the_command_runs(channel: Channel, client: SidecarClient) -> None:
    seen: list[tuple[str, str]] = []
    printed = threading.Event()

    def slowly(request: Exec) -> None:
        channel.send(
            Started(id=request.id, record_id="r1"),
            Output(id=request.id, stream="stdout", data="one\n"),
        )
        assert printed.wait(10)
        channel.send(Output(id=request.id, stream="stderr", data="two\n"))
        channel.finish(request)

    def emit(stream: str, text: str) -> None:
        seen.append((stream, text))
        printed.set()

    channel.on_exec = slowly
    outcome = client.run(COMMAND, emit)
    assert seen == [("stdout", "one\n"), ("stderr", "two\n")]
    assert isinstance(outcome.reply, Finished)


def test_the_record_is_known_even_if_only_the_start_named_it(
    channel: Channel, client: SidecarClient
) -> None:
    channel.on_exec = lambda request: channel.send(
        Started(id=request.id, record_id="r1"),
        Failed(id=request.id, kind="CommandTimeout", message="too slow"),
    )
    assert client.run(COMMAND, silent).record_id == "r1"


def test_credit_is_given_back_in_bytes_as_output_is_consumed(
    channel: Channel, client: SidecarClient
) -> None:
    """A sidecar that keeps to its window can send far more than the window."""
    total, piece = 8 * OUTPUT_WINDOW, "é" * 8192
    sender: list[threading.Thread] = []

    def flood(request: Exec) -> None:
        def send() -> None:
            sent = 0
            while sent < total:
                while sent - channel.credit() + 16384 > OUTPUT_WINDOW:
                    time.sleep(0.001)
                channel.send(Output(id=request.id, stream="stdout", data=piece))
                sent += 16384
            channel.finish(request)

        sender.append(threading.Thread(target=send))
        sender[0].start()

    channel.on_exec = flood
    size = 0

    def count(stream: str, text: str) -> None:
        nonlocal size
        size += len(text.encode())

    client.run(COMMAND, count)
    sender[0].join()
    assert size == total


def test_no_credit_before_output_is_consumed(channel: Channel, client: SidecarClient) -> None:
    gate = threading.Event()

    def wait(stream: str, text: str) -> None:
        gate.wait(10)

    channel.on_exec = lambda request: channel.send(
        Output(id=request.id, stream="stdout", data="x" * 1000)
    )
    with ThreadPoolExecutor() as pool:
        run = pool.submit(client.run, COMMAND, wait)
        (request,) = channel.wait_for(Exec)
        time.sleep(0.1)
        assert channel.credit() == 0
        gate.set()
        channel.wait_for(Credit)
        channel.finish(request)
        run.result(10)
    assert channel.credit() == 1000


def test_standard_input_follows_its_command(channel: Channel, client: SidecarClient) -> None:
    data = os.urandom(700_000)
    channel.on_exec = lambda request: None
    with ThreadPoolExecutor() as pool:
        run = pool.submit(client.run, Command(tool="aws", argv=(), stdin=data), silent)
        channel.wait_for(Stdin, 3)
        assert channel.stdin() == data
        (request,) = channel.execs()
        assert request.stdin_size == len(data)
        channel.finish(request)
        run.result(10)


def test_many_threads_each_get_their_own_answers(channel: Channel, client: SidecarClient) -> None:
    waiting: list[Exec] = []

    def answer_in_reverse(request: Exec) -> None:
        waiting.append(request)
        if len(waiting) == 12:
            for step in range(5):
                for one in reversed(waiting):
                    text = f"{one.argv[0]} step {step}\n"
                    channel.send(Output(id=one.id, stream="stdout", data=text))
            for one in waiting:
                channel.finish(one, exit_code=int(one.argv[0]))

    channel.on_exec = answer_in_reverse

    def work(number: int) -> tuple[int, str]:
        seen: list[str] = []
        command = Command(tool="t", argv=(str(number),))
        reply = client.run(command, lambda stream, text: seen.append(text)).reply
        assert isinstance(reply, Finished)
        return reply.exit_code, "".join(seen)

    with ThreadPoolExecutor(12) as pool:
        got = list(pool.map(work, range(12)))
    assert got == [(n, "".join(f"{n} step {step}\n" for step in range(5))) for n in range(12)]
    ids = [request.id for request in channel.execs()]
    assert ids == sorted(set(ids))


def test_a_mistake_is_refused_before_anything_is_sent(
    channel: Channel, client: SidecarClient
) -> None:
    with pytest.raises(InvalidRequest):
        client.run(Command(tool="aws", argv=(), timeout=0), silent)
    client.run(COMMAND, silent)
    assert len(channel.execs()) == 1


def test_what_cannot_be_encoded_is_refused_and_nothing_follows_it(
    channel: Channel, client: SidecarClient
) -> None:
    """A ``Cancel`` for a request that never came would be a violation."""
    pending = Pending(lambda number: iter([Cancel(id=number), object()]))  # type: ignore[list-item]
    client._channel.submit(pending)
    with pytest.raises(InvalidRequest, match="can't be sent"):
        pending.next(10)
    client._channel.follow_up(pending, lambda number: Cancel(id=number))
    client.run(COMMAND, silent)
    assert len(channel.cancelled()) == 1


def test_an_interrupt_cancels_and_shows_the_last_output(
    channel: Channel, client: SidecarClient, interrupts: None
) -> None:
    seen: list[str] = []

    def endless(request: Exec) -> None:
        channel.send(Started(id=request.id, record_id="r1"))
        threading.Timer(0.2, interrupt_main).start()

    def when_cancelled() -> None:
        (cancel,) = channel.wait_for(Cancel)
        channel.send(
            Output(id=cancel.id, stream="stdout", data="cleaning up\n"),
            Failed(id=cancel.id, kind="CommandCancelled", message="cancelled"),
        )

    channel.on_exec = endless
    helper = threading.Thread(target=when_cancelled)
    helper.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        client.run(COMMAND, lambda stream, text: seen.append(text))
    helper.join()
    assert time.monotonic() - started < 2
    assert seen == ["cleaning up\n"]
    channel.on_exec = channel.echo
    assert isinstance(client.run(COMMAND, silent).reply, Finished)


def test_an_interrupt_does_not_wait_for_ever(
    channel: Channel, client: SidecarClient, interrupts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "CANCEL_PATIENCE", 0.3)
    channel.on_exec = lambda request: threading.Timer(0.1, interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        client.run(COMMAND, silent)
    # What still arrives for it is nobody's, and hurts nobody.
    channel.finish(channel.execs()[0])
    channel.on_exec = channel.echo
    assert isinstance(client.run(COMMAND, silent).reply, Finished)


def test_a_second_interrupt_gives_up_at_once(
    channel: Channel, client: SidecarClient, interrupts: None
) -> None:
    def twice(request: Exec) -> None:
        threading.Timer(0.1, interrupt_main).start()
        threading.Timer(0.4, interrupt_main).start()

    channel.on_exec = twice
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        client.run(COMMAND, silent)
    assert time.monotonic() - started < 2
    channel.wait_for(Cancel)


def test_interrupts_at_any_moment_leave_the_stream_whole(
    channel: Channel, client: SidecarClient, interrupts: None
) -> None:
    """Half a frame on the wire would break every command after it."""

    def answer(request: Exec) -> None:
        channel.send(Failed(id=request.id, kind="InvalidRequest", message="no"))

    def within_run(number: int, frame: FrameType | None) -> None:
        # Elsewhere an interrupt would end the test run itself.
        while frame is not None:
            if frame.f_code is SidecarClient.run.__code__:
                raise KeyboardInterrupt
            frame = frame.f_back

    signal.signal(signal.SIGINT, within_run)
    channel.on_exec = answer
    stop = threading.Event()

    def disturb() -> None:
        while not stop.wait(0.003):
            interrupt_main()

    disturber = threading.Thread(target=disturb)
    command = Command(tool="aws", argv=("x" * 100_000,), stdin=b"y" * 1_000_000)
    done = interrupted = 0
    disturber.start()
    try:
        while done + interrupted < 60:
            try:
                client.run(command, silent)
                done += 1
            except KeyboardInterrupt:
                interrupted += 1
    finally:
        stop.set()
        disturber.join()
    assert interrupted
    assert isinstance(client.run(COMMAND, silent).reply, Failed)


def test_a_failing_printer_cancels_the_command(channel: Channel, client: SidecarClient) -> None:
    channel.on_exec = lambda request: channel.send(Output(id=request.id, stream="stdout", data="x"))

    def broken(stream: str, text: str) -> None:
        raise BlockingIOError("no more room")

    with pytest.raises(BlockingIOError):
        client.run(COMMAND, broken)
    channel.wait_for(Cancel)


def test_a_forked_child_is_refused_and_the_parent_goes_on(
    channel: Channel, client: SidecarClient, tmp_path: Path
) -> None:
    client.run(COMMAND, silent)
    said = tmp_path / "said"
    child = os.fork()
    if child == 0:
        try:
            shared_client().run(COMMAND, silent)
        except SidecarUnavailable as error:
            said.write_text(str(error))
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert "forked child" in said.read_text()
    client.run(COMMAND, silent)
    assert [request.id for request in channel.execs()] == [1, 2]


@pytest.mark.parametrize("midway", [True, False])
def test_all_who_wait_learn_that_the_sidecar_ended(
    channel: Channel, client: SidecarClient, midway: bool
) -> None:
    def die(request: Exec) -> None:
        if len(channel.execs()) == 3:
            half = encode(Output(id=request.id, stream="stdout", data="x" * 100))[:50]
            channel.connection.sendall(half if midway else b"")
            channel.hang_up()

    channel.on_exec = die
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(client.run, COMMAND, silent) for _ in range(3)]
        for run in runs:
            with pytest.raises(SidecarUnavailable, match="restart the kernel"):
                run.result(10)
    with pytest.raises(SidecarUnavailable, match="restart the kernel"):
        client.run(COMMAND, silent)
    with pytest.raises(SidecarUnavailable, match="restart the kernel"):
        client.status()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"\0\0\0\1\xc1",
        encode(Finished(id=999, exit_code=0, duration=0.0, record_id="x")),
        encode(Welcome(version=1, kernel_id="again", level="x")),
        encode(Cancel(id=1)),
    ],
)
def test_a_sidecar_that_breaks_the_protocol_is_left(
    channel: Channel, client: SidecarClient, garbage: bytes
) -> None:
    channel.on_exec = lambda request: channel.connection.sendall(garbage)
    with pytest.raises(SidecarUnavailable, match="restart the kernel"):
        client.run(COMMAND, silent)


def test_another_protocol_version_is_refused(channel: Channel) -> None:
    channel.on_hello = lambda: channel.send(Welcome(version=99, kernel_id="k", level="x"))
    with pytest.raises(SidecarUnavailable, match="version 99"):
        shared_client().run(COMMAND, silent)


def test_an_answer_before_the_welcome_is_refused(channel: Channel) -> None:
    channel.on_hello = lambda: None
    with pytest.raises(SidecarUnavailable, match="nobody asked for"):
        shared_client().run(COMMAND, silent)


def test_a_closed_client_says_so(channel: Channel, client: SidecarClient) -> None:
    client.run(COMMAND, silent)
    client.close()
    with pytest.raises(SidecarUnavailable, match="closed"):
        client.run(COMMAND, silent)


def test_status_is_asked_for_once_in_a_while(channel: Channel, client: SidecarClient) -> None:
    assert client.status(max_age=30) is client.status(max_age=30)
    assert client.status() is not client.status()
    assert len(channel.requests) == 1 + 3


def test_a_silent_sidecar_is_not_waited_for_for_ever(
    channel: Channel, client: SidecarClient
) -> None:
    channel.answers_status = False
    with pytest.raises(SidecarUnavailable, match=r"did not answer within 0\.1 s"):
        client.status(timeout=0.1)


def test_threads_that_ask_at_once_share_one_client(channel: Channel) -> None:
    barrier = threading.Barrier(8)

    def ask(_: int) -> SidecarClient:
        barrier.wait()
        return shared_client()

    with ThreadPoolExecutor(8) as pool:
        assert len({id(found) for found in pool.map(ask, range(8))}) == 1


@pytest.mark.parametrize("value", [None, "", "x", "-1", "99999", "1" * 30, "file"])
def test_without_a_channel_it_says_which_kernel_to_start(value: str | None, tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as file:
        number = str(file.fileno()) if value == "file" else value
        environment = {} if number is None else {"KEYLESS_CHANNEL_FD": number}
        with pytest.raises(SidecarUnavailable, match=r"Python 3 \(Keyless\)"):
            SidecarClient.from_environment(environment)


def test_a_cells_children_do_not_inherit_the_channel(channel: Channel) -> None:
    number = int(os.environ["KEYLESS_CHANNEL_FD"])
    os.set_inheritable(number, True)
    shared_client()
    assert not os.get_inheritable(number)
