"""With delivery ``proxy`` the tool's processes never hold the credential: not in memory either.

Real tools run against servers that see the real credential, and that hold each answer back until
everything that the tool holds was searched, from outside, as root.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from tests.support.canaries import canary
from tests.support.dumps import Dump, Dumper, Watching
from tests.support.hunt import Hunter
from tests.support.leftovers import of_commands
from tests.support.needles import scram_keys, signing_keys
from tests.support.policies import OPEN
from tests.support.postgres import PASSWORD, binaries, running
from tests.support.sidecar import Result, Sidecar, eventually
from tests.support.waiting import (
    PATIENCE,
    Answer,
    Asked,
    Front,
    Locks,
    fronting,
    git_server,
)

from keyless.localaws import LocalAws

from .conftest import StartSidecar

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="memory of other users is only root's to read"),
    pytest.mark.timeout(180),
]

EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}],
}
AWS_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "aws:access_key_id",
    "AWS_SECRET_ACCESS_KEY": "aws:secret_access_key",
    "AWS_DEFAULT_REGION": "aws:region?",
}
BUSY = (
    b"<ErrorResponse><Error><Type>Receiver</Type><Code>ServiceUnavailable</Code>"
    b"<Message>Busy</Message></Error><RequestId>r</RequestId></ErrorResponse>"
)


MakeFront = Callable[[Callable[[Asked], Answer]], Front]


@pytest.fixture
def front() -> Iterator[MakeFront]:
    """Makes servers on the loopback."""
    with contextlib.ExitStack() as ends:

        def make(answer: Callable[[Asked], Answer]) -> Front:
            return ends.enter_context(fronting(answer))

        yield make


# ---------------------------------------------------------------------- looking


@dataclass
class Seen:
    """A command, and what its processes held."""

    result: Result
    #: One for each time that a server made it wait: the first before any answer.
    dumps: list[Dump]
    #: From its sandbox's first process to its end.
    watching: Watching
    #: Whether the memory of the tool had the value of the variable asked for.
    held: bool

    @property
    def found(self) -> set[str]:
        return self.watching.found.union(*(dump.found for dump in self.dumps))


def watch(
    sidecar: Sidecar, dumper: Dumper, server: Front | Locks, variable: str, *argv: str, tool: str
) -> Seen:
    """Run a command, and dump all that it holds whenever a server makes it wait, and in between."""
    results: list[Result] = []

    def collect(request: int) -> None:
        try:
            results.append(sidecar.collect(request))
        finally:
            server.end()

    dumps: list[Dump] = []
    held = False
    with Watching(dumper) as watching:
        thread = threading.Thread(target=collect, args=(sidecar.start(*argv, tool=tool),))
        thread.start()
        while (go_on := server.next()) is not None:
            dumps.append(dumper.dump())
            value = dumps[-1].environments.get(variable) or dumper.variable(variable)
            held = held or dumper.holds(value or "\0none")
            go_on()
        thread.join()
    return Seen(results[0], dumps, watching, held)


def assert_worked(seen: Seen, program: str, times: int) -> None:
    """The command did what it should, and was looked at while it did."""
    assert seen.result.finished.exit_code == 0, (seen.result.stderr, seen.result.finished)
    assert len(seen.dumps) >= times
    assert seen.watching.seen.is_set()
    for dump in seen.dumps:
        assert any(program in command for command in dump.commands.values()), dump.commands
        assert dump.size > 1_000_000


def assert_nothing(seen: Seen, program: str, variable: str, *, times: int) -> None:
    """It worked, with a placeholder that the dumps do see, and they saw nothing else."""
    assert_worked(seen, program, times)
    assert seen.held, f"the dump doesn't even see what {variable} is"
    assert sorted(seen.found) == []


def assert_left_nothing(sidecar: Sidecar, secrets: Mapping[str, str]) -> None:
    """Nothing runs any more, and no folder that the tool could write to holds a secret."""
    assert eventually(lambda: not of_commands(sidecar.process.pid))
    hunter = Hunter(secrets)
    assert [*hunter.tree(sidecar.workspace), *hunter.tree(sidecar.scratch)] == []


def script(home: Path, name: str, text: str) -> str:
    """A program that a person wrote, outside the workspace."""
    folder = home / "programs"
    folder.mkdir(exist_ok=True, mode=0o755)
    path = folder / name
    path.write_text(textwrap.dedent(text).lstrip())
    path.chmod(0o755)
    return str(path)


# ---------------------------------------------------------------------- AWS


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws(user_policy=EVERYTHING, roles={"role": EVERYTHING}) as running:
        yield running


@dataclass
class Account:
    """What a test of an AWS client needs."""

    front: Front
    entry: dict[str, Any]
    secrets: dict[str, str]
    keys: dict[str, bytes]

    def upstreams(self) -> dict[str, str]:
        return {"*.amazonaws.com": f"http://127.0.0.1:{self.front.port}"}


@pytest.fixture
def account(aws: LocalAws, front: MakeFront) -> Account:
    """AWS, behind a front that holds each request, and has no time for the first one."""
    first: list[Asked] = []

    def answer(asked: Asked) -> Answer:
        if not first:
            first.append(asked)
            return 503, {"Content-Type": "text/xml"}, BUSY
        connection = http.client.HTTPConnection(urlsplit(aws.endpoint).netloc, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.putrequest(
                asked.method, asked.target, skip_host=True, skip_accept_encoding=True
            )
            hop = ("connection", "content-length", "transfer-encoding")
            for name, value in asked.headers.items():
                if name not in hop:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(asked.body)))
            connection.endheaders(asked.body)
            answered = connection.getresponse()
            kept = {
                name: value
                for name, value in answered.getheaders()
                if name.lower() not in (*hop, "server", "date")
            }
            return answered.status, kept, answered.read()

    fields = {
        "access_key_id": aws.access_key_id,
        "secret_access_key": aws.secret_access_key,
        "region": "us-east-1",
    }
    entry = {"name": "prod", "kind": "aws", "fields": fields, "tools": ["aws", "tool"]}
    secrets = {"key id": aws.access_key_id, "key": aws.secret_access_key}
    day = datetime.now(UTC).strftime("%Y%m%d")
    keys = signing_keys(aws.secret_access_key, day, "us-east-1", "sts")
    return Account(front(answer), entry, secrets, keys)


def assert_signed(account: Account, aws: LocalAws) -> None:
    """The service had the requests signed with the real key, and accepted them."""
    for asked in account.front.asked[:2]:
        assert f"Credential={aws.access_key_id}/" in asked.credential
    assert aws.requests[-1].allowed


@pytest.mark.parametrize(
    ("path", "warm"),
    [("", True), ("", False), ("/usr/bin/aws", True), ("/usr/bin/aws", False)],
    ids=["v1-warm", "v1-cold", "v2-warm", "v2-cold"],
)
def test_the_aws_cli(
    start_sidecar: StartSidecar, aws: LocalAws, account: Account, path: str, warm: bool
) -> None:
    if path and not Path(path).exists():
        pytest.skip("needs the second version of the AWS CLI (Debian's awscli)")
    sidecar = start_sidecar(
        config={
            "Tools": {"aws": {"path": path} if path else None, "warm": warm},
            "Egress": {"upstreams": account.upstreams()},
        },
        credentials=[account.entry],
    )
    sidecar.hello()
    dumper = Dumper(sidecar.process.pid, sidecar.scratch, account.secrets, account.keys)
    argv = ("sts", "get-caller-identity")
    seen = watch(sidecar, dumper, account.front, "AWS_SECRET_ACCESS_KEY", *argv, tool="aws")
    program = "(aws)" if warm else "get-caller-identity"
    assert_nothing(seen, program, "AWS_SECRET_ACCESS_KEY", times=2)
    assert aws.user_arn in seen.result.stdout
    assert_signed(account, aws)
    assert_left_nothing(sidecar, account.secrets)


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_the_dump_finds_what_the_aws_cli_holds_itself(
    start_sidecar: StartSidecar, aws: LocalAws, account: Account, warm: bool
) -> None:
    sidecar = start_sidecar(
        config={
            "Tools": {"aws": {"delivery": "env"}, "warm": warm},
            "Egress": {"upstreams": account.upstreams()},
        },
        credentials=[{**account.entry, "delivery": "env"}],
    )
    sidecar.hello()
    dumper = Dumper(sidecar.process.pid, sidecar.scratch, account.secrets, account.keys)
    argv = ("sts", "get-caller-identity")
    seen = watch(sidecar, dumper, account.front, "AWS_SECRET_ACCESS_KEY", *argv, tool="aws")
    assert_worked(seen, "(aws)" if warm else "get-caller-identity", times=2)
    for dump in seen.dumps:
        for place in ("key (plain) in memory", f"key id (plain) in {'memory' if warm else 'env'}"):
            assert any(find.startswith(place) for find in dump.found)
    assert aws.user_arn in seen.result.stdout


BOTO3 = """
    import json
    import boto3

    sts = boto3.client("sts")
    role = sts.assume_role(RoleArn=ROLE, RoleSessionName="session")
    keys = role["Credentials"]
    session = boto3.session.Session(
        keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"]
    )
    own = sts.get_caller_identity()["Arn"]
    print(json.dumps([own, session.client("sts").get_caller_identity()["Arn"]]))
