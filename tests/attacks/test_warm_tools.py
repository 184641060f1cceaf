"""Warm tools: commands that come from one process find nothing of one another.

Each attack is done twice: on Keyless, and on :mod:`tests.support.careless`, where it succeeds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from tests.support.careless import Careless
from tests.support.egress import AWS_CLI
from tests.support.more_aws import keys_of
from tests.support.sidecar import Result, Sidecar, kept_sidecar
from tests.support.warm import result_record

from keyless.localaws.server import LocalAws
from keyless.protocol.messages import Cancel

NOSY = Path(__file__).parents[1] / "support" / "nosy" / "nosy_tool.py"
FIRST, SECOND = "wT7vQ2xW9mZ4tR8bN3cY6hL1pD5sF0gA", "bK9rX4mN7vB2qW8tZ1cY5hJ3pL6sD0fG"
TEXT = "pV3nM8xK1zQ6wR9tB4cY7hJ2"
WALL = "a sandbox for each command, entered without rights"

pytestmark = pytest.mark.skipif(
    os.environ.get("KEYLESS_TEST_LEVEL", "").startswith("landlock"),
    reason="without namespaces every command starts cold",
)


def nosy(**changes: Any) -> dict[str, Any]:
    """A declaration of the hostile tool."""
    return {
        "path": str(NOSY),
        "secret_env": {"NOSY_SECRET": "generic:value"},
        "binds": [str(NOSY.parent)],
        "preload": ["nosy_state"],
        "warm": True,
        "proc": True,
        "unix_sockets": True,
        "timeout": 30,
        **changes,
    }


def credentials() -> list[dict[str, Any]]:
    """One for each of two commands."""
    return [
        {"name": name, "kind": "generic", "fields": {"value": value}, "tools": ["nosy"]}
        for name, value in (("first", FIRST), ("second", SECOND))
    ]


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Sidecar]:
    config = {"Tools": {"declared": {"nosy": nosy()}, "aws": False, "psql": False}}
    with kept_sidecar(config=config, credentials=credentials()) as made:
        run(made, "left")
        yield made


@pytest.fixture(scope="module")
def careless() -> Iterator[Careless]:
    with Careless(NOSY) as made:
        yield made


@pytest.fixture(scope="module")
def forking() -> Iterator[Careless]:
    with Careless(NOSY, forks=True) as made:
        yield made


def start(sidecar: Sidecar, *argv: str, entry: str = "first", stdin: bytes | None = None) -> int:
    return sidecar.start(*argv, tool="nosy", credentials=[entry], stdin=stdin)


def said(sidecar: Sidecar, result: Result) -> list[Any]:
    """What a command's steps said, if it was warm and ended well."""
    assert result.finished.exit_code == 0, (result.stdout, result.stderr)
    assert_warm(sidecar, result)
    return [json.loads(line) for line in result.stdout.splitlines()]


def assert_warm(sidecar: Sidecar, result: Result) -> None:
    fields = result_record(sidecar, result)
    assert (fields["start"], fields["cold_because"]) == ("warm", "")


def run(
    sidecar: Sidecar, *argv: str, entry: str = "first", stdin: bytes | None = None
) -> list[Any]:
    return said(sidecar, sidecar.collect(start(sidecar, *argv, entry=entry, stdin=stdin)))


def halves(*texts: str) -> list[str]:
    return [half for text in texts for half in (text[:12], text[12:])]


@pytest.mark.attack(wall=WALL, title="Find the last command's credential in a warm tool's memory.")
def test_memory(sidecar: Sidecar, careless: Careless) -> None:
    look = ("memory", *halves(FIRST, TEXT, SECOND))
    careless.run("keep", stdin=TEXT.encode(), env={"NOSY_SECRET": FIRST})
    (found,) = careless.run(*look, env={"NOSY_SECRET": SECOND})
    assert found["found"] == [True, True, True]
    for _ in range(2):  # a sandbox that was made while the first one ran, and one made afterwards
        run(sidecar, "keep", stdin=TEXT.encode())
        (found,) = run(sidecar, *look, entry="second")
        assert found["found"] == [False, False, True]
        assert found["size"] > 1 << 20


@pytest.mark.attack(wall=WALL, title="Leave state in a warm tool's modules and environment.")
def test_state(sidecar: Sidecar, careless: Careless) -> None:
    careless.run("keep", stdin=TEXT.encode())
    (found,) = careless.run("left")
    assert found.pop("kept")
    assert list(found.values()) == ["left", True, True, True, True]
    run(sidecar, "keep", stdin=TEXT.encode())
    (found,) = run(sidecar, "left", entry="second")
    assert list(found.values()) == [0, None, False, False, False, False]


@pytest.mark.attack(wall=WALL, title="Read the files of another command of a warm tool.")
def test_files(sidecar: Sidecar, careless: Careless) -> None:
    careless.run("mark")
    assert careless.run("marks")[0]
    first = start(sidecar, "mark", "+", "sleep", "20")
    begun = sidecar.collect(first, until=lambda result: "waiting" in result.stdout)
    assert len(json.loads(begun.stdout.splitlines()[0])) == 5
    meanwhile = run(sidecar, "marks", "+", "listing", entry="second")
    sidecar.send(Cancel(id=first))
    sidecar.collect(first, into=begun)
    afterwards = run(sidecar, "marks", "+", "listing", entry="second")
    assert meanwhile == afterwards == [[], []]


