"""The vault's sources against real servers: AWS (moto, strict front), OpenBao, a Secret Service."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.support.more_aws import MoreAws, keys_of
from tests.support.openbao import OpenBaoServer
from tests.support.secret_service import AVAILABLE, SecretService
from tests.support.sidecar import Sidecar, eventually

from keyless.localaws import LocalAws
from keyless.protocol.messages import Status, StatusQuery
from keyless_sidecar.vault import (
    Entry,
    FileSource,
    MemorySource,
    OsKeyring,
    Surroundings,
    Vault,
    VaultError,
    open_vault,
    parse_declaration,
)
from keyless_sidecar.vault.sources import ConfigSource

SECRET = "q7Zr-Kw92_xTnB4vLm8c"
OTHER = "Hk3pWq8s-ZtYv61_NdRj"
ANY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@contextlib.contextmanager
def vault_with(
    entries: dict[str, dict[str, Any]],
    around: Surroundings | None = None,
    kept: tuple[Entry, ...] = (),
) -> Iterator[tuple[Vault, MemorySource]]:
    """A vault of declared entries, and what a host registered."""
    memory = MemorySource(kept)
    declared = ConfigSource([parse_declaration(name, each) for name, each in entries.items()])
    vault = Vault([memory, declared], around or Surroundings())
    try:
        yield vault, memory
    finally:
        vault.close()


def known(vault: Vault) -> set[bytes]:
    return {value for _, value in vault.secret_values()}


# ---------------------------------------------------------------------- AWS


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with MoreAws(user_policy=ANY, roles={"deployer": ANY}) as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def around(aws: LocalAws, tmp_path: Path, clock: Clock) -> Surroundings:
    """A person's home with a profile of static keys and one of a role."""
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        f"[base]\naws_access_key_id = {aws.access_key_id}\n"
        f"aws_secret_access_key = {aws.secret_access_key}\n"
    )
    (folder / "config").write_text(
        "[profile base]\nregion = us-east-1\n"
        f"[profile dev]\nrole_arn = arn:aws:iam::{aws.account}:role/deployer\n"
        "source_profile = base\nduration_seconds = 900\nregion = us-east-1\n"
    )
    return Surroundings(home=tmp_path, upstreams={"*.amazonaws.com": aws.endpoint}, now=clock)


def caller(aws: LocalAws, entry: Entry) -> str:
    """Who the credentials belong to, as AWS says it."""
    sts = boto3.client(
        "sts",
        endpoint_url=aws.endpoint,
        region_name="us-east-1",
        aws_access_key_id=entry.fields["access_key_id"],
        aws_secret_access_key=entry.fields["secret_access_key"],
        aws_session_token=entry.fields.get("session_token"),
    )
    try:
        arn: str = sts.get_caller_identity()["Arn"]
        return arn
    finally:
        sts.close()


def assumed(aws: LocalAws) -> int:
    return sum(call.operation == "AssumeRole" for call in aws.requests)


PROFILE = {"kind": "aws", "source": "aws-profile", "profile": "dev", "tools": ["aws"]}


def test_a_role_is_assumed_when_it_is_used_and_again_before_it_ends(
    aws: LocalAws, around: Surroundings, clock: Clock
) -> None:
    before = assumed(aws)
    with vault_with({"work": PROFILE}, around) as (vault, _):
        assert [info.source for info in vault.infos()] == ["aws-profile"]
        assert vault.secret_values() == []
        assert assumed(aws) == before  # listing asked nobody
        first = vault.fetch("work")
        assert "assumed-role/deployer" in caller(aws, first)
        assert first.fields["region"] == "us-east-1"
        assert first.expires is not None
        assert timedelta(minutes=14) < first.expires - datetime.now(UTC) <= timedelta(minutes=15)
        assert vault.fetch("work").fields is first.fields  # for the next request there is no call
        assert assumed(aws) == before + 1

        clock.ahead = timedelta(minutes=12)
        second = vault.fetch("work")
        assert assumed(aws) == before + 2
        assert second.fields["access_key_id"] != first.fields["access_key_id"]
        assert "assumed-role/deployer" in caller(aws, second)
        for entry in (first, second):  # the old ones may stand in some output still
            assert entry.fields["secret_access_key"].encode() in known(vault)
            assert entry.fields["session_token"].encode() in known(vault)