"""


def test_boto3_and_a_role_that_it_assumes(
    start_sidecar: StartSidecar, jupyter_home: Path, aws: LocalAws, account: Account
) -> None:
    role = f"arn:aws:iam::{aws.account}:role/role"
    iam = boto3.client(
        "iam",
        endpoint_url=aws.endpoint,
        region_name="us-east-1",
        aws_access_key_id=aws.access_key_id,
        aws_secret_access_key=aws.secret_access_key,
    )
    iam.update_assume_role_policy(RoleName="role", PolicyDocument=json.dumps(TRUST))
    iam.close()
    text = textwrap.dedent(BOTO3).replace("ROLE,", f"{role!r},")
    tool = {
        "path": script(jupyter_home, "tool", f"#!{sys.executable}\n{text}"),
        "delivery": "proxy",
        "hosts": ["*.amazonaws.com:443"],
        "secret_env": AWS_VARIABLES,
    }
    sidecar = start_sidecar(
        config={
            "Tools": {"aws": False, "declared": {"tool": tool}},
            "Egress": {"upstreams": account.upstreams()},
        },
        credentials=[account.entry],
        policy=OPEN,
    )
    sidecar.hello()
    dumper = Dumper(sidecar.process.pid, sidecar.scratch, account.secrets, account.keys)
    answer, session = account.front.answer, dict[str, str]()

    def learning(asked: Asked) -> Answer:
        status, headers, body = answer(asked)
        for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"):
            if found := re.search(rf"<{name}>([^<]+)</{name}>", body.decode()):
                session[name] = found[1]
        dumper.learn(session)
        return status, headers, body

    account.front.answer = learning
    seen = watch(sidecar, dumper, account.front, "AWS_SECRET_ACCESS_KEY", tool="tool")
    assert_nothing(seen, "programs/tool", "AWS_SECRET_ACCESS_KEY", times=4)
    assert [aws.user_arn, f"arn:aws:sts::{aws.account}:assumed-role/role/session"] == json.loads(
        seen.result.stdout
    )
    assert_signed(account, aws)
    # What the service handed out is as real as the key, and it is the proxy that used it.
    assert len(session) == 3
    last = account.front.asked[-1]
    assert f"Credential={session['AccessKeyId']}/" in last.credential
    assert last.headers["x-amz-security-token"] == session["SessionToken"]
    assert_left_nothing(sidecar, {**account.secrets, **session})


# ---------------------------------------------------------------------- tokens and passwords

TOKEN = canary("tok_", 36)


def token_sidecar(
    start: StartSidecar, front: Front, host: str, tool: Mapping[str, Any], **entry: Any
) -> Sidecar:
    """A sidecar with one tool named ``tool``, and its credential for ``host``."""
    delivery = tool.get("delivery", "proxy")
    sidecar = start(
        config={
            "Tools": {
                "aws": False,
                "psql": False,
                "declared": {"tool": {"delivery": delivery, "hosts": [f"{host}:443"], **tool}},
            },
            "Egress": {"upstreams": {host: f"http://127.0.0.1:{front.port}"}},
        },
        credentials=[
            {"name": "cred", "tools": ["tool"], "hosts": [host], "delivery": delivery, **entry}
        ],
    )
    sidecar.hello()
    return sidecar


def json_answer(asked: Asked) -> Answer:
    return 200, {"Content-Type": "application/json"}, b'{"login": "octo", "works": "it does"}\n'


# Before it uses the token, while it does, and after.
CURL = """
    #!/bin/sh
    curl -sS "$1/before" && curl -sS -H "Authorization: Bearer $API_TOKEN" "$1/call" || exit
    curl -sS "$1/after"
