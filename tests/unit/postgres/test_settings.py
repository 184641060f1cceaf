"""What an entry's fields mean."""

from __future__ import annotations

import pytest

from keyless_sidecar.execution.destinations import Destination
from keyless_sidecar.postgres.environment import client_environment
from keyless_sidecar.postgres.settings import TargetError, mode_for, read_target

BASE = {"host": "DB.example.com", "username": "app", "password": "a-password-Xy82kq"}


def test_defaults() -> None:
    target = read_target("db", BASE)
    assert target.destination == Destination("db.example.com", 5432)
    assert (target.user, target.database, target.sslmode, target.methods) == ("app", "", "", None)
    assert BASE["password"] not in repr(target)


@pytest.mark.parametrize(
    ("address", "mode"),
    [
        (["93.184.216.34"], "verify-full"),
        (["10.0.0.5", "93.184.216.34"], "verify-full"),
        (["2606:4700::1111"], "verify-full"),
        ([], "verify-full"),
        (["10.0.0.5"], "prefer"),
        (["127.0.0.1"], "prefer"),
        (["::1"], "prefer"),
    ],
)
def test_the_default_mode_verifies_whatever_is_on_the_internet(
    address: list[str], mode: str
) -> None:
    assert mode_for(read_target("db", BASE), address) == mode


@pytest.mark.parametrize("mode", ["disable", "prefer", "require", "verify-full"])
def test_a_mode_of_the_entry_counts(mode: str) -> None:
    assert mode_for(read_target("db", {**BASE, "sslmode": mode}), ["93.184.216.34"]) == mode


@pytest.mark.parametrize(
    ("given", "meant"),
    [("", "verify-full"), ("prefer", "verify-full"), ("require", "verify-ca"), ("verify-ca",) * 2],
)
def test_authorities_are_there_to_verify_with(given: str, meant: str) -> None:
    fields = {**BASE, "sslrootcert": "PEM"} | ({"sslmode": given} if given else {})
    assert read_target("db", fields).sslmode == meant


def test_a_client_certificate_is_shown_to_verified_servers_by_default() -> None:
    fields = {"host": "10.0.0.5", "username": "app", "sslcert": "C", "sslkey": "K"}
    target = read_target("db", fields)
    assert mode_for(target, ["10.0.0.5"]) == "verify-full"
    assert "'K'" not in repr(target)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"host": ""}, "lacks"),
        ({"username": ""}, "lacks"),
        ({"password": ""}, "needs a password"),
        ({"host": "/var/run/postgresql"}, "socket"),
        ({"host": "@abstract"}, "socket"),
        ({"host": "a,b"}, "can't be used"),
        ({"host": "user@db"}, "can't be used"),
        ({"host": "0x7f.1"}, "can't be used"),
        ({"port": "0"}, "can't be used"),
        ({"port": "65536"}, "can't be used"),
        ({"port": "5432,5433"}, "can't be used"),
        ({"port": "\u0665"}, "can't be used"),
        ({"sslmode": "allow"}, "sslmode is one of"),
        ({"sslmode": "Require"}, "sslmode is one of"),
        ({"sslmode": "verify-ca"}, "sslrootcert"),
        ({"sslcert": "C"}, "both"),
        ({"sslkey": "K"}, "both"),
        ({"sslcert": "C", "sslkey": "K", "sslmode": "disable"}, "needs TLS"),
        ({"sslcert": "C", "sslkey": "K", "sslmode": "prefer"}, "needs TLS"),
        ({"require_auth": "!md5"}, "require_auth is a list"),
        ({"require_auth": "scram-sha-256,gss"}, "require_auth is a list"),
        ({"channel_binding": "disable"}, "channel_binding"),
    ],
)
def test_what_cant_be_meant_is_refused(change: dict[str, str], why: str) -> None:
    with pytest.raises(TargetError, match=why) as caught:
        read_target("db", {**BASE, **change})
    assert BASE["password"] not in str(caught.value)


def test_further_settings() -> None:
    target = read_target(
        "db", {**BASE, "require_auth": "md5, scram-sha-256", "channel_binding": "require"}
    )
    assert target.methods == {"md5", "scram-sha-256"}
    assert target.binding


def test_the_environment_of_a_client_holds_no_secret_and_reads_no_file() -> None:
    values = client_environment({**BASE, "database": "shop"}, 4242)
    assert values["PGHOST"] == "127.0.0.1"
    assert values["PGPORT"] == "4242"
    assert (values["PGUSER"], values["PGDATABASE"]) == ("app", "shop")
    assert values["PGSSLMODE"] == values["PGGSSENCMODE"] == "disable"
    assert values["PGPASSFILE"] == values["PGSERVICEFILE"] == "/nonexistent"
    assert BASE["password"] not in str(values)
    assert BASE["host"] not in str(values)
    assert "PGPASSWORD" not in values
    assert client_environment(BASE, 1)["PGDATABASE"] == "app"
