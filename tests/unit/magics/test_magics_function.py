"""``secure_exec`` as a function, and the package's front door."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import keyless
from keyless import CommandFailed, ExecError, ExecResult, InvalidRequest, secure_exec
from keyless.magics import running
from keyless.protocol import errors
from keyless.protocol.messages import Exec, Output

Channel = Any  # the fake sidecar of conftest.py


def test_a_list_is_taken_as_it_is(channel: Channel) -> None:
    result = secure_exec("aws", ["s3", "cp", Path("a b"), "s3://x/$y", 3, "aws"])
    assert result.argv == ("s3", "cp", "a b", "s3://x/$y", "3", "aws")
    assert channel.execs()[0].argv == list(result.argv)


def test_a_text_is_split_like_a_line(channel: Channel) -> None:
    assert secure_exec("aws", "aws s3 ls 'a b'").argv == ("s3", "ls", "a b")
    with pytest.raises(InvalidRequest, match="no shell here"):
        secure_exec("aws", "s3 ls | head")


def test_it_prints_only_when_asked(channel: Channel, capsys: pytest.CaptureFixture[str]) -> None:
    secure_exec("aws", "s3 ls")
    assert capsys.readouterr() == ("", "")
    assert secure_exec("aws", "s3 ls", quiet=False).streamed
    assert capsys.readouterr() == ("s3 ls\n", "")


def test_every_option_reaches_the_sidecar(channel: Channel) -> None:
    secure_exec(
        "aws", "s3 ls", credentials="a, b", timeout=5, isolated=False, cwd="x", stdin="in",
        dry_run=True,
    )  # fmt: skip
    secure_exec("aws", "s3 ls", credentials=["c"])
    first, second = channel.execs()
    assert (first.credentials, first.timeout, first.isolated) == (["a", "b"], 5, False)
    assert (first.cwd, first.stdin_size, first.dry_run) == ("x", 2, True)
    assert second.credentials == ["c"]


def test_a_failure_raises_with_its_result(channel: Channel) -> None:
    def fail(request: Exec) -> None:
        channel.send(Output(id=request.id, stream="stderr", data="\x1b[31mbad\x1b[0m\n"))
        channel.finish(request, exit_code=2)

    channel.on_exec = fail
    with pytest.raises(CommandFailed, match=r"aws ended with exit code 2: bad$") as caught:
        secure_exec("aws", "s3 ls")
    assert isinstance(caught.value.result, ExecResult)
    assert caught.value.record_id == "k1-000009"
    assert secure_exec("aws", "s3 ls", raise_error=False).exit_code == 2


async def test_it_can_be_awaited(channel: Channel) -> None:
    assert (await secure_exec("aws", "s3 ls")).stdout == "s3 ls\n"


def test_threads_run_at_once(channel: Channel) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda n: secure_exec("aws", ["id", n]).stdout, range(40))
    assert list(results) == [f"id {n}\n" for n in range(40)]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"tool": 3}, "named by text"),
        ({"tool": "aws", "args": b"x"}, "not bytes"),
        ({"tool": "aws", "args": 3}, "not int"),
        ({"tool": "aws", "cwd": 3}, "folder is text"),
        ({"tool": "aws", "credentials": [3]}, "text, not int"),
        ({"tool": "aws", "args": [None]}, "not NoneType"),
        ({"tool": "aws", "args": ["a\0"]}, r"U\+0000"),
        ({"tool": "aws", "timeout": 0}, "timeout"),
        ({"tool": "aws", "stdin": 3}, "text or bytes"),
    ],
)
def test_mistakes_get_one_sentence(channel: Channel, call: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        secure_exec(**call)
    assert channel.execs() == []
    assert len(channel.refusals()) == 1


class Word(str):
    """As NumPy's and other libraries' text."""

    __slots__ = ()


class Seconds(float):
    """As NumPy's numbers."""


def test_what_only_looks_like_text_or_a_number_is_sent_as_such(channel: Channel) -> None:
    word = Word("s3")
    secure_exec(Word("aws"), [word], timeout=Seconds(5), cwd=Word("x"), credentials=[Word("c")])
    secure_exec("aws", Word("s3 ls"), timeout=5)
    first, second = channel.execs()
    assert (first.tool, first.argv, first.cwd, first.credentials) == ("aws", ["s3"], "x", ["c"])
    assert (first.timeout, second.argv) == (5.0, ["s3", "ls"])


def test_memory_for_output_is_bounded(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MAX_KEPT", 100)

    def talk(request: Exec) -> None:
        for _ in range(30):
            channel.send(Output(id=request.id, stream="stdout", data="0123456"))
        channel.finish(request)

    channel.on_exec = talk
    result = secure_exec("aws", "s3 ls")
    assert result.stdout == ("0123456" * 30)[:100]
    assert result.truncated


def test_the_front_door_has_what_it_says() -> None:
    assert set(errors.__all__) - {"error_for"} < set(keyless.__all__)
    for name in keyless.__all__:
        assert getattr(keyless, name).__name__ == name
    assert set(keyless.__all__) <= set(dir(keyless))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        keyless.nothing  # noqa: B018
    assert issubclass(keyless.CommandFailed, ExecError)


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import keyless", ["IPython", "msgspec", "keyless.magics"]),
        ("import keyless.protocol.frames", ["IPython", "keyless.magics"]),
        ("from keyless import secure_exec", ["IPython", "asyncio"]),
    ],
)
def test_importing_stays_cheap(statement: str, absent: list[str]) -> None:
    code = f"{statement}\nimport sys\nprint([n for n in {absent!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(keyless.__file__).parents[1])},
    )
    assert done.stdout.strip() == "[]"