"""


USED = [("/before", ""), ("/call", f"Bearer {TOKEN}"), ("/after", "")]


def curl(home: Path, **more: Any) -> dict[str, Any]:
    path = script(home, "curl", CURL)
    return {"path": path, "secret_env": {"API_TOKEN": "token:value"}, **more}


def test_curl(start_sidecar: StartSidecar, jupyter_home: Path, front: MakeFront) -> None:
    server = front(json_answer)
    sidecar = token_sidecar(
        *(start_sidecar, server, "api.example.com", curl(jupyter_home)),
        kind="token",
        fields={"value": TOKEN},
    )
    dumper = Dumper(sidecar.process.pid, sidecar.scratch, {"token": TOKEN})
    argv = ("https://api.example.com",)
    seen = watch(sidecar, dumper, server, "API_TOKEN", *argv, tool="tool")
    assert_nothing(seen, "curl -sS", "API_TOKEN", times=3)
    assert [(asked.target, asked.credential) for asked in server.asked] == USED
    assert seen.result.stdout.count("it does") == 3
    assert_left_nothing(sidecar, {"token": TOKEN})


def test_the_dump_finds_what_curl_holds_itself(
    start_sidecar: StartSidecar, jupyter_home: Path, front: MakeFront
) -> None:
    server = front(json_answer)
    sidecar = token_sidecar(
        *(start_sidecar, server, "api.example.com", curl(jupyter_home, delivery="env")),
        kind="token",
        fields={"value": TOKEN},
    )
    dumper = Dumper(sidecar.process.pid, sidecar.scratch, {"token": TOKEN})
    argv = (f"http://127.0.0.1:{server.port}",)
    seen = watch(sidecar, dumper, server, "API_TOKEN", *argv, tool="tool")
    assert_worked(seen, "curl -sS", times=3)
    assert [(asked.target, asked.credential) for asked in server.asked] == USED
    before, during, after = seen.dumps
    for dump in (before, during, after):
        for place in ("environment of", "memory [stack] of"):
            assert any(find.startswith(f"token (plain) in {place}") for find in dump.found), place
    for place in ("arguments of", "memory [heap] of"):
        assert any(find.startswith(f"token (plain) in {place}") for find in during.found), place


@pytest.mark.skipif(not Path("/usr/bin/gh").exists(), reason="needs gh")
def test_gh(start_sidecar: StartSidecar, front: MakeFront) -> None:
    pages: list[Asked] = []

    def answer(asked: Asked) -> Answer:
        status, headers, body = json_answer(asked)
        pages.append(asked)
        more = {"Link": '<https://api.github.com/user?page=2>; rel="next"'}
        return status, {**headers, **(more if len(pages) == 1 else {})}, body

    server = front(answer)
    sidecar = token_sidecar(
        *(start_sidecar, server, "api.github.com"),
        {
            "path": "/usr/bin/gh",
            "secret_env": {"GH_TOKEN": "token:value"},
            "environment": {"GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1"},
        },
        kind="token",
        fields={"value": TOKEN},
    )
    dumper = Dumper(sidecar.process.pid, sidecar.scratch, {"token": TOKEN})
    seen = watch(sidecar, dumper, server, "GH_TOKEN", "api", "--paginate", "user", tool="tool")
    assert_nothing(seen, "/usr/bin/gh api", "GH_TOKEN", times=2)
    assert [(asked.target, asked.credential) for asked in server.asked] == [
        ("/user?per_page=100", f"token {TOKEN}"),
        ("/user?page=2", f"token {TOKEN}"),
    ]
    assert seen.result.stdout.count('"login": "octo"') == 2
    assert_left_nothing(sidecar, {"token": TOKEN})


# A helper of one line, that git itself runs: it answers with what is in the environment.
GIT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "credential.helper",
    "GIT_CONFIG_VALUE_0": '!f() { echo "username=$GIT_USER"; echo "password=$GIT_PASSWORD"; }; f',
}


def test_git_over_https(start_sidecar: StartSidecar, jupyter_home: Path, front: MakeFront) -> None:
    password = canary("pw-", 29)
    expected = "Basic " + base64.b64encode(f"me:{password}".encode()).decode()
    project = jupyter_home / "served"
    project.mkdir(mode=0o700)
    server = front(git_server(project, expected))
    sidecar = token_sidecar(
        *(start_sidecar, server, "git.example.com"),
        {
            "path": "/usr/bin/git",
            "secret_env": {"GIT_USER": "basic:username", "GIT_PASSWORD": "basic:password"},
            "environment": GIT,
        },
        kind="basic",
        fields={"username": "me", "password": password},
    )
    secrets = {"password": password, "header": expected.removeprefix("Basic ")}
    dumper = Dumper(sidecar.process.pid, sidecar.scratch, secrets)
    argv = ("clone", "https://git.example.com/code.git")
    seen = watch(sidecar, dumper, server, "GIT_PASSWORD", *argv, tool="tool")
    assert_nothing(seen, "git-remote-https", "GIT_PASSWORD", times=3)
    # It asks without a password first.
    assert [asked.credential for asked in server.asked[:2]] == ["", expected]
    assert [asked.method for asked in server.asked[:3]] == ["GET", "GET", "POST"]
    assert {asked.credential for asked in server.asked[2:]} == {expected}
    assert (sidecar.workspace / "code" / "README").read_text() == "the code\n"
    assert_left_nothing(sidecar, secrets)


# ---------------------------------------------------------------------- PostgreSQL


@pytest.mark.skipif(binaries() is None, reason="needs Debian's postgresql-15")
def test_psql(start_sidecar: StartSidecar) -> None:
    with running() as server:
        sidecar = start_sidecar(
            config={"Tools": {"aws": False}},
            credentials=[
                {
                    "name": "shop",
                    "kind": "postgres",
                    "fields": server.fields(
                        sslmode="verify-full", sslrootcert=server.authority.certificate
                    ),
                    "tools": ["psql"],
                }
            ],
        )
        sidecar.hello()
        stored = server.sql("select rolpassword from pg_authid where rolname = 'app'")
        iterations, _, salt = stored.split("$")[1].partition(":")
        keys = scram_keys(PASSWORD, base64.b64decode(salt), int(iterations))
        dumper = Dumper(sidecar.process.pid, sidecar.scratch, {"password": PASSWORD}, keys)
        locks = Locks(server, 2)
        try:
            words = ["-Atc", "select current_user", "-c", "select pg_advisory_lock(1)"]
            words += ["-c", "select pg_advisory_lock(2)"]
            # It has no placeholder at all: the user's name is what it holds.
            seen = watch(sidecar, dumper, locks, "PGUSER", *words, tool="psql")
        finally:
            locks.close()
        assert_nothing(seen, "bin/psql", "PGUSER", times=2)
        assert seen.result.stdout.startswith("app\n")
        assert_left_nothing(sidecar, {"password": PASSWORD})
