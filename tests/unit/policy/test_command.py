"""``policy check|explain|init`` as a person at the terminal sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keyless_sidecar.commands.policy import main

GOOD = '@id("all") permit (principal, action, resource);\n'
TOOLS = json.dumps({"aws": False, "declared": {"true": {"path": "/bin/true", "delivery": "none"}}})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keyless" / "policy.cedar"


def run(file: Path, *arguments: str) -> int:
    return main(["--policy", str(file), "--tools", TOOLS, *arguments])


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_check_without_a_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "check") == 0
    assert "comes with Keyless is in force" in capsys.readouterr().out


def test_check(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(file, GOOD)
    assert run(file, "check") == 0
    assert "1 rule" in capsys.readouterr().out
    write(file, f"{GOOD}\npermit (principal action);\n")
    assert run(file, "check") == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("policy.cedar:3: error: ")


def test_check_of_another_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = file.parent.parent / "mine.cedar"
    other.write_text(
        '@id("typo")\nforbid (principal, action == Action::"aws:s3:PutObjekt", resource);\n'
        'permit (principal, action == Action::"aws:s3:PutObjekt", resource);\n'
    )
    assert run(file, "check", str(other)) == 1
    err = capsys.readouterr().err.splitlines()
    assert "mine.cedar:1: error:" in err[0]
    assert "'PutObject'" in err[0]
    assert "mine.cedar:3: warning:" in err[1]
    assert run(file, "check", "/nowhere/x.cedar") == 1
    assert "/nowhere/x.cedar" in capsys.readouterr().err


def test_warnings_are_no_failure(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(file, "")
    assert run(file, "check") == 0
    out, err = capsys.readouterr()
    assert "everything is denied" in err
    assert "0 rules" in out


def test_explain_an_action(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("explain", "--action", "aws:s3:PutObject", "--resource", "arn:aws:s3:::b/k")
    assert run(file, *arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("ask  aws:s3:PutObject\n")
    assert "default.changes" in out
    assert '@id("changes")' in out
    assert 'context.resource == "arn:aws:s3:::b/k"' in out
    assert "policy init" in out
    write(file, GOOD)
    assert run(file, *arguments) == 0
    assert capsys.readouterr().out.startswith("allow  aws:s3:PutObject\n")


def test_explain_a_read_by_who_holds_the_key(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("explain", "--action", "aws:s3:ListBuckets")
    assert run(file, *arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("allow  aws:s3:ListBuckets\n  rule:     default.reads\n")
    assert "  delivery: proxy\n" in out
    assert run(file, *arguments, "--delivery", "env") == 0
    out = capsys.readouterr().out
    assert out.startswith("ask  aws:s3:ListBuckets\n  rule:     default.reads-with-credentials\n")
    assert "holds the credential itself" in out
    assert "  delivery: env\n" in out
    assert run(file, "explain", "--action", "http:GET", "--host", "api.example.org") == 0
    assert capsys.readouterr().out.startswith("allow  http:GET\n  rule:     default.web-reads\n")


def test_explain_for_programs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "explain", "--json", "--action", "aws:lambda:Invoke",
               "--parameter", "FunctionName=f") == 0  # fmt: skip
    [answer] = json.loads(capsys.readouterr().out)
    assert (answer["action"], answer["outcome"]) == ("aws:lambda:Invoke", "ask")
    assert answer["rule"] == "default.changes"
    assert answer["line"] > 1


def test_explain_a_command(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "explain", "--", "true", "--json", "-x") == 0
    out = capsys.readouterr().out
    assert out.startswith("allow  exec\n")
    assert "default.tools" in out
    assert run(file, "explain", "--", "true", "\x1b[2J") == 0
    out = capsys.readouterr().out
    assert out.startswith("deny, before any policy is asked")
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("explain",), "either --action"),
        (("explain", "--action", "exec", "--", "true"), "either --action"),
        (("explain", "--", "gh"), "no tool named 'gh'"),
        (("explain", "--action", "lambda:Invoke"), "aws:SERVICE:Operation"),
        (("explain", "--action", "aws:lambda:Invok"), "'Invoke'"),
        (("explain", "--action", "aws:s3:PutObject", "--parameter", "Bucket"), "NAME=VALUE"),
        (("explain", "--action", "aws:s3:PutObject", "--parameter", "Buckt=b"), "'Bucket'"),
    ],
)
def test_questions_without_an_answer(
    file: Path, arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(file, *arguments) == 1
    assert says in capsys.readouterr().err


def test_a_broken_policy_explains_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(file, "permit")
    assert run(file, "explain", "--action", "exec") == 1
    out, err = capsys.readouterr()
    assert not out
    assert "policy.cedar:1: error" in err


@pytest.mark.parametrize("name", [None, "deploy-only", "read-only", "teaching"])
def test_init_writes_what_check_accepts(
    file: Path, name: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(file, "init", *([name] if name else [])) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert run(file, "check") == 0
    assert not capsys.readouterr().err
    before = file.read_text()
    assert run(file, "init") == 1
    assert "there already" in capsys.readouterr().err
    assert file.read_text() == before


def test_the_program(tmp_path: Path) -> None:
    """From ``jupyter keyless`` down to the privileged half, with the person's own places."""
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(tmp_path), "HOME": str(tmp_path)}
    code = "import sys; from keyless.cli.app import main; sys.exit(main())"

    def program(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, "policy", *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert program("init", "read-only").returncode == 0
    assert (tmp_path / "keyless" / "policy.cedar").exists()
    told = program("explain", "--action", "http:POST", "--host", "example.org")
    assert told.returncode == 0
    assert told.stdout.startswith("deny  http:POST")
    assert "policy.cedar:no-changes" in told.stdout
    assert program("check").returncode == 0
    assert program("nonsense").returncode == 2
