"""``vault add --source``, bindings, the keyring's options, and ``vault test NAME``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keyless_sidecar.commands.vault import main
from keyless_sidecar.vault import DEFAULT_DELIVERY, Declaration, Entry, FileSource

SECRET = "q7Zr-Kw92_xTnB4vLm8c"
OTHER = "Hk3pWq8s-ZtYv61_NdRj"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keyless"


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes the person's configuration."""
    place = tmp_path / "config"
    place.mkdir()
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(place))
    monkeypatch.setenv("JUPYTER_NO_CONFIG", "")

    def write(text: str) -> None:
        (place / "jupyter_keyless_config.py").write_text(text)

    return write


@pytest.fixture
def vault(folder: Path, configure: object) -> Callable[..., int]:
    def run(*arguments: str, secret: str = "") -> int:
        command = ["--data-dir", str(folder), *arguments]
        if not secret:
            return main(command)
        read, write = os.pipe()
        os.write(write, secret.encode())
        os.close(write)
        try:
            return main([*command, "--from-fd", str(read)])
        finally:
            os.close(read)

    return run


def script(folder: Path, text: str) -> Path:
    path = folder / "give"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


def stored(folder: Path, name: str) -> Entry | Declaration:
    return FileSource.open(folder).fetch(name)


def test_a_reference_is_stored_listed_and_tried(
    vault: Callable[..., int], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    answer = {"AccessKeyId": "AKIAQ7ZRKW92XTNB4VLM", "SecretAccessKey": SECRET + OTHER}
    answer |= {"Expiration": end.isoformat(timespec="seconds")}
    path = script(tmp_path, f"echo '{json.dumps(answer)}'")
    argv = f"argv={json.dumps([str(path)])}"
    assert vault("add", "work", "--kind", "aws", "--source", "command", "--set", argv) == 0
    assert "vault test work tries it" in capsys.readouterr().out
    assert vault("list") == vault("test") == 0
    out = capsys.readouterr().out
    row = ["work", "aws", "aws", DEFAULT_DELIVERY["aws"], "command", "-"]
    assert row in [line.split()[:6] for line in out.splitlines()]
    assert "OK: 1 entry can be decrypted." in out
    assert vault("test", "work") == 0
    out = capsys.readouterr().out
    assert "OK: work (aws) from command, with access_key_id, secret_access_key." in out
    assert f"It ends {end.isoformat(timespec='seconds')}" in out
    assert vault("test", "work", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["ok"], facts["source"], facts["expires"]) == (
        True,
        "command",
        end.isoformat(timespec="seconds"),
    )
    script(tmp_path, f"echo {SECRET}; exit 3")
    assert vault("test", "work") == 1
    assert vault("test", "work", "--json") == 1
    said = capsys.readouterr()
    assert "failed with status 3" in said.err
    assert "failed with status 3" in json.loads(said.out)["message"]
    assert vault("test", "none") == 1
    assert vault("remove", "work") == 0
    said = capsys.readouterr()
    assert SECRET not in out + said.out + said.err


def test_a_profile_has_an_option_of_its_own(vault: Callable[..., int], folder: Path) -> None:
    add = ("add", "work", "--kind", "aws", "--source", "aws-profile", "--profile", "dev")
    assert vault(*add, "--set", "region=eu-west-1") == 0
    made = stored(folder, "work")
    assert isinstance(made, Declaration)
    assert made.plain() == {"profile": "dev", "region": "eu-west-1"}
    assert made.info.tools == ("aws",)


def test_where_it_may_be_used(
    vault: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add = ("add", "gh", "--kind", "token", "--tool", "gh", "--delivery", "proxy")
    assert vault(*add, secret=SECRET) == 1
    assert "needs the hosts" in capsys.readouterr().err
    bound = ("--host", "API.github.com", "--host", "*.ghe.example.org:8443", "--path", "/repos/")
    assert vault(*add, *bound, "--place", "basic", secret=SECRET) == 0
    info = stored(folder, "gh").info
    assert info.hosts == ("api.github.com", "*.ghe.example.org:8443")
    assert (info.paths, info.places, info.delivery) == (("/repos/",), ("basic",), "proxy")
    vault("list", "--json")
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])[0]
    assert listed["hosts"] == list(info.hosts)


