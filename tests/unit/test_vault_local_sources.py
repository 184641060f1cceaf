"""Sources ``command`` and ``keyring``, and for how long what was fetched is used again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.sidecar import eventually

from keyless_sidecar.vault import (
    Entry,
    MemorySource,
    OsKeyring,
    Surroundings,
    Vault,
    VaultError,
    parse_declaration,
)
from keyless_sidecar.vault.program import run_program
from keyless_sidecar.vault.sources import ConfigSource

SECRET = "q7Zr-Kw92_xTnB4vLm8c"
OTHER = "Hk3pWq8s-ZtYv61_NdRj"


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.time


def script(folder: Path, text: str) -> str:
    path = folder / "give"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def command(argv: list[str], **changes: Any) -> dict[str, Any]:
    return {"kind": "token", "source": "command", "argv": argv, "tools": ["gh"], **changes}


def vault_of(entries: dict[str, dict[str, Any]], around: Surroundings, *kept: Entry) -> Vault:
    declared = [parse_declaration(name, each) for name, each in entries.items()]
    return Vault([MemorySource(kept), ConfigSource(declared)], around)


def fetch(entry: dict[str, Any], around: Surroundings) -> Entry:
    return vault_of({"it": entry}, around).fetch("it")


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    return Surroundings(home=tmp_path)


def test_a_program_runs_with_its_arguments_and_nothing_else(
    tmp_path: Path, around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    argv = [script(tmp_path, 'env > $HOME/env; pwd >> $HOME/env; printf %s "$1"'), "$(id) `id` ;x"]
    entry = fetch(command(argv, environment={"PLANE": "a b"}), around)
    assert entry.fields["value"] == "$(id) `id` ;x"
    assert entry.source == "command"
    lines = set((tmp_path / "env").read_text().splitlines())
    names = {line.partition("=")[0] for line in lines}
    assert names <= {"PATH", "HOME", "LANG", "USER", "LOGNAME", "PLANE", "PWD", "/"}
    assert {"PATH=/usr/bin:/bin", f"HOME={tmp_path}", "PLANE=a b", "/"} <= lines


def test_its_json_gives_fields_and_an_end(tmp_path: Path, around: Surroundings) -> None:
    answer = {
        "AccessKeyId": "AKIAQ7ZRKW92XTNB4VLM",
        "SecretAccessKey": SECRET + OTHER,
        "Expiration": "2100-01-01T00:00:00Z",
    }
    argv = [script(tmp_path, f"echo '{json.dumps(answer)}'")]
    entry = fetch(command(argv, kind="aws"), around)
    assert entry.fields["secret_access_key"] == SECRET + OTHER
    assert entry.expires == datetime(2100, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "changes", "said"),
    [
        (f"echo {SECRET}; echo {SECRET} >&2; exit 4", {}, "failed with status 4"),
        (f"echo {SECRET}", {"format": "json"}, "no JSON object"),
        (f"printf '\\377{SECRET}'", {}, "no UTF-8"),
        (f"yes {SECRET}", {}, "printed more than"),
        (f"echo {SECRET}; sleep 600", {"timeout": 0.2}, "took longer than 0.2 seconds"),
        ("echo abc", {}, "can't be kept"),
        ("true", {}, "isn't empty"),
        (f'echo \'{{"value": "{SECRET}", "expires": 1}}\'', {"format": "json"}, "has ended"),
    ],
)
def test_what_goes_wrong_is_said_and_shows_nothing(
    tmp_path: Path,
    around: Surroundings,
    text: str,
    changes: dict[str, Any],
    said: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(VaultError, match=said) as caught:
        fetch(command([script(tmp_path, text)], **changes), around)
    assert SECRET not in str(caught.value)
    assert SECRET not in "".join(capfd.readouterr())


def test_its_children_end_with_it(tmp_path: Path, around: Surroundings) -> None:
    # The child holds the pipe open; the program's own end counts.
    argv = [script(tmp_path, f"sleep 600 & echo $! > $HOME/pid; echo {SECRET}")]
    assert fetch(command(argv), around).fields["value"] == SECRET
    pid = int((tmp_path / "pid").read_text())
    try:
        assert eventually(lambda: state(pid) in ("Z", ""))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def state(pid: int) -> str:
    """Of a process, by its letter; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_program_that_others_can_change_is_refused(tmp_path: Path, around: Surroundings) -> None:
    path = script(tmp_path, f"echo {SECRET}")
    Path(path).chmod(0o722)
    with pytest.raises(VaultError, match="others can change"):
        fetch(command([path]), around)
    Path(path).chmod(0o700)
    tmp_path.chmod(0o777)
    with pytest.raises(VaultError, match="others can change"):
        fetch(command([path]), around)
    tmp_path.chmod(0o700)
    link = tmp_path / "workspace" / "link"
    link.parent.mkdir()
    link.symlink_to(path)
    inside = Surroundings(home=tmp_path, workspace=str(tmp_path))
    with pytest.raises(VaultError, match="lies in the workspace"):
        fetch(command([str(link)]), inside)
    with pytest.raises(VaultError, match="can't be started: No such file"):
        fetch(command([str(tmp_path / "none")]), around)