def test_static_keys_of_a_profile_follow_its_file(aws: LocalAws, around: Surroundings) -> None:
    with vault_with({"work": {**PROFILE, "profile": "base"}}, around) as (vault, _):
        entry = vault.fetch("work")
        assert caller(aws, entry) == aws.user_arn
        assert entry.expires is None
        (around.aws() / "credentials").write_text(
            "[base]\naws_access_key_id = AKIAQ7ZRKW92XTNB4VLM\n"
            f"aws_secret_access_key = {SECRET}{OTHER}\n"
        )
        assert vault.fetch("work").fields["secret_access_key"] == SECRET + OTHER
        assert entry.fields["secret_access_key"].encode() in known(vault)


def test_an_unreachable_sts_ends_only_what_needs_it(
    aws: LocalAws, around: Surroundings, clock: Clock
) -> None:
    with vault_with({"work": PROFILE}, around) as (vault, memory):
        memory.add(Entry("gh", "token", {"value": OTHER}, ("gh",)))
        first = vault.fetch("work")
        around.upstreams["*.amazonaws.com"] = "http://127.0.0.1:9"  # type: ignore[index]
        clock.ahead = timedelta(minutes=12)
        assert vault.fetch("work").fields is first.fields  # still good, so nobody notices
        clock.ahead = timedelta(minutes=15)
        with pytest.raises(VaultError, match="work: the AWS profile dev gives no credentials"):
            vault.fetch("work")
        assert vault.fetch("gh").fields["value"] == OTHER
        assert [info.name for info in vault.infos()] == ["gh", "work"]


def test_a_role_that_may_not_be_assumed(aws: LocalAws, around: Surroundings) -> None:
    config = around.aws() / "config"
    config.write_text(config.read_text().replace("role/deployer", "role/nobody"))
    with (
        vault_with({"work": PROFILE}, around) as (vault, _),
        pytest.raises(VaultError, match="AssumeRole was answered with") as caught,
    ):
        vault.fetch("work")
    assert aws.secret_access_key not in str(caught.value)


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


def test_credential_process_runs_in_the_persons_home(around: Surroundings) -> None:
    end = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    answer = {
        "Version": 1,
        "AccessKeyId": "AKIAQ7ZRKW92XTNB4VLM",
        "SecretAccessKey": SECRET + OTHER,
    }
    script = program(
        around.home / "helper",
        f"echo run >> $HOME/runs; echo '{json.dumps({**answer, 'Expiration': end})}'",
    )
    (around.aws() / "config").write_text(f"[profile dev]\ncredential_process = {script} --x\n")
    with vault_with({"work": PROFILE}, around) as (vault, _):
        entry = vault.fetch("work")
        assert entry.fields["secret_access_key"] == SECRET + OTHER
        assert entry.expires == datetime.fromisoformat(end)
        vault.fetch("work")
    assert (around.home / "runs").read_text() == "run\n"


def test_what_a_credential_process_says_on_its_way_out_is_not_repeated(
    around: Surroundings,
) -> None:
    script = program(around.home / "helper", f"echo {SECRET} >&2; exit 3")
    (around.aws() / "config").write_text(f"[profile dev]\ncredential_process = {script}\n")
    with (
        vault_with({"work": PROFILE}, around) as (vault, _),
        pytest.raises(VaultError, match="failed with status 3") as caught,
    ):
        vault.fetch("work")
    assert SECRET not in str(caught.value)


def test_sso_tokens_come_from_the_persons_folder_and_expired_ones_say_what_helps(
    around: Surroundings,
) -> None:
    (around.aws() / "config").write_text(
        "[profile dev]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = dev\n"
        "region = us-east-1\n[sso-session corp]\nsso_region = us-east-1\n"
        "sso_start_url = https://corp.awsapps.com/start\n"
    )
    with (
        vault_with({"work": PROFILE}, around) as (vault, _),
        pytest.raises(VaultError, match="aws sso login"),
    ):
        vault.fetch("work")


