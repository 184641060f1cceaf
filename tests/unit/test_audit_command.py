"""``audit show|verify|check``, as a person at the terminal sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keyless_sidecar.audit import AuditLog
from keyless_sidecar.commands.audit import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "keyless"


def write(data: Path, kernel: str, *commands: list[str]) -> Path:
    log = AuditLog.open(data / "audit", kernel, {"level": "namespaces"})
    for argv in commands:
        log.append("exec.request", {"tool": "aws", "argv": argv, "timeout": 5, "note": ""})
    log.close()
    return log.path


def run(data: Path, *arguments: str) -> int:
    return main(["--data-dir", str(data), *arguments])


def test_show_is_one_line_a_record(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(data, "alpha", ["sts", "get caller"])
    assert run(data, "show") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "exec.request" in lines[1]
    assert "argv=[sts 'get caller'] timeout=5 tool=aws" in lines[1]
    assert "note=" not in lines[1]


def test_show_hides_no_text_and_obeys_none(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(data, "alpha", ["\x1b[2Jgone\n\u202edaol\u2028 \x00\udc80 \U000e0041"])
    assert run(data, "show") == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 3
    for sign in ("\x1b", "\u202e", "\u2028", "\x00", "\U000e0041"):
        assert sign not in out
    assert r"\x1b[2Jgone\x0a\u202edaol\u2028 \x00\udc80 \U000e0041" in out


def test_show_chooses(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(data, "alpha", ["a-one"], ["a-two"])
    write(data, "beta", ["b-one"])
    assert run(data, "show", "--kernel", "alp", "--last", "2") == 0
    out = capsys.readouterr().out
    assert "a-two" in out
    assert "a-one" not in out
    assert "b-one" not in out
    assert run(data, "show", "--json", "--kernel", "beta") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert records[1]["fields"]["argv"] == ["b-one"]


def test_nothing_yet(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "show") == run(data, "verify") == 0
    assert capsys.readouterr().out == "There are no records.\nThere are no audit files.\n"
    assert not data.exists()


def test_verify_names_the_first_bad_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = write(data, "alpha", ["one"]), write(data, "beta", ["two"])
    assert run(data, "verify") == 0
    assert capsys.readouterr().out.count("✓") == 2
    second.write_bytes(second.read_bytes().replace(b"two", b"too"))
    assert run(data, "verify") == 1
    out = capsys.readouterr().out
    assert f"✗ {second.name}: broken at line 2: its content doesn't match its hash" in out
    assert run(data, "verify", str(first)) == 0
    assert run(data, "verify", "--json", str(second)) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])[0]["line"] == 2


def test_a_file_that_is_not_there(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "verify", str(data / "none.jsonl")) == 1
    assert "can't be read" in capsys.readouterr().err


def test_check_says_whether_records_can_be_written(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, "check") == 0
    assert list((data / "audit").iterdir()) == []
    (data / "audit").chmod(0o777)
    assert run(data, "check") == 1
    assert "Other users can write" in capsys.readouterr().err


def test_a_reader_that_has_had_enough(data: Path) -> None:
    write(data, "alpha", *([["x" * 4000]] * 100))
    with subprocess.Popen(
        [sys.executable, "-I", "-m", "keyless_sidecar", "audit", "--data-dir", str(data), "show"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as shown:
        assert shown.stdout is not None
        assert shown.stderr is not None
        assert len(os.read(shown.stdout.fileno(), 10)) == 10
        shown.stdout.close()
        assert shown.stderr.read() == b""
    assert shown.returncode == 0