def test_nothing_is_read_twice_unless_a_person_says_so(tmp_path: Path) -> None:
    clock = Clock()
    around = Surroundings(home=tmp_path, now=clock)
    argv = [script(tmp_path, f"echo x >> $HOME/runs; echo {SECRET}")]

    def runs() -> int:
        return len((tmp_path / "runs").read_text().split())

    vault = vault_of({"each": command(argv), "kept": command(argv, cache=60)}, around)
    vault.fetch("each")
    vault.fetch("each")
    assert runs() == 2
    assert vault.ready("kept") is None
    vault.fetch("kept")
    assert vault.ready("kept") is not None
    vault.fetch("kept")
    assert runs() == 3
    clock.time += timedelta(seconds=61)
    assert vault.ready("kept") is None
    vault.fetch("kept")
    assert runs() == 4


def test_values_with_an_end_are_renewed_before_it(tmp_path: Path) -> None:
    clock = Clock()
    around = Surroundings(home=tmp_path, now=clock)
    end = (clock.time + timedelta(hours=1)).timestamp()
    answer = json.dumps({"value": SECRET, "expires": end})
    argv = [script(tmp_path, f"echo x >> $HOME/runs; echo '{answer}'")]
    vault = vault_of({"it": command(argv, format="json")}, around)
    vault.fetch("it")
    clock.time += timedelta(minutes=54)
    assert vault.ready("it") is not None
    clock.time += timedelta(minutes=2)
    assert vault.ready("it") is None
    vault.fetch("it")  # the program gives the same again, and it is good still
    assert (tmp_path / "runs").read_text() == "x\nx\n"
    script(tmp_path, "exit 1")
    assert vault.fetch("it").fields["value"] == SECRET
    clock.time += timedelta(minutes=4)
    with pytest.raises(VaultError, match="status 1"):
        vault.fetch("it")


def test_sessions_long_ended_are_not_searched_for_any_more(tmp_path: Path) -> None:
    clock = Clock()
    around = Surroundings(home=tmp_path, now=clock)

    def give(value: str) -> None:
        end = (clock.time + timedelta(hours=1)).timestamp()
        script(tmp_path, f"echo '{json.dumps({'value': value, 'expires': end})}'")

    give(SECRET)
    vault = vault_of({"it": command([str(tmp_path / "give")], format="json")}, around)
    vault.fetch("it")
    clock.time += timedelta(hours=1, minutes=30)
    give(OTHER)
    vault.fetch("it")
    assert {value for _, value in vault.secret_values()} == {SECRET.encode(), OTHER.encode()}
    clock.time += timedelta(minutes=31)
    give(OTHER)
    vault.fetch("it")
    assert {value for _, value in vault.secret_values()} == {OTHER.encode()}


def test_entries_that_need_each_other(around: Surroundings) -> None:
    def parameter(through: str) -> dict[str, Any]:
        return {"kind": "aws", "source": "aws-ssm", "parameter": "p", "credential": through}

    vault = vault_of({"a": parameter("b"), "b": parameter("a"), "c": parameter(SECRET)}, around)
    with pytest.raises(VaultError, match="needed to fetch itself"):
        vault.fetch("a")
    with pytest.raises(VaultError, match="isn't in the vault") as caught:
        vault.fetch("c")
    assert SECRET not in str(caught.value)  # somebody wrote the secret where its name belongs


def test_a_keyring_without_service_or_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
    ring = {"kind": "token", "source": "keyring", "service": "s", "account": "a"}
    with pytest.raises(VaultError, match="keyring can't be used"):
        fetch(ring, Surroundings(keyring=OsKeyring()))
    with pytest.raises(VaultError, match="keyring can't be used"):
        fetch(ring, Surroundings(keyring=OsKeyring(backend="keyless_sidecar.nothing.Keyring")))
    monkeypatch.setitem(sys.modules, "keyring.core", None)
    with pytest.raises(VaultError, match=r"pip install 'keyless\[keyring\]'"):
        fetch(ring, Surroundings(keyring=OsKeyring()))


def test_a_program_never_gets_our_descriptors(tmp_path: Path, around: Surroundings) -> None:
    read, write = os.pipe()
    try:
        listing = run_program("it", ["/bin/ls", "/proc/self/fd"], around, timeout=10)
    finally:
        os.close(read)
        os.close(write)
    assert listing.split() == [b"0", b"1", b"2", b"3"]  # 3 is the listing's own