def test_secrets_and_parameters_are_read_by_an_entry_or_a_profile(
    aws: LocalAws, around: Surroundings
) -> None:
    manager = boto3.client("secretsmanager", **keys_of(aws))
    ssm = boto3.client("ssm", **keys_of(aws))
    database = {"username": "app", "password": SECRET, "host": "db", "port": 5432, "dbname": "shop"}
    manager.create_secret(Name="prod/db", SecretString=json.dumps(database))
    ssm.put_parameter(Name="/prod/gh", Value=OTHER, Type="SecureString")
    static = Entry(
        "keys",
        "aws",
        {
            "access_key_id": aws.access_key_id,
            "secret_access_key": aws.secret_access_key,
            "region": "us-east-1",
        },
        (),
    )
    entries: dict[str, dict[str, Any]] = {
        "db": {
            "kind": "postgres",
            "source": "aws-secrets-manager",
            "secret_id": "prod/db",
            "credential": "keys",
            "fields": {"database": "dbname"},
            "tools": ["psql"],
        },
        "gh": {
            "kind": "token",
            "source": "aws-ssm",
            "parameter": "/prod/gh",
            "profile": "dev",
            "cache": 0,
            "tools": ["gh"],
        },
        "through": {  # by an entry that has to be fetched itself
            "kind": "token",
            "source": "aws-ssm",
            "parameter": "/prod/gh",
            "credential": "work",
        },
        "missing": {
            "kind": "token",
            "source": "aws-secrets-manager",
            "secret_id": "prod/none",
            "credential": "keys",
        },
        "work": PROFILE,
    }
    try:
        with vault_with(entries, around, (static,)) as (vault, memory):
            got = vault.fetch("db")
            assert dict(got.fields) == {
                "host": "db",
                "username": "app",
                "password": SECRET,
                "port": "5432",
                "database": "shop",
            }
            assert SECRET.encode() in known(vault)
            assert OTHER.encode() not in known(vault)
            assert vault.fetch("gh").fields["value"] == OTHER
            assert vault.fetch("through").fields["value"] == OTHER
            with pytest.raises(VaultError, match="answered with ResourceNotFoundException"):
                vault.fetch("missing")

            ssm.put_parameter(Name="/prod/gh", Value=SECRET, Type="SecureString", Overwrite=True)
            assert vault.fetch("gh").fields["value"] == SECRET  # cache = 0
            assert {SECRET.encode(), OTHER.encode()} <= known(vault)

            memory.remove("keys")
            with pytest.raises(VaultError, match="isn't in the vault"):
                vault.fetch("db")  # also while the answer could be used again
    finally:
        manager.close()
        ssm.close()


# ---------------------------------------------------------------------- OpenBao


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBaoServer]:
    with OpenBaoServer(tmp_path_factory.mktemp("bao")) as server:
        server.put("app/db", username="app", password=SECRET, note="x")
        server.put("app/token", value=OTHER)
        server.put("private", value=OTHER)
        yield server


def of_bao(bao: OpenBaoServer, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "basic",
        "source": "openbao",
        "address": bao.address,
        "path": "app/db",
        "token": "bao",
        "cache": 0,
        "tools": ["git"],
        **changes,
    }


def test_a_short_token_is_renewed_as_long_as_the_sidecar_lives(bao: OpenBaoServer) -> None:
    token = bao.token("2s")
    access = Entry("bao", "token", {"value": token["client_token"]}, ())
    with vault_with({"db": of_bao(bao)}, kept=(access,)) as (vault, _):
        assert dict(vault.fetch("db").fields) == {"username": "app", "password": SECRET}
        # Nobody asks for two of its lives, and it must be there afterwards.
        facts = bao.lookup(token["accessor"])
        assert facts
        end = facts["creation_time"] + 2 * facts["creation_ttl"]
        while facts.get("last_renewal_time", 0) < end:
            facts = bao.lookup(token["accessor"])
            assert facts is not None
            threading.Event().wait(0.1)
        assert vault.fetch("db").fields["password"] == SECRET
    # The vault is closed: nobody renews any more.
    assert eventually(lambda: bao.lookup(token["accessor"]) is None, 30)


def test_a_removed_token_is_not_kept_alive(bao: OpenBaoServer) -> None:
    token = bao.token("2s")
    access = Entry("bao", "token", {"value": token["client_token"]}, ())
    with vault_with({"db": of_bao(bao)}, kept=(access,)) as (vault, memory):
        vault.fetch("db")
        memory.remove("bao")
        assert eventually(lambda: bao.lookup(token["accessor"]) is None, 30)


def test_a_revoked_token_is_said_clearly_and_a_new_one_taken_at_once(bao: OpenBaoServer) -> None:
    token, fresh = bao.token("1h"), bao.token("1h")
    access = Entry("bao", "token", {"value": token["client_token"]}, ())
    with vault_with({"db": of_bao(bao)}, kept=(access,)) as (vault, memory):
        vault.fetch("db")
        bao.root.auth.token.revoke(token["client_token"])
        with pytest.raises(VaultError, match=r"doesn't accept the token bao \(revoked") as caught:
            vault.fetch("db")
        assert token["client_token"] not in str(caught.value)
        memory.add(Entry("bao", "token", {"value": fresh["client_token"]}, ()), replace=True)
        assert vault.fetch("db").fields["password"] == SECRET


