"""The vault on disk: nothing readable in it, private, locked without its key, safe to share."""

from __future__ import annotations

import base64
import json
import os
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keyless_sidecar.vault import Entry, FileSource, VaultError, VaultLocked

SECRET = "q7Zr-Kw92_xTnB4vLm8c"
OTHER = "Hk3pWq8s-ZtYv61_NdRj"
PASSPHRASE = "correct horse battery"


def token(name: str = "gh", value: str = SECRET) -> Entry:
    return Entry(name, "token", {"value": value}, ("gh",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "share" / "keyless"


@pytest.fixture
def filled(folder: Path) -> Path:
    FileSource(folder).add(token())
    return folder


def spellings(value: str) -> list[bytes]:
    raw = value.encode()
    shifted = [base64.b64encode(bytes(shift) + raw)[4:-4] for shift in range(3)]
    return [
        raw,
        raw[::-1],
        raw.hex().encode(),
        raw.hex().upper().encode(),
        base64.b32encode(raw)[:-8],
        urllib.parse.quote(value, safe="").encode(),
        value.encode("utf-16-le"),
        *shifted,
        *(text.translate(bytes.maketrans(b"+/", b"-_")) for text in shifted),
    ]


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_no_file_holds_the_value_in_any_spelling(folder: Path, passphrase: str | None) -> None:
    FileSource(folder).add(token(), passphrase=passphrase)
    held = b"\n".join(file.read_bytes() for file in folder.iterdir())
    for spelling in spellings(SECRET):
        assert spelling not in held
    assert PASSPHRASE.encode() not in held


def test_files_and_folder_are_private(filled: Path) -> None:
    assert filled.stat().st_mode & 0o777 == 0o700
    for file in filled.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(file.name for file in filled.iterdir()) == [
        "vault.json",
        "vault.key",
        "vault.lock",
    ]


def test_an_entry_comes_back(filled: Path) -> None:
    source = FileSource.open(filled)
    (info,) = source.names()
    assert (info.name, info.kind, info.tools, info.source) == ("gh", "token", ("gh",), "file")
    assert source.fetch("gh").fields["value"] == SECRET
    assert SECRET not in repr(source)


def test_no_vault_is_an_empty_source(folder: Path) -> None:
    source = FileSource.open(folder)
    assert source.names() == []
    assert source.revision() == source.method == ""
    assert not folder.exists()
    with pytest.raises(VaultError, match="no credential gh"):
        source.fetch("gh")
    with pytest.raises(VaultError, match="no vault"):
        source.remove("gh")
    FileSource(folder).add(token())
    assert source.fetch("gh").fields["value"] == SECRET


# ---------------------------------------------------------------------------- passphrase and key


def test_a_passphrase_opens_only_with_itself(folder: Path) -> None:
    FileSource(folder).add(token(), passphrase=PASSPHRASE)
    assert not (folder / "vault.key").exists()
    assert FileSource.open(folder, PASSPHRASE).fetch("gh").fields["value"] == SECRET
    with pytest.raises(VaultLocked, match="none was given"):
        FileSource.open(folder)
    with pytest.raises(VaultLocked, match="not the one") as caught:
        FileSource.open(folder, PASSPHRASE + "!")
    assert PASSPHRASE not in str(caught.value)


def test_a_locked_vault_takes_no_entries(folder: Path) -> None:
    FileSource(folder).add(token(), passphrase=PASSPHRASE)
    with pytest.raises(VaultLocked):
        FileSource(folder).add(token("two"))
    with pytest.raises(VaultLocked):
        FileSource(folder).remove("gh")


def test_a_short_passphrase_makes_no_vault(folder: Path) -> None:
    with pytest.raises(VaultError, match="12 characters"):
        FileSource(folder).add(token(), passphrase="short")
    assert not (folder / "vault.json").exists()


def test_without_its_key_file_the_vault_is_locked(filled: Path) -> None:
    (filled / "vault.key").unlink()
    with pytest.raises(VaultLocked, match="is gone"):
        FileSource.open(filled)


def test_another_key_file_does_not_fit(filled: Path) -> None:
    (filled / "vault.key").write_bytes(base64.b64encode(bytes(32)))
    with pytest.raises(VaultLocked, match="another vault's"):
        FileSource.open(filled)


def test_a_key_without_a_vault_is_kept(filled: Path) -> None:
    key = (filled / "vault.key").read_bytes()
    (filled / "vault.json").unlink()
    FileSource(filled).add(token())
    assert (filled / "vault.key").read_bytes() == key


# ---------------------------------------------------------------------------- while a sidecar runs


def test_rotation_and_removal_take_effect_without_a_restart(filled: Path) -> None:
    running, person = FileSource.open(filled), FileSource.open(filled)
    first = running.revision()
    with pytest.raises(VaultError, match="already"):
        person.add(token(value=OTHER))
    person.add(token(value=OTHER), replace=True)
    assert running.fetch("gh").fields["value"] == OTHER
    assert running.revision() != first
    person.remove("gh")
    with pytest.raises(VaultError, match="no credential gh"):
        running.fetch("gh")
    assert running.names() == []


def test_a_vault_made_anew_is_opened_with_its_new_key(filled: Path) -> None:
    running = FileSource.open(filled)
    for name in ("vault.json", "vault.key"):
        (filled / name).unlink()
    FileSource(filled).add(token(value=OTHER))
    assert running.fetch("gh").fields["value"] == OTHER


def test_a_vault_that_gets_a_passphrase_is_locked(filled: Path) -> None:
    running = FileSource.open(filled)
    (filled / "vault.json").unlink()
    FileSource(filled).add(token(), passphrase=PASSPHRASE)
    with pytest.raises(VaultLocked):
        running.fetch("gh")


def test_damage_is_noticed_by_a_running_source(filled: Path) -> None:
    running = FileSource.open(filled)
    document = json.loads((filled / "vault.json").read_text())
    document["entries"]["gh"]["tools"] = ["gh", "evil"]
    (filled / "vault.json").write_text(json.dumps(document))
    for use in (running.names, lambda: running.fetch("gh")):
        with pytest.raises(VaultError, match="altered"):
            use()
    with pytest.raises(VaultError, match="altered"):
        FileSource.open(filled)


def test_writers_at_the_same_time_lose_nothing(folder: Path) -> None:
    FileSource(folder).add(token("first"))

    def add(number: int) -> None:
        FileSource.open(folder).add(token(f"n{number}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    expected = sorted(["first", *(f"n{number}" for number in range(24))])
    assert [info.name for info in FileSource.open(folder).names()] == expected


def test_a_failed_write_leaves_the_old_vault(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = FileSource.open(filled)

    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(VaultError, match="No space left"):
            source.add(token("two"))
    assert [info.name for info in source.names()] == ["gh"]
    assert not [file for file in filled.iterdir() if file.name.startswith(".")]


# ---------------------------------------------------------------------------- who may touch it


@pytest.mark.parametrize(("name", "mode"), [("vault.json", 0o620), ("vault.json", 0o602)])
def test_a_vault_that_others_can_write_is_refused(filled: Path, name: str, mode: int) -> None:
    (filled / name).chmod(mode)
    with pytest.raises(VaultError, match="Other users can change"):
        FileSource.open(filled)


def test_a_key_that_others_can_read_is_refused(filled: Path) -> None:
    (filled / "vault.key").chmod(0o640)
    with pytest.raises(VaultError, match="Other users can read"):
        FileSource.open(filled)


def test_a_folder_that_others_can_write_is_refused(filled: Path) -> None:
    filled.chmod(0o770)
    with pytest.raises(VaultError, match="Other users can write"):
        FileSource.open(filled)


def test_a_folder_that_others_can_read_is_closed(filled: Path) -> None:
    filled.chmod(0o755)
    FileSource.open(filled)
    assert filled.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("name", ["vault.json", "vault.key", "."])
def test_what_belongs_to_another_user_is_refused(filled: Path, name: str) -> None:
    os.chown(filled / name, 12345, 12345)
    with pytest.raises(VaultError, match="another user"):
        FileSource.open(filled)


@pytest.mark.parametrize("name", ["vault.json", "vault.key"])
def test_links_and_pipes_are_no_vault(filled: Path, tmp_path: Path, name: str) -> None:
    moved = (filled / name).rename(tmp_path / "moved")
    (filled / name).symlink_to(moved)
    with pytest.raises(VaultError, match="plain file"):
        FileSource.open(filled)
    (filled / name).unlink()
    os.mkfifo(filled / name, 0o600)
    with pytest.raises(VaultError, match="plain file"):
        FileSource.open(filled)


def test_a_linked_folder_is_refused(filled: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(filled)
    with pytest.raises(VaultError, match="no link"):
        FileSource.open(link)


def test_a_huge_vault_is_refused(filled: Path) -> None:
    with (filled / "vault.json").open("r+b") as file:
        file.truncate(20 * 1024 * 1024)
    with pytest.raises(VaultError, match="larger than"):
        FileSource.open(filled)
