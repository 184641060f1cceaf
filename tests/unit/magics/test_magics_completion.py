"""Completion of tools, options and first arguments."""

from __future__ import annotations

import time
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from keyless.magics import completion
from keyless.magics.arguments import OPTIONS
from keyless.magics.completion import candidates, make_matcher

Channel = Any  # the fake sidecar of conftest.py


@pytest.fixture
def complete(channel: Channel) -> Any:
    """The words offered at the end of a cell."""
    return lambda text: candidates(text.split("\n"), lambda: channel.status(1))[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("%%secure_exec ", ["aws", "git"]),
        ("%%secure_exec a", ["aws"]),
        ("%secure_exec ", ["aws", "git"]),
        ("%secure_exec --timeout 5 g", ["git"]),
        ("%%secure_exec aws ", []),
        ("%%secure_exec aws --t", ["--timeout"]),
        ("%%secure_exec --quiet --q", []),
        ("%%secure_exec aws --timeout ", []),
        ("%secure_exec --no-", ["--no-isolated", "--no-raise"]),
        ("%secure_exec aws ", ["s3", "sts", "lambda"]),
        ("%secure_exec aws s", ["s3", "sts"]),
        ("%secure_exec aws s3 ", []),
        ("%secure_exec aws --", []),
        ("%%secure_exec aws --quiet\n", ["s3", "sts", "lambda"]),
        ("%%secure_exec aws\ns3 ls\nl", ["lambda"]),
        ("%%secure_exec aws\naws l", ["lambda"]),
        ("%%secure_exec git\n", []),
        ("%%secure_exec unknown\n", []),
        ("%keyless ", ["status", "tools", "why", "help"]),
        ("%keyless w", ["why"]),
        ("%keyless why ", ["aws", "git"]),
        ("%keyless why aws st", ["sts"]),
        ("%%secure_exec", []),
        ("", []),
        ("print(", []),
        ("x = 1\n", []),
    ],
)
def test_candidates(complete: Any, text: str, words: list[str]) -> None:
    assert complete(text) == words


def test_all_options_are_offered(complete: Any) -> None:
    assert complete("%%secure_exec aws --") == list(OPTIONS)


def offered(shell: InteractiveShell, text: str) -> set[str]:
    with provisionalcompleter():
        return {text[: c.start] + c.text for c in shell.Completer.completions(text, len(text))}


def test_the_shell_offers_them(channel: Channel, shell: InteractiveShell) -> None:
    shell.Completer.custom_matchers[:] = [make_matcher()]
    assert offered(shell, "%%secure_exec a") == {"%%secure_exec aws"}
    assert "%%secure_exec aws --timeout" in offered(shell, "%%secure_exec aws --ti")
    assert offered(shell, "%%secure_exec aws\nlam") == {"%%secure_exec aws\nlambda"}
    assert len(channel.requests) == 2  # Hello, and one StatusQuery for all three


def test_a_silent_sidecar_costs_a_moment_once(channel: Channel, shell: InteractiveShell) -> None:
    channel.answers_status = False
    shell.Completer.custom_matchers[:] = [make_matcher()]
    started = time.monotonic()
    for _ in range(20):
        assert "%%secure_exec aws" not in offered(shell, "%%secure_exec a")
    assert time.monotonic() - started < completion._PATIENCE + 3


@pytest.mark.usefixtures("no_channel")
def test_without_a_sidecar_nothing_is_offered_and_nothing_breaks(shell: InteractiveShell) -> None:
    shell.Completer.custom_matchers[:] = [make_matcher()]
    assert "%%secure_exec aws" not in offered(shell, "%%secure_exec a")
    assert "%%secure_exec --quiet" in offered(shell, "%%secure_exec --qu")