def test_a_role_logs_in_and_again_when_its_token_is_gone(bao: OpenBaoServer) -> None:
    access = Entry("bao", "basic", bao.role("1h"), ())
    declared = of_bao(bao, token="", app_role="bao")
    with vault_with({"db": declared}, kept=(access,)) as (vault, _):
        assert vault.fetch("db").fields["password"] == SECRET
        bao.root.sys.revoke_prefix("auth/approle")
        assert vault.fetch("db").fields["password"] == SECRET


def test_a_role_outlives_its_tokens_longest_life(bao: OpenBaoServer) -> None:
    access = Entry("bao", "basic", bao.role("1s", "2s"), ())
    declared = of_bao(bao, token="", app_role="bao")
    with vault_with({"db": declared}, kept=(access,)) as (vault, _):
        end = time.monotonic() + 4
        while time.monotonic() < end:
            assert vault.fetch("db").fields["password"] == SECRET
            threading.Event().wait(0.3)


def test_what_a_token_may_not_read_and_what_is_not_there(bao: OpenBaoServer) -> None:
    access = Entry("bao", "token", {"value": bao.token("1h")["client_token"]}, ())
    entries = {
        "private": of_bao(bao, path="private", kind="token"),
        "gone": of_bao(bao, path="app/none", kind="token"),
        "token": of_bao(bao, path="app/token", kind="token"),
        "mapped": of_bao(bao, kind="token", fields={"value": "password"}),
        "odd": of_bao(bao, kind="token", fields={"value": "none"}),
    }
    with vault_with(entries, kept=(access,)) as (vault, _):
        with pytest.raises(VaultError, match="bao may not read secret/private"):
            vault.fetch("private")
        with pytest.raises(VaultError, match="nothing at secret/app/none"):
            vault.fetch("gone")
        with pytest.raises(VaultError, match="no member for value"):
            vault.fetch("odd")
        assert vault.fetch("token").fields["value"] == OTHER
        assert vault.fetch("mapped").fields["value"] == SECRET


def test_certificates_are_verified_and_a_dead_server_is_said(tmp_path: Path) -> None:
    with OpenBaoServer(tmp_path, tls=True) as bao:
        bao.put("app/db", username="app", password=SECRET)
        access = Entry("bao", "token", {"value": bao.token("1h")["client_token"]}, ())
        entries = {"plain": of_bao(bao), "pinned": of_bao(bao, ca_file=bao.ca_file)}
        with vault_with(entries, kept=(access,)) as (vault, _):
            with pytest.raises(VaultError, match="can't be verified"):
                vault.fetch("plain")
            assert vault.fetch("pinned").fields["password"] == SECRET
            bao.stop()
            with pytest.raises(VaultError, match="can't be reached"):
                vault.fetch("pinned")


# ---------------------------------------------------------------------- keyring


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecretService]:
    if not AVAILABLE:
        pytest.skip("no dbus-daemon and gnome-keyring-daemon here")
    with SecretService(tmp_path_factory.mktemp("ring")) as service:
        yield service


@pytest.fixture
def ring(keyring: SecretService, monkeypatch: pytest.MonkeyPatch) -> OsKeyring:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", keyring.bus)
    return OsKeyring(keyring.bus)


def test_the_vaults_key_in_the_keyring(ring: OsKeyring, tmp_path: Path) -> None:
    folder = tmp_path / "keyless"
    FileSource(folder, ring).add(Entry("gh", "token", {"value": SECRET}, ("gh",)), in_keyring=True)
    assert sorted(file.name for file in folder.iterdir()) == ["vault.json", "vault.lock"]
    vault = open_vault(folder, surroundings=Surroundings(keyring=ring))
    assert vault.fetch("gh").fields["value"] == SECRET
    document = json.loads((folder / "vault.json").read_text())
    assert document["key"]["method"] == "keyring"
    other = tmp_path / "other"
    FileSource(other, ring).add(Entry("x", "token", {"value": OTHER}, ("gh",)), in_keyring=True)
    assert open_vault(folder, surroundings=Surroundings(keyring=ring)).fetch("gh")
    with pytest.raises(VaultError, match="locked"):
        FileSource.open(folder, keyring=OsKeyring("unix:path=/nonexistent"))


