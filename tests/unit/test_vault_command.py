"""``vault add|list|remove|test``: where secrets come from, and that none comes from argv."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from keyless_sidecar.commands.vault import main
from keyless_sidecar.vault import DEFAULT_DELIVERY, FileSource

SECRET = "q7Zr-Kw92_xTnB4vLm8c"
OTHER = "Hk3pWq8s-ZtYv61_NdRj"
PASSPHRASE = "correct horse battery"
AWS = {"access_key_id": "AKIAQ7ZRKW92XTNB4VLM", "secret_access_key": SECRET + OTHER}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keyless"


@pytest.fixture
def vault(folder: Path) -> Callable[..., int]:
    def run(*arguments: str, secret: str | bytes = "", passphrase: str | None = None) -> int:
        command = ["--data-dir", str(folder), *arguments]
        opened = []
        for option, text in (("--from-fd", secret), ("--passphrase-fd", passphrase)):
            if text:
                read, write = os.pipe()
                os.write(write, text if isinstance(text, bytes) else text.encode())
                os.close(write)
                command += [option, str(read)]
                opened.append(read)
        try:
            return main(command)
        finally:
            for fd in opened:
                os.close(fd)

    return run


def fields(folder: Path, name: str) -> dict[str, str]:
    return dict(FileSource.open(folder).fetch(name).fields)


def test_add_list_test_remove(
    vault: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vault("add", "prod", "--kind", "aws", secret=json.dumps(AWS)) == 0
    assert vault("add", "gh", "--kind", "token", "--tool", "gh", secret=OTHER + "\n") == 0
    assert vault("list") == vault("test") == 0
    out = capsys.readouterr().out
    assert "vault.key: keep a copy" in out
    assert f"prod  aws    aws    {DEFAULT_DELIVERY['aws']}" in out
    assert "OK: 2 entries can be decrypted." in out
    assert fields(folder, "prod") == AWS
    assert fields(folder, "gh") == {"value": OTHER}
    assert vault("remove", "prod") == 0
    assert vault("list", "--json") == 0
    (left,) = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (left["name"], left["tools"]) == ("gh", ["gh"])
    for value in (*AWS.values(), OTHER):
        assert value not in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "gh", "--kind", "token", "--tool", "gh", "--secret", SECRET],
        ["add", "gh", "--kind", "token", "--tool", "gh", f"--value={SECRET}"],
        ["add", "gh", "--kind", "token", "--tool", "gh", SECRET],
        ["add", "gh", "--kind", "token", "--tool", "gh", f"--from-stdin={SECRET}"],
        ["add", "gh", "--kind", "token", "--tool", "gh", "--passphrase", SECRET],
        ["add", "gh", "--kind", "token", "--tool", "gh", f"--passphrase={SECRET}"],
        ["add", "gh", "--kind", "token", "--tool", "gh", "--from-fd", SECRET],
        ["add", "gh", "--kind", SECRET],
        [SECRET],
    ],
)
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(
    vault: Callable[..., int],
    folder: Path,
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        vault(*arguments)
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    assert len(said.err.splitlines()) == 1
    assert not folder.exists()


def test_the_refusal_says_what_to_do_instead(
    vault: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        vault("add", "gh", "--kind", "token", "--tool", "gh", "--secret", SECRET)
    assert "never taken from the command line" in (said := capsys.readouterr().err)
    assert "--from-stdin" in said
    with pytest.raises(SystemExit):
        vault("add", "gh", "--kind", "tokne")
    assert "choose from" in capsys.readouterr().err


def test_rotation_needs_to_be_said(
    vault: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add = ("add", "gh", "--kind", "token", "--tool", "gh")
    assert vault(*add, secret=SECRET) == 0
    assert vault(*add, secret=OTHER) == 1
    assert "--replace rotates it" in capsys.readouterr().err
    assert fields(folder, "gh") == {"value": SECRET}
    assert vault(*add, "--replace", secret=OTHER) == 0
    assert fields(folder, "gh") == {"value": OTHER}


@pytest.mark.parametrize(
    ("kind", "text", "raw", "stored"),
    [
        ("token", SECRET, False, {"value": SECRET}),
        ("token", json.dumps({"value": SECRET}), False, {"value": SECRET}),
        ("token", f"{SECRET}\r\n", False, {"value": SECRET}),
        ("token", json.dumps({"key": SECRET}), False, {"value": json.dumps({"key": SECRET})}),
        ("generic", json.dumps({"a": SECRET, "b": OTHER}), False, {"a": SECRET, "b": OTHER}),
        ("generic", SECRET, False, {"value": SECRET}),
        ("generic", json.dumps({"a": SECRET}), True, {"value": json.dumps({"a": SECRET})}),
        (
            "basic",
            json.dumps({"username": "al", "password": SECRET}),
            False,
            {"username": "al", "password": SECRET},
        ),
    ],
)
def test_what_is_read_becomes_fields(
    vault: Callable[..., int], folder: Path, kind: str, text: str, raw: bool, stored: dict[str, str]
) -> None:
    more = ["--raw"] if raw else []
    assert vault("add", "it", "--kind", kind, "--tool", "t", *more, secret=text) == 0
    assert fields(folder, "it") == stored


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("aws", SECRET, "JSON object"),
        ("aws", json.dumps({"access_key_id": AWS["access_key_id"]}), "needs secret_access_key"),
        ("token", b"\xff\xfe" + SECRET.encode(), "no UTF-8"),
        ("token", "\n", "isn't empty"),
        ("token", "abc", "can't be kept"),
    ],
)
def test_what_makes_no_entry_is_refused_in_one_line(
    vault: Callable[..., int],
    folder: Path,
    kind: str,
    text: str | bytes,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert vault("add", "it", "--kind", kind, "--tool", "t", secret=text) == 1
    error = capsys.readouterr().err
    assert said in error
    assert SECRET not in error
    assert len(error.splitlines()) == 1
    assert not (folder / "vault.json").exists()


def test_a_tool_must_be_named(
    vault: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert vault("add", "gh", "--kind", "token", secret=SECRET) == 1
    assert "--tool" in capsys.readouterr().err


def test_descriptors_that_give_nothing(
    vault: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add = ("add", "gh", "--kind", "token", "--tool", "gh")
    assert vault(*add, "--from-fd", "987") == 1
    assert "Bad file descriptor" in capsys.readouterr().err
    assert vault(*add, "--from-fd", "0", "--passphrase-fd", "0") == 1
    assert "same descriptor" in capsys.readouterr().err
    with (folder.parent / "big").open("wb+") as big:
        big.truncate(2 * 1024 * 1024)
        assert vault(*add, "--from-fd", str(big.fileno())) == 1
    assert "longer than" in capsys.readouterr().err
    leader, follower = os.openpty()
    try:
        assert vault(*add, "--from-fd", str(follower)) == 1
    finally:
        os.close(leader)
        os.close(follower)
    assert "hidden prompt" in capsys.readouterr().err


def test_a_passphrase_vault(
    vault: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add = ("add", "gh", "--kind", "token", "--tool", "gh")
    assert vault(*add, secret=SECRET, passphrase=PASSPHRASE) == 0
    assert not (folder / "vault.key").exists()
    assert vault("test", passphrase=PASSPHRASE + "\n") == 0
    assert vault("test", passphrase="another passphrase") == 1
    assert vault("list", "--no-prompt") == 1
    assert "none was given" in capsys.readouterr().err
    assert vault("test", "--json", "--no-prompt") == 1
    assert json.loads(capsys.readouterr().out)["state"] == "locked"


def test_states_for_programs(
    vault: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def state() -> str:
        vault("test", "--json", "--no-prompt")
        return str(json.loads(capsys.readouterr().out)["state"])

    assert vault("test") == vault("list") == 0
    assert "no vault yet" in (said := capsys.readouterr().out)
    assert "empty" in said
    assert state() == "absent"
    vault("add", "gh", "--kind", "token", "--tool", "gh", secret=SECRET)
    capsys.readouterr()
    assert state() == "open"
    (folder / "vault.json").write_text("{}")
    assert state() == "unusable"
    assert vault("test") == 1
    assert "altered" in capsys.readouterr().err


# ---------------------------------------------------------------------------- AWS profiles


@pytest.fixture
def aws_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(home))
    (home / ".aws" / "credentials").write_text(
        f"[static]\naws_access_key_id = {AWS['access_key_id']}\n"
        f"aws_secret_access_key = {AWS['secret_access_key']}\n"
    )
    (home / ".aws" / "config").write_text(
        "[profile static]\nregion = eu-west-1\n"
        f"[profile program]\ncredential_process = /usr/bin/touch {tmp_path}/ran\n"
        "[profile role]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = static\n"
    )
    return home


def test_a_profile_with_static_keys_is_copied(
    vault: Callable[..., int], folder: Path, aws_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOTHEROTHEROTHER1")
    assert vault("add", "prod", "--kind", "aws", "--from-profile", "static") == 0
    assert fields(folder, "prod") == {**AWS, "region": "eu-west-1"}


@pytest.mark.parametrize("name", ["aws", "work"])
def test_a_profile_needs_no_more_words(
    vault: Callable[..., int], folder: Path, aws_home: Path, name: str
) -> None:
    assert vault("add", name, "--from-profile", "static") == 0
    assert fields(folder, name)["access_key_id"] == AWS["access_key_id"]


def test_a_kind_is_known_from_a_name_that_says_it_and_else_asked_for(
    vault: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vault("add", "aws", secret=json.dumps(AWS)) == 0
    assert "%secure_exec aws sts get-caller-identity" in capsys.readouterr().out
    assert fields(folder, "aws") == AWS
    assert vault("add", SECRET, secret=SECRET) == 1
    said = capsys.readouterr().err
    assert "--kind aws|" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("kind", "profile", "said"),
    [
        ("aws", "program", "--source aws-profile --profile program"),
        ("aws", "role", "no static keys"),
        ("aws", "none", "no AWS profile none (there are: program, role, static)"),
        ("token", "static", "goes with --kind aws"),
    ],
)
def test_other_profiles_are_refused_and_nothing_runs(
    vault: Callable[..., int],
    aws_home: Path,
    kind: str,
    profile: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert vault("add", "x", "--kind", kind, "--tool", "t", "--from-profile", profile) == 1
    assert said in capsys.readouterr().err
    assert not (aws_home.parent / "ran").exists()


def test_a_broken_aws_configuration(
    vault: Callable[..., int], aws_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (aws_home / ".aws" / "credentials").write_text("no ini at all\n")
    assert vault("add", "x", "--kind", "aws", "--from-profile", "static") == 1
    assert "can't be read" in capsys.readouterr().err