@pytest.mark.attack(wall=WALL, title="Use an open file of another command of a warm tool.")
def test_descriptors(sidecar: Sidecar, careless: Careless) -> None:
    careless.run("hold")
    (held,) = careless.run("descriptors")
    assert "/dev/zero" in held.values()
    run(sidecar, "hold")
    (found,) = run(sidecar, "descriptors", entry="second")
    assert sorted(found) == ["0", "1", "2"]
    assert found["0"] == "/dev/null"
    assert [found[each].split(":")[0] for each in "12"] == ["pipe", "pipe"]


@pytest.mark.attack(wall=WALL, title="See or end other commands of a warm tool, or its origin.")
def test_processes(sidecar: Sidecar, forking: Careless) -> None:
    forking.start("sleep", "3")
    (seen,) = forking.run("processes")
    assert sum("careless" in line for line in seen["seen"].values()) >= 2
    first = start(sidecar, "processes", "+", "sleep", "1.5")
    begun = sidecar.collect(first, until=lambda result: "waiting" in result.stdout)
    own, reached = run(sidecar, "processes", "+", "signalled", "5000", entry="second")
    # Its own init, what held its place, itself.
    assert len(own["seen"]) <= 3
    assert set(reached) <= {int(pid) for pid in own["seen"]}
    assert not any("sleep" in line for line in own["seen"].values())
    assert own["parent"] in (0, 1)
    killing = start(sidecar, "massacre", entry="second")
    sidecar.collect(killing)
    ended = sidecar.collect(first, into=begun)
    assert ended.finished.exit_code == 0
    assert '"slept"' in ended.stdout
    assert_warm(sidecar, ended)
    run(sidecar, "left")


@pytest.mark.attack(wall=WALL, title="Keep or regain the rights that a warm tool's origin has.")
def test_rights(sidecar: Sidecar, sandbox_user: int) -> None:
    (found,) = run(sidecar, "rights")
    none = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0" * 16)
    assert found["status"] == none | {"NoNewPrivs": "1", "Seccomp": "2"}
    assert found["done"] == []
    assert found["uid"] == found["gid"] == [sandbox_user] * 3


@pytest.mark.attack(wall=WALL, title="Guess the random numbers of another command.")
def test_random_numbers(sidecar: Sidecar, forking: Careless) -> None:
    def draws(first: Any, second: Any) -> set[str]:
        return {name for name in first if first[name] == second[name]}

    # Python itself sees to most of it at a fork: what a module made of it is left.
    same = draws(*forking.run("random_numbers"), *forking.run("random_numbers"))
    drawn = [run(sidecar, "random_numbers")[0] for _ in range(4)]
    for number, one in enumerate(drawn):
        for another in drawn[:number]:
            assert not draws(one, another), same


@pytest.mark.attack(wall=WALL, title="Reach a port that another command of a warm tool listens on.")
def test_listeners(sidecar: Sidecar, forking: Careless) -> None:
    port, _ = forking.start("listen", "2")
    assert forking.run("connect", str(port)) == [[port]]
    first = start(sidecar, "listen", "1")
    begun = sidecar.collect(first, until=lambda result: "\n" in result.stdout)
    port = json.loads(begun.stdout.splitlines()[0])
    assert run(sidecar, "connect", str(port), entry="second") == [[]]
    sidecar.collect(first, into=begun)


def test_commands_at_once_don_t_mix(sidecar: Sidecar) -> None:
    requests = {str(number): start(sidecar, "say", f"word-{number}") for number in range(8)}
    for number, request in requests.items():
        result = sidecar.collect(request)
        lines = result.stdout.splitlines()
        assert lines == [f"word-{number}"] * 200 + ["{}"]
        assert_warm(sidecar, result)


ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
OTHER = "arn:aws:iam::123456789012:role/other"


@pytest.fixture(scope="module")
def two_accounts() -> Iterator[Sidecar]:
    """A sidecar with two entries for the AWS CLI: a user, and a role."""
    with LocalAws(user_policy=ALL, roles={"other": ALL}) as aws:
        sts = boto3.client("sts", config=Config(proxies={}), **keys_of(aws))
        role = sts.assume_role(RoleArn=OTHER, RoleSessionName="warm")["Credentials"]
        sts.close()
        user = {"access_key_id": aws.access_key_id, "secret_access_key": aws.secret_access_key}
        session = {
            "access_key_id": role["AccessKeyId"],
            "secret_access_key": role["SecretAccessKey"],
            "session_token": role["SessionToken"],
        }
        with kept_sidecar(
            config={
                "Tools": {"psql": False, "aws": {"path": str(AWS_CLI)}},
                "Egress": {"upstreams": {"*.amazonaws.com": aws.endpoint}},
            },
            credentials=[
                {
                    "name": name,
                    "kind": "aws",
                    "fields": {**fields, "region": aws.region},
                    "tools": ["aws"],
                }
                for name, fields in (("user", user), ("role", session))
            ],
        ) as made:
            yield made


@pytest.mark.attack(wall=WALL, title="Use the AWS credentials that the command before had.")
def test_credentials_of_the_command_before(two_accounts: Sidecar) -> None:
    words = ("sts", "get-caller-identity", "--query", "Arn", "--output", "text")
    order = ("user", "role", "user", "role")
    for entry in order:
        result = two_accounts.run(*words, tool="aws", credentials=[entry])
        assert result.finished.exit_code == 0, result.stderr
        assert_warm(two_accounts, result)
        assert (":user/" in result.stdout) == (entry == "user")
        assert (":assumed-role/other/" in result.stdout) == (entry == "role")
