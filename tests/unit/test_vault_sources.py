"""The vault as the sidecar uses it: memory and file behind one face."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyless_kernel.confine.settings import MemoryCredential
from keyless_sidecar.vault import Entry, FileSource, MemorySource, Vault, VaultError, open_vault

SECRET = "q7Zr-Kw92_xTnB4vLm8c"
OTHER = "Hk3pWq8s-ZtYv61_NdRj"


def token(name: str, value: str = SECRET) -> Entry:
    return Entry(name, "token", {"value": value}, ("gh",), source="memory")


def test_both_sources_are_seen(tmp_path: Path) -> None:
    FileSource(tmp_path / "k").add(token("stored", OTHER))
    host = MemoryCredential("given", "basic", {"username": "al", "password": SECRET}, ["git"])
    vault = open_vault(tmp_path / "k", [host])
    assert [(i.name, i.source) for i in vault.infos()] == [("given", "memory"), ("stored", "file")]
    assert vault.fetch("given").fields["password"] == SECRET
    assert vault.fetch("given").tools == ("git",)
    assert vault.fetch("stored").fields["value"] == OTHER
    assert vault.secret_values() == [("given", SECRET.encode()), ("stored", OTHER.encode())]


def test_a_name_in_two_sources_is_an_error(tmp_path: Path) -> None:
    FileSource(tmp_path / "k").add(token("same", OTHER))
    with pytest.raises(VaultError, match=r"two sources \(memory and file\)"):
        open_vault(tmp_path / "k", [MemoryCredential("same", "token", {"value": SECRET}, ["gh"])])


def test_a_name_that_becomes_double_is_an_error_at_once(tmp_path: Path) -> None:
    vault = open_vault(tmp_path / "k", [MemoryCredential("same", "token", {"value": SECRET})])
    FileSource(tmp_path / "k").add(token("same", OTHER))
    with pytest.raises(VaultError, match="two sources"):
        vault.fetch("same")


def test_a_damaged_file_stops_everything(tmp_path: Path) -> None:
    FileSource(tmp_path / "k").add(token("stored"))
    vault = open_vault(tmp_path / "k", [MemoryCredential("given", "token", {"value": OTHER})])
    (tmp_path / "k" / "vault.json").write_text("{}")
    with pytest.raises(VaultError):
        vault.fetch("given")
    with pytest.raises(VaultError):
        open_vault(tmp_path / "k")


def test_an_unknown_name() -> None:
    with pytest.raises(VaultError, match="no credential 'x"):
        Vault([MemorySource()]).fetch("x\n")


def test_revision_tells_of_every_change() -> None:
    memory = MemorySource([token("one")])
    vault = Vault([memory])
    seen = {vault.revision()}
    memory.add(token("two", OTHER))
    seen.add(vault.revision())
    memory.add(token("one", OTHER), replace=True)
    seen.add(vault.revision())
    memory.remove("two")
    seen.add(vault.revision())
    assert len(seen) == 4


def test_a_host_cannot_register_weak_or_double_values() -> None:
    with pytest.raises(VaultError, match="can't be kept"):
        MemorySource([token("one", "abc")])
    with pytest.raises(VaultError, match="registered twice"):
        MemorySource([token("one"), token("one")])
    with pytest.raises(VaultError, match="no credential"):
        MemorySource().remove("one")


def test_nothing_shows_a_value() -> None:
    memory = MemorySource([token("one")])
    assert SECRET not in repr(memory) + repr(Vault([memory])) + repr(memory.fetch("one"))