def test_files_keep_their_lines(vault: Callable[..., int], folder: Path) -> None:
    content = f"machine a login al password {SECRET}\nmachine b login al password {OTHER}\n"
    add = ("add", "netrc", "--kind", "file", "--tool", "git", "--as-file", ".netrc")
    assert vault(*add, secret=content) == 0
    entry = stored(folder, "netrc")
    assert isinstance(entry, Entry)
    assert (entry.delivery, entry.file) == ("file", ".netrc")
    assert entry.fields["content"] == content.rstrip("\n")


def test_the_way_into_a_source_must_be_stored_first(
    vault: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add = ("add", "db", "--kind", "basic", "--tool", "git", "--source", "openbao", "--set")
    place = ("address=https://bao.example.org", "--set", "path=app/db", "--set")
    assert vault(*add, *place, f"token={SECRET}") == 1  # the token instead of its entry's name
    said = capsys.readouterr().err
    assert "store that one first" in said
    assert SECRET not in said
    assert not folder.exists()
    assert vault("add", "bao", "--kind", "token", "--no-tool", secret=OTHER) == 0
    assert vault(*add, *place, "token=bao") == 0
    assert stored(folder, "bao").info.tools == ()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--source", "openbao", "--set", f"secret={SECRET}"],
        ["--source", "command", "--set", f"{SECRET}"],
        ["--source", "command", "--set", f"argv={SECRET}"],
        ["--source", "command", "--set", f'argv=["{SECRET}"]'],
        ["--source", "keyring", "--set", f"kind={SECRET}"],
        ["--source", "keyring", "--set", f"{SECRET}=1"],
        ["--source", "keyring", "--field", f"value{SECRET}"],
        ["--source", "keyring", "--raw", "--set", f"service={SECRET}"],
        ["--source", "keyring", "--set", "service=a", "--set", f"service={SECRET}"],
        ["--source", "aws-ssm", "--set", "parameter=p", "--set", f"cache={SECRET}"],
        ["--source", "aws-ssm", "--set", "parameter=p", "--set", f'cache="{SECRET}"'],
        ["--profile", SECRET],
        ["--set", f"value={SECRET}"],
        ["--host", f"{SECRET}"],
        ["--path", f"{SECRET}"],
        ["--place", f"{SECRET}"],
        ["--as-file", f"/{SECRET}"],
        ["--source", SECRET],
        ["--delivery", SECRET],
        ["--keyring", f"--passphrase={SECRET}"],
        ["--value", SECRET],
        [f"--token={SECRET}"],
    ],
)
def test_no_option_takes_a_secret_and_none_is_repeated(
    vault: Callable[..., int],
    folder: Path,
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        code = vault("add", "it", "--kind", "token", "--tool", "gh", *arguments)
    except SystemExit as ended:
        code = int(str(ended.code))
    assert code in (1, 2)
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    assert len(said.err.splitlines()) == 1
    assert not folder.exists()


def test_declared_entries_are_listed_and_tried(
    vault: Callable[..., int],
    configure: Callable[[str], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = script(tmp_path, f"echo {SECRET}")
    entry: dict[str, Any] = {"kind": "token", "source": "command", "argv": [str(path)]}
    configure(f"c.Vault.entries = {{'plane': {entry!r}}}")
    assert vault("list") == 0
    row = ["plane", "token", "-", DEFAULT_DELIVERY["token"], "command"]
    assert row in [line.split()[:5] for line in capsys.readouterr().out.splitlines()]
    assert vault("test", "plane") == 0
    assert "It has no end that its source tells." in capsys.readouterr().out
    configure(f"c.Vault.entries = {{'plane': { ({**entry, 'argw': []})!r}}}")
    assert vault("list") == 1
    assert "has only these settings" in capsys.readouterr().err
    configure("c.Vault.entrys = {}")
    assert vault("list") == 1
    assert "c.Vault.entrys does not exist" in capsys.readouterr().err


def test_a_keyring_for_a_vault_that_is_there(
    vault: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vault("add", "gh", "--kind", "token", "--tool", "gh", secret=SECRET) == 0
    assert vault("add", "x", "--kind", "token", "--tool", "gh", "--keyring", secret=OTHER) == 1
    assert "--keyring is for a new one" in capsys.readouterr().err
