"""``jupyter keyless`` as a person runs it, at a pipe and at a terminal."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keyless.cli import app, demo, privileged
from keyless_sidecar.audit import AuditLog
from keyless_sidecar.vault import FileSource

SECRET = "q7Zr-Kw92_xTnB4vLm8c"
OTHER = "Hk3pWq8s-ZtYv61_NdRj"
PASSPHRASE = "correct horse battery"
PROGRAM = [sys.executable, "-c", "import sys; from keyless.cli.app import main; sys.exit(main())"]

# Becomes the leader of a session on a terminal, then the program.
AT_TERMINAL = """
import os, sys
os.setsid()
fd = os.open(sys.argv[1], os.O_RDWR)
for number in range(3):
    os.dup2(fd, number)
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "JUPYTER_DATA_DIR": str(tmp_path / "jupyter"), "HOME": str(tmp_path)}


def run(
    environment: dict[str, str], *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def at_terminal(
    environment: dict[str, str], *arguments: str, answers: list[str]
) -> tuple[int, str]:
    """Run the program at a terminal and answer its prompts: its status, and all that it showed."""
    leader, follower = os.openpty()
    command = [sys.executable, "-c", AT_TERMINAL, os.ttyname(follower), *PROGRAM, *arguments]
    shown, waiting = b"", list(answers)
    deadline = time.monotonic() + 30
    try:
        with subprocess.Popen(command, env=environment) as child:
            while True:
                ended = child.poll() is not None
                if select.select([leader], [], [], 0 if ended else 0.1)[0]:
                    shown += os.read(leader, 4096)
                elif ended:
                    break
                elif time.monotonic() > deadline:
                    child.kill()
                elif waiting and shown.endswith(b": "):
                    shown += b"|"
                    os.write(leader, waiting.pop(0).encode() + b"\n")
    finally:
        os.close(leader)
        os.close(follower)
    return child.returncode, shown.decode()


def test_a_secret_from_a_pipe(environment: dict[str, str], tmp_path: Path) -> None:
    added = run(
        environment, "vault", "add", "gh", "--kind", "token", "--tool", "gh", "--from-stdin",
        stdin=SECRET,
    )  # fmt: skip
    assert (added.returncode, added.stderr) == (0, "")
    folder = tmp_path / "jupyter" / "keyless"
    assert FileSource.open(folder).fetch("gh").fields["value"] == SECRET
    listed = run(environment, "vault", "list")
    assert "gh    token  gh     env" in listed.stdout
    assert SECRET not in added.stdout + listed.stdout
    assert run(environment, "vault", "test").stdout == "OK: 1 entry can be decrypted.\n"


def test_a_secret_from_a_descriptor(environment: dict[str, str], tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, SECRET.encode())
    os.close(write)
    try:
        subprocess.run(
            [
                *PROGRAM,
                *["vault", "add", "gh", "--kind", "token", "--tool", "gh", "--from-fd"],
                str(read),
            ],
            env=environment,
            pass_fds=[read],
            check=True,
        )
    finally:
        os.close(read)
    folder = tmp_path / "jupyter" / "keyless"
    assert FileSource.open(folder).fetch("gh").fields["value"] == SECRET


def test_a_secret_on_the_command_line_is_refused(environment: dict[str, str]) -> None:
    answer = run(
        environment, "vault", "add", "gh", "--kind", "token", "--tool", "gh", "--secret", SECRET
    )
    assert answer.returncode == 2
    assert "never taken from the command line" in answer.stderr
    assert SECRET not in answer.stdout + answer.stderr


def test_prompts_show_no_secret(environment: dict[str, str], tmp_path: Path) -> None:
    code, shown = at_terminal(
        environment,
        *("vault", "add", "prod", "--kind", "basic", "--tool", "git", "--passphrase"),
        answers=[PASSPHRASE, PASSPHRASE, "alice", SECRET],
    )
    assert code == 0, shown
    assert "alice" in shown
    assert SECRET not in shown
    assert PASSPHRASE not in shown
    folder = tmp_path / "jupyter" / "keyless"
    entry = FileSource.open(folder, PASSPHRASE).fetch("prod")
    assert dict(entry.fields) == {"username": "alice", "password": SECRET}
    code, shown = at_terminal(environment, "vault", "test", answers=[PASSPHRASE])
    assert (code, "OK: 1 entry" in shown) == (0, True)
    code, shown = at_terminal(environment, "vault", "test", answers=["wrong passphrase"])
    assert (code, "not the one" in shown) == (1, True)


def test_prompts_for_aws_and_generic(environment: dict[str, str], tmp_path: Path) -> None:
    code, shown = at_terminal(
        environment,
        *("vault", "add", "prod", "--kind", "aws"),
        answers=["AKIAQ7ZRKW92XTNB4VLM", SECRET + OTHER, "", "eu-west-1"],
    )
    assert code == 0, shown
    code, shown = at_terminal(
        environment, *("vault", "add", "g", "--kind", "generic", "--tool", "x"), answers=[OTHER]
    )
    assert code == 0, shown
    source = FileSource.open(tmp_path / "jupyter" / "keyless")
    assert source.fetch("prod").fields["region"] == "eu-west-1"
    assert "session_token" not in source.fetch("prod").fields
    assert dict(source.fetch("g").fields) == {"value": OTHER}


def test_two_passphrases_that_differ(environment: dict[str, str], tmp_path: Path) -> None:
    code, shown = at_terminal(
        environment,
        *("vault", "add", "prod", "--kind", "token", "--tool", "x", "--passphrase"),
        answers=[PASSPHRASE, PASSPHRASE + "!"],
    )
    assert (code, "differ" in shown) == (1, True)
    assert not (tmp_path / "jupyter").exists()


def test_without_a_terminal_there_is_no_prompt(environment: dict[str, str]) -> None:
    answer = subprocess.run(
        [*PROGRAM, "vault", "add", "gh", "--kind", "token", "--tool", "gh"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        timeout=60,
    )
    assert answer.returncode == 1
    assert "no terminal to ask at" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_the_privileged_half_takes_no_code_from_around_it(
    environment: dict[str, str], tmp_path: Path
) -> None:
    evil = tmp_path / "evil"
    evil.mkdir()
    for name in ("keyless_sidecar", "cryptography", "sitecustomize"):
        (evil / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write({name!r})")
    code = (
        "import os, sys; sys.path = [p for p in sys.path if 'evil' not in p];"
        "from keyless.cli.app import main; sys.exit(main(['vault', 'list']))"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=evil, check=True, timeout=60,
                   env={**environment, "PYTHONPATH": str(evil)})  # fmt: skip
    assert not (tmp_path / "ran").exists()


def test_audit_goes_to_the_privileged_half(environment: dict[str, str]) -> None:
    assert run(environment, "audit", "verify").stdout == "There are no audit files.\n"


def test_the_configured_folders_are_used(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "jupyter_keyless_config.py").write_text(
        f"c.Vault.folder = {str(tmp_path / 'v')!r}\nc.Audit.folder = {str(tmp_path / 'a')!r}\n"
    )
    environment["JUPYTER_CONFIG_DIR"] = str(tmp_path / "config")
    AuditLog.open(tmp_path / "a", "kernel-1", {}).close()
    command = ["vault", "add", "gh", "--kind", "token", "--tool", "gh", "--from-stdin"]
    assert run(environment, *command, stdin=SECRET).returncode == 0
    assert FileSource.open(tmp_path / "v").fetch("gh").fields["value"] == SECRET
    assert "kernel-1" in run(environment, "audit", "verify").stdout
    assert not (tmp_path / "jupyter").exists()


def test_a_broken_configuration_stops_the_command(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "jupyter_keyless_config.py").write_text("1 +\n")
    environment["JUPYTER_CONFIG_DIR"] = str(tmp_path / "config")
    for command in (["vault", "list"], ["audit", "show"]):
        answer = run(environment, *command)
        assert answer.returncode == 1
        assert "jupyter_keyless_config.py can't be used" in answer.stderr
        assert len(answer.stderr.splitlines()) == 1


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in (([], 2), (["nothing"], 2), (["--help"], 0), (["--version"], 0)):
        with pytest.raises(SystemExit) as caught:
            app.main(arguments)
        assert caught.value.code == code
    assert "doctor" in capsys.readouterr().out


def test_an_interrupt_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(command: str, arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(privileged, "run", interrupt)
    assert app.main(["vault", "list"]) == 130


def test_the_demo_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "keyless.localaws.demo", None)
    assert demo.main([]) == 1
    assert "keyless[demo]" in capsys.readouterr().err
