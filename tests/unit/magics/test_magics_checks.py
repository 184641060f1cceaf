"""What is refused before it is sent."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless.magics.checks import (
    Command,
    argument_list,
    checked,
    input_bytes,
    workspace_folder,
)
from keyless.protocol.errors import InvalidRequest
from keyless.protocol.messages import MAX_ARGV_BYTES, MAX_STDIN_BYTES, Exec, Stdin

GOOD = Command(tool="aws", argv=("s3", "ls"))


@pytest.mark.parametrize("timeout", [0, -1, 0.0, -0.5, math.nan, math.inf, 86401, 10**400])
def test_timeouts_out_of_range(timeout: float) -> None:
    with pytest.raises(InvalidRequest, match="more than 0 and at most 86400 seconds"):
        checked(replace(GOOD, timeout=timeout))


@pytest.mark.parametrize("timeout", ["5", True, [1]])
def test_timeouts_that_are_no_numbers(timeout: object) -> None:
    with pytest.raises(InvalidRequest, match="number of seconds"):
        checked(replace(GOOD, timeout=timeout))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"argv": ("A" * (10 * 1024 * 1024),)}, "workspace file"),
        ({"argv": ("é" * (MAX_ARGV_BYTES // 2), "x")}, "workspace file"),
        ({"argv": ("x",) * 20000}, "too many"),
        ({"argv": ("a\0b",)}, r"U\+0000"),
        ({"argv": ("a\ud800b",)}, r"U\+D800"),
        ({"tool": ""}, "name of the tool"),
        ({"tool": "a" * 129}, "name of the tool"),
        ({"tool": "a\0"}, r"U\+0000"),
        ({"credentials": ("",)}, "name of a credential"),
        ({"credentials": ("x",) * 17}, "at most 16"),
        ({"cwd": "a\0"}, r"U\+0000"),
        ({"cwd": "a" * 5000}, "too long"),
        ({"stdin": b"x" * (MAX_STDIN_BYTES + 1)}, "workspace file"),
    ],
)
def test_refusals(change: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        checked(replace(GOOD, **change))  # type: ignore[arg-type]
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("timeout", [None, 0.001, 1, 86400])
def test_what_makes_sense_passes(timeout: float | None) -> None:
    command = replace(GOOD, timeout=timeout, argv=("x" * MAX_ARGV_BYTES,))
    assert checked(command) is command


@given(st.binary(max_size=10), st.integers(0, 3))
def test_standard_input_goes_out_whole_and_in_order(seed: bytes, chunks: int) -> None:
    data = seed * (chunks * 100_000)
    first, *rest = replace(GOOD, stdin=data).messages(7)
    assert isinstance(first, Exec)
    assert first.stdin_size == len(data)
    assert all(isinstance(piece, Stdin) and piece.id == 7 and piece.data for piece in rest)
    assert b"".join(piece.data for piece in rest if isinstance(piece, Stdin)) == data


def test_no_input_and_an_empty_one_are_told_apart() -> None:
    (without,) = GOOD.messages(1)
    (empty,) = replace(GOOD, stdin=b"").messages(1)
    assert isinstance(without, Exec)
    assert isinstance(empty, Exec)
    assert (without.stdin_size, empty.stdin_size) == (None, 0)


def test_input_may_be_text_or_bytes() -> None:
    assert input_bytes("é", "x") == "é".encode()
    assert input_bytes(bytearray(b"a"), "x") == b"a"
    assert input_bytes(None, "x") is None
    with pytest.raises(InvalidRequest, match="text or bytes, not int"):
        input_bytes(3, "x")
    with pytest.raises(InvalidRequest, match="pass bytes"):
        input_bytes("\ud800", "x")


def test_arguments_may_be_numbers_and_paths() -> None:
    assert argument_list(["a", 3, 1.5, Path("x/y")]) == ("a", "3", "1.5", "x/y")
    wrongs: list[object] = [None, True, b"x", ["a"], {}]
    for wrong in wrongs:
        with pytest.raises(InvalidRequest, match="arguments are text"):
            argument_list([wrong])


@pytest.mark.parametrize(
    ("cwd", "here", "folder"),
    [
        ("", "/workspace", ""),
        ("", "/workspace/a/b", "a/b"),
        ("", "/home/keyless", ""),
        ("", "/workspaces", ""),
        ("", "", ""),
        (".", "/workspace/a", ""),
        ("x", "/workspace/a", "x"),
        ("/workspace", "", ""),
        ("/workspace/x", "", "x"),
        ("/etc", "", "/etc"),
        ("../x", "", "../x"),
    ],
)
def test_the_folder_is_relative_to_the_workspace(cwd: str, here: str, folder: str) -> None:
    assert workspace_folder(cwd, here) == folder
