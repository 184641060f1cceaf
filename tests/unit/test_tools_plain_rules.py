"""Rules for declared tools that Keyless knows nothing about."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless_sidecar.tools import Checked, Refused, Tool, check, shown
from keyless_sidecar.workspace import WorkspaceRoot


@pytest.fixture
def root(tmp_path: Path) -> Iterator[WorkspaceRoot]:
    (tmp_path / "data.csv").write_text("1,2")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "twice").write_text("x")
    (tmp_path / "again").hardlink_to(tmp_path / "twice")
    os.mkfifo(tmp_path / "fifo")
    with WorkspaceRoot(tmp_path) as opened:
        yield opened


def plain(root: WorkspaceRoot, *argv: str, **settings: Any) -> Checked:
    return check(Tool("leaky", "/usr/bin/leaky", **settings), argv, root, "")


def test_arguments_pass_as_they_are(root: WorkspaceRoot) -> None:
    argv = ("--mode", "plain", "$(env)", "; rm -rf /", "é", "")
    done = plain(root, *argv)
    assert done.argv == argv
    assert done.operation == "exec"
    assert done.mutating is None


def test_workspace_files_are_noted(root: WorkspaceRoot) -> None:
    done = plain(root, "data.csv", "--out=sub", "@/workspace/data.csv", "/etc/passwd")
    assert {(file.path, file.use) for file in done.files} == {
        ("data.csv", "read"),
        ("sub", "folder"),
    }


@pytest.mark.parametrize(
    ("argument", "rule"),
    [
        ("fifo", "files.kind"),
        ("--input=fifo", "files.kind"),
        ("-ffifo", "files.kind"),
        ("key=@fifo", "files.kind"),
        ("file:///workspace/fifo", "files.kind"),
        ("./sub/../fifo", "files.kind"),
        ("link", "files.symlink"),
        ("@link", "files.symlink"),
        ("twice", "files.links"),
        ("a\0b", "arguments.control"),
        ("a\x1b[31mb", "arguments.control"),
        ("a\nb", "arguments.control"),
        ('{"a":\n1}', "arguments.control"),
        ("a\x9bb", "arguments.control"),
        ("\ud800", "arguments.unicode"),
        ("x" * 200_000, "arguments.size"),
    ],
)
def test_refused(root: WorkspaceRoot, argument: str, rule: str) -> None:
    with pytest.raises(Refused) as caught:
        plain(root, argument)
    assert caught.value.rule == rule
    assert caught.value.kind == "InvalidRequest"
    assert len(caught.value.message) < 400


def test_counts(root: WorkspaceRoot) -> None:
    with pytest.raises(Refused, match="at most 2"):
        plain(root, "a", "b", "c", max_args=2)
    with pytest.raises(Refused, match="too long"):
        plain(root, *["x" * 100_000] * 3)


def test_deny_patterns(root: WorkspaceRoot) -> None:
    assert plain(root, "--fine", deny=("^--print",))
    with pytest.raises(Refused) as caught:
        plain(root, "--fine", "--print-secret", deny=("^--print",))
    assert caught.value.kind == "PolicyDenied"
    assert caught.value.rule == "plain.deny"


def tried(argv: list[str]) -> Checked | Refused:
    """What comes of a line; any other exception fails the test."""
    with WorkspaceRoot("/usr/share") as root:
        try:
            return plain(root, *argv)
        except Refused as refused:
            return refused


@given(st.lists(st.text(max_size=40), max_size=6))
def test_only_refused_is_ever_raised(argv: list[str]) -> None:
    done = tried(argv)
    if isinstance(done, Refused):
        assert done.message
        assert done.message.isprintable()
    else:
        assert done.argv == tuple(argv)


@given(st.text(max_size=200))
def test_what_a_message_shows_is_short_and_harmless(text: str) -> None:
    quoted = shown(text)
    assert len(quoted) <= 82
    assert quoted.isprintable()
    assert not set(quoted) & set("\u200b\u202e\ufeff")