def test_values_straight_from_the_keyring(ring: OsKeyring) -> None:
    ring.write("github", "al", SECRET)
    ring.write("db", "al", json.dumps({"username": "app", "password": OTHER}))
    entries = {
        "gh": {"kind": "token", "source": "keyring", "service": "github", "account": "al"},
        "db": {"kind": "basic", "source": "keyring", "service": "db", "account": "al"},
        "none": {"kind": "token", "source": "keyring", "service": "db", "account": "bo"},
    }
    with vault_with(entries, Surroundings(keyring=ring)) as (vault, _):
        assert vault.fetch("gh").fields["value"] == SECRET
        assert vault.fetch("db").fields["password"] == OTHER
        with pytest.raises(VaultError, match="no item db for bo"):
            vault.fetch("none")
        ring.write("github", "al", OTHER)
        assert vault.fetch("gh").fields["value"] == OTHER
        assert {SECRET.encode(), OTHER.encode()} <= known(vault)


# ---------------------------------------------------------------------- real sidecars


def test_a_sidecar_opens_each_kind_of_vault(
    jupyter_home: Path,
    start_sidecar: Callable[..., Sidecar],
    ring: OsKeyring,
    keyring: SecretService,
) -> None:
    entry = Entry("it", "generic", {"value": OTHER}, ("leaky",))
    folder = jupyter_home / "keyless"
    passphrase = "correct horse battery staple"
    # The sidecar gets the bus from the configuration: its own environment is empty.
    bus = {"Vault": {"keyring_bus": keyring.bus}}
    ways: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        ({"passphrase": passphrase}, {"passphrase": passphrase}),
        ({"in_keyring": True}, {"config": bus}),
    ]
    for made, given in ways:
        shutil.rmtree(folder, ignore_errors=True)
        FileSource(folder, ring).add(entry, **made)
        sidecar = start_sidecar(credentials=[], **given)
        assert sidecar.status.get("ready"), sidecar.status
        sidecar.hello()
        assert OTHER not in sidecar.run("plain").stdout
        assert "[redacted:it]" in sidecar.run("plain").stdout
        sidecar.close()
        if given:
            locked = start_sidecar(credentials=[])
            assert "The vault is locked" in locked.status["error"]
            locked.close()


def test_a_running_sidecar_uses_declared_entries_and_stops_at_their_removal(
    jupyter_home: Path, start_sidecar: Callable[..., Sidecar]
) -> None:
    giver = program(jupyter_home / "give", f"echo x >> {jupyter_home}/runs; echo {SECRET}")
    command = {"source": "command", "argv": [str(giver)], "kind": "generic", "tools": ["leaky"]}
    folder = jupyter_home / "keyless"
    source = FileSource(folder)
    source.add(parse_declaration("stored", command))
    declared = {"declared": {**command, "tools": ["other"]}}
    sidecar = start_sidecar(credentials=[], config={"Vault": {"entries": declared}})
    sidecar.hello()
    sidecar.send(StatusQuery(id=sidecar.next_id()))
    status = sidecar.receive()
    assert isinstance(status, Status)
    assert [(each.name, each.source) for each in status.credentials] == [
        ("declared", "command"),
        ("stored", "command"),
    ]
    assert not (jupyter_home / "runs").exists()  # nobody was asked yet
    assert "[redacted:stored]" in sidecar.run("plain").stdout
    assert (jupyter_home / "runs").read_text() == "x\n"

    program(giver, f"echo {OTHER}")  # rotated at the source
    assert "[redacted:stored]" in sidecar.run("plain").stdout
    assert sidecar.run("stdin", stdin=SECRET.encode()).stdout == "[redacted:stored]"  # the old one

    program(giver, f"echo {SECRET} >&2; exit 1")
    failed = sidecar.run("plain").failed
    assert failed.kind == "SidecarUnavailable"
    assert str(giver) not in failed.message
    assert sidecar.run("rc", "0", credentials=[]).finished.exit_code == 0

    program(giver, f"echo {OTHER}")
    source.remove("stored")
    assert sidecar.run("plain", credentials=["stored"]).failed.kind == "PolicyDenied"
    assert "redacted" not in sidecar.run("plain").stdout
    assert SECRET not in sidecar.log()


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (
            {"it": {"kind": "aws", "source": "aws-profile", "profil": "x"}},
            "has only these settings",
        ),
        ({"it": "x"}, "a dictionary of settings"),
        ({"canary": {"kind": "token", "source": "command", "argv": ["/x"]}}, "in two sources"),
    ],
)
def test_a_declaration_that_cannot_be_used_stops_the_start(
    start_sidecar: Callable[..., Sidecar], entries: dict[str, Any], said: str
) -> None:
    sidecar = start_sidecar(config={"Vault": {"entries": entries}})
    assert said in sidecar.status["error"]
