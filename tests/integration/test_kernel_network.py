"""Cells that speak to services by themselves, in real kernels: with placeholders, by the proxy.

What each test hunts for or refuses is what a person would lose otherwise: the real credential, a
request that the policy doesn't allow, or a way around the proxy.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from tests.support import postgres
from tests.support.hunt import Hunter
from tests.support.more_aws import keys_of
from tests.support.policies import write_policy

from keyless.localaws.server import LocalAws
from keyless_sidecar.placeholders import is_placeholder
from keyless_sidecar.vault import Entry, FileSource

from .test_kernel_life import kernel

EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}],
}
ROLES = ("one", "two", "three")


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    """A local AWS whose user may do everything, with three roles that anybody may assume."""
    with LocalAws(user_policy=EVERYTHING, roles=dict.fromkeys(ROLES, EVERYTHING)) as running:
        iam = boto3.client("iam", config=Config(proxies={}), **keys_of(running))
        for role in ROLES:
            iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(TRUST))
        iam.close()
        yield running


@pytest.fixture
def cloud(aws: LocalAws, jupyter_home: Path) -> LocalAws:
    """The local AWS in the place of the real one, for the kernels of this test."""
    configure(jupyter_home, aws.endpoint)
    return aws


def configure(home: Path, endpoint: str) -> None:
    """Let this stand for AWS."""
    (home / "config" / "jupyter_keyless_config.py").write_text(
        f"c.Egress.upstreams = {{'*.amazonaws.com': {endpoint!r}}}\n"
    )


def aws_entry(aws: LocalAws, *tools: str, name: str = "cloud", **more: Any) -> dict[str, Any]:
    """The local AWS's user, as a host registers it."""
    fields = {
        "access_key_id": aws.access_key_id,
        "secret_access_key": aws.secret_access_key,
        "region": "us-east-1",
    }
    return {"name": name, "kind": "aws", "fields": fields, "tools": list(tools), **more}


class Cells:
    """Runs cells, and keeps all that the kernel side ever said."""

    def __init__(self, manager: AsyncKernelManager, client: AsyncKernelClient) -> None:
        self.manager = manager
        self.client = client
        self.messages: list[dict[str, Any]] = []

    async def __call__(self, code: str) -> str:
        """What a cell printed, and name and message of the error that ended it."""
        messages: list[dict[str, Any]] = []
        await self.client.execute_interactive(code, output_hook=messages.append, timeout=90)
        self.messages += messages
        said = ""
        for message in messages:
            content = message["content"]
            if message["msg_type"] == "stream":
                said += content["text"]
            elif message["msg_type"] == "error":
                said += f"{content['ename']}: {content['evalue']}"
        return said


@asynccontextmanager
async def cells(*credentials: dict[str, Any], **options: Any) -> AsyncIterator[Cells]:
    async with kernel(keyless_credentials=list(credentials), **options) as (manager, client):
        yield Cells(manager, client)


def audit(home: Path) -> list[dict[str, Any]]:
    """All records of all kernels."""
    files = sorted((home / "data" / "keyless" / "audit").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def requests_on_record(home: Path) -> list[tuple[str, str]]:
    """Action and decision of the cells' requests."""
    return [
        (each["fields"]["action"], each["fields"]["decision"])
        for each in audit(home)
        if each["kind"] == "egress.request" and each["fields"]["stage"] == "request"
    ]


def hunt(said: Cells, home: Path, secrets: dict[str, str]) -> None:
    """Nothing that the kernel side can see has a real value in it, nor has the audit."""
    hunter = Hunter(secrets)
    assert hunter.messages(said.messages) == []
    for folder in (home / "data" / "keyless" / "audit", home / "runtime"):
        assert hunter.tree(folder) == []


S3 = """
import boto3
s3 = boto3.client("s3")
s3.create_bucket(Bucket="mine")
s3.put_object(Bucket="mine", Key="a b/ü", Body=b"hello")
print(s3.get_object(Bucket="mine", Key="a b/ü")["Body"].read())
print([each["Key"] for each in s3.list_objects_v2(Bucket="mine")["Contents"]])
"""
STREAM = """
import hashlib, io, os
data = os.urandom(12 << 20)
s3.upload_fileobj(io.BytesIO(data), "mine", "large")
back = io.BytesIO()
s3.download_fileobj("mine", "large", back)
print(back.getvalue() == data)
"""


async def test_unmodified_boto3_works_in_a_cell(cloud: LocalAws, jupyter_home: Path) -> None:
    async with cells(aws_entry(cloud, "kernel")) as cell:
        assert await cell(S3) == "b'hello'\n['a b/ü']\n"
        assert await cell(STREAM) == "True\n"
        assert cloud.user_arn in await cell(
            "print(boto3.client('sts').get_caller_identity()['Arn'])"
        )
        keys = await cell("import os; print(os.environ['AWS_ACCESS_KEY_ID'], dict(os.environ))")
        assert keys.startswith("AKIAKEYLESS")
        done = requests_on_record(jupyter_home)
        assert ("aws:s3:UploadPart", "allow") in done
        assert {decision for _, decision in done} == {"allow"}
        hunt(cell, jupyter_home, {"key": cloud.secret_access_key})


REFUSED = """
import requests, urllib.request
for url in ("https://example.com/", "http://example.com/", "https://127.0.0.1:1/", "http://[::1]:1/"):
    try:
        print(urllib.request.urlopen(url, timeout=20).status)
    except OSError as error:
        print(url, error)
try:
    print(requests.get("https://example.com/", timeout=20))
except requests.exceptions.RequestException as error:
    print(error)
print(requests.get("http://example.com/", timeout=20).text)
"""
SOCKETS = """
import socket
for family, address in (
    (socket.AF_INET, ("127.0.0.1", {port})),
    (socket.AF_INET, ("127.0.0.2", {port})),
    (socket.AF_INET, ("192.0.2.1", 443)),
    (socket.AF_INET6, ("2001:db8::1", 443)),
    (socket.AF_INET, ("169.254.169.254", 80)),
):
    with socket.socket(family) as one:
        one.settimeout(5)
        try:
            one.connect(address)
            print("connected to", address)
        except OSError as error:
            print("no way")
try:
    print("found", socket.getaddrinfo("example.com", 443))
except OSError:
    print("no name")
try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", ("192.0.2.1", 53))
        print("sent")
except OSError:
    print("no way")
"""


async def test_other_hosts_are_refused_and_there_is_no_other_way_out(
    cloud: LocalAws, jupyter_home: Path
) -> None:
    port = int(cloud.endpoint.rpartition(":")[2])
    async with cells(aws_entry(cloud, "kernel")) as cell:
        said = (await cell(REFUSED)).splitlines()
        assert "403" in said[0]
        assert "403" in said[1]
        assert "refused" in said[2] + said[3]  # nothing listens on its own loopback
        assert "403" in said[4]
        assert said[5] == (
            "Keyless: example.com:80 is not among the hosts that this tool may reach."
        )
        assert set((await cell(SOCKETS.format(port=port))).split("\n")) == {"no way", "no name", ""}
        assert await cell("import boto3; boto3.client('s3')") == ""


CHAIN_POLICY = """
@id("roles") permit (principal, action == Action::"aws:sts:AssumeRole", resource);
@id("reads") permit (principal, action in Action::"aws", resource)
when { !context.mutating && context.exposure == "" };
"""
ASSUME = """
import boto3
def assume(role, keys):
    given = boto3.client("sts", **keys).assume_role(
        RoleArn="arn:aws:iam::123456789012:role/" + role, RoleSessionName="me")["Credentials"]
    return dict(aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"], aws_session_token=given["SessionToken"])
one = assume("one", {})
print(one)
"""


async def test_a_chain_of_three_roles_across_cells(cloud: LocalAws, jupyter_home: Path) -> None:
    write_policy(jupyter_home / "config" / "keyless" / "policy.cedar", CHAIN_POLICY)
    before = set(sessions(cloud))
    async with cells(aws_entry(cloud, "kernel")) as cell:
        assert "keylessplaceholder/" in await cell(ASSUME)
        assert "keylessplaceholder/" in await cell("two = assume('two', one); print(two)")
        assert "keylessplaceholder/" in await cell("three = assume('three', two); print(three)")
        said = await cell("print(boto3.client('sts', **three).get_caller_identity()['Arn'])")
        assert ":assumed-role/three/me" in said
        assert "AccessDenied" in await cell(
            "boto3.client('s3', **three).create_bucket(Bucket='not-by-this-policy')"
        )
        await cell("open('kept', 'w').write(repr((one, two, three)))")
        secrets = {name: value for name, value in sessions(cloud).items() if name not in before}
        assert len(secrets) == 6  # secret and token of three sessions
        hunt(cell, jupyter_home, {"key": cloud.secret_access_key, **secrets})
    done = [action for action, decision in requests_on_record(jupyter_home) if decision == "allow"]
    assert done == [*3 * ["aws:sts:AssumeRole"], "aws:sts:GetCallerIdentity"]


async def test_the_built_in_policy_lets_no_cell_assume_a_role(
    cloud: LocalAws, jupyter_home: Path
) -> None:
    (jupyter_home / "config" / "keyless" / "policy.cedar").unlink()
    async with cells(aws_entry(cloud, "kernel")) as cell:
        said = await cell(ASSUME)
        assert "AccessDenied" in said
        assert "default.credentials" in said
        assert "Arn" in await cell("print(boto3.client('sts').get_caller_identity())")


def sessions(aws: LocalAws) -> dict[str, str]:
    """Secrets and tokens of all sessions that the local AWS has handed out."""
    assert aws._front is not None
    known = aws._front._gatekeeper.principals._by_key.values()
    found = [each for each in known if each.token]
    secrets = {f"secret of {each.access_key_id}": each.secret for each in found}
    return secrets | {f"token of {each.access_key_id}": each.token for each in found}


async def test_removal_from_the_vault_ends_a_living_kernels_use(
    cloud: LocalAws, jupyter_home: Path
) -> None:
    vault = FileSource.open(jupyter_home / "data" / "keyless")
    stored = aws_entry(cloud, "kernel")
    vault.add(Entry("cloud", "aws", stored["fields"], ("kernel",), source="file"))
    ask = "import boto3; sts = boto3.client('sts'); print(sts.get_caller_identity()['Arn'])"
    async with cells() as cell:
        assert await cell(ask) == cloud.user_arn + "\n"
        # Rebound to a tool only: the kernel may not use it from now on.
        vault.add(Entry("cloud", "aws", stored["fields"], ("aws",), source="file"), replace=True)
        assert "InvalidClientTokenId" in await cell("sts.get_caller_identity()")
        vault.add(Entry("cloud", "aws", stored["fields"], ("kernel",), source="file"), replace=True)
    async with cells() as cell:
        assert await cell(ask) == cloud.user_arn + "\n"
        vault.remove("cloud")
        # On the same connection, and on a new one.
        for code in ("sts.get_caller_identity()", ask):
            assert "InvalidClientTokenId" in await cell(code)
        assert await cell("print('alive')") == "alive\n"


@pytest.fixture(scope="module")
def database() -> Iterator[postgres.Server]:
    if postgres.binaries() is None:
        pytest.skip("install postgresql-15")
    with postgres.running() as server:
        yield server


QUERY = """
import os, psycopg
with psycopg.connect() as connection:
    connection.execute("create temp table t (a int)")
    with connection.cursor().copy("copy t from stdin") as copy:
        for number in range(1000):
            copy.write_row((number,))
    print(connection.execute("select sum(a), current_user from t").fetchone())
"""


async def test_psycopg_works_in_a_cell_without_a_password(
    database: postgres.Server, jupyter_home: Path
) -> None:
    fields = database.fields(sslmode="verify-full", sslrootcert=database.authority.certificate)
    entry = {"name": "shop", "kind": "postgres", "fields": fields, "tools": ["kernel"]}
    async with cells(entry) as cell:
        assert await cell(QUERY) == "(499500, 'app')\n"
        environment = await cell("print(dict(os.environ))")
        assert "PGPASSWORD" not in environment
        assert "PROXY" not in environment.upper()
        assert await cell(CLOSED.format(port=3128)) == "closed\n"
        hunt(cell, jupyter_home, {"password": postgres.PASSWORD})
    assert "postgres.connect" in {record["kind"] for record in audit(jupyter_home)}


CLOSED = """
import socket
with socket.socket() as one:
    print({{0: "open"}}.get(one.connect_ex(("127.0.0.1", {port})), "closed"))
"""


async def test_without_a_binding_to_the_kernel_there_is_nothing(
    cloud: LocalAws, jupyter_home: Path
) -> None:
    async with cells(aws_entry(cloud, "aws")) as cell:
        environment = await cell("import os; print(dict(os.environ))")
        for word in ("PROXY", "AWS_", "KEYLESS0", "AKIA", "CA_BUNDLE", "SSL_CERT", "PGHOST"):
            assert word not in environment.upper()
        for port in (3128, 5432):
            assert await cell(CLOSED.format(port=port)) == "closed\n"
        assert await cell("import os; print(os.listdir('/etc/keyless'))") == "[]\n"


OTHERS = """
import os, boto3
print(boto3.client("sts", **{keys!r}).get_caller_identity())
"""
TELL = """#!/bin/sh
echo "$AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY $HTTPS_PROXY"
"""


async def test_a_placeholder_of_a_tools_entry_is_refused_in_cells(
    cloud: LocalAws, jupyter_home: Path
) -> None:
    program = jupyter_home / "tell"
    program.write_text(TELL)
    program.chmod(0o755)
    tool = {
        "path": str(program),
        "delivery": "proxy",
        "secret_env": {
            "AWS_ACCESS_KEY_ID": "aws:access_key_id",
            "AWS_SECRET_ACCESS_KEY": "aws:secret_access_key",
        },
    }
    config = jupyter_home / "config" / "jupyter_keyless_config.py"
    config.write_text(config.read_text() + f"c.Tools.declared = {{'tell': {tool!r}}}\n")
    own, other = aws_entry(cloud, "kernel", name="own"), aws_entry(cloud, "tell", name="other")
    async with cells(own, other) as cell:
        said = await cell("got = %secure_exec tell\nprint(got.stdout)")
        key, secret, proxy = said.split("\n")[0].split()
        assert is_placeholder(key)
        assert is_placeholder(secret)
        keys = {"aws_access_key_id": key, "aws_secret_access_key": secret}
        assert "InvalidClientTokenId" in await cell(OTHERS.format(keys=keys))
        # Nor is the tool's own proxy, which ended with it, reached from here.
        assert await cell(CLOSED.format(port=proxy.rpartition(":")[2])) == "closed\n"
        assert "Arn" in await cell("print(boto3.client('sts').get_caller_identity())")


HOSTILE = r"""
import os, socket, ssl
H = "sts.us-east-1.amazonaws.com"
END = b"\r\n\r\n"

def answer(one, data):
    one.sendall(data)
    got = b""
    while part := one.recv(65536):
        got += part
    return got.split(b"\r\n")[0].decode()

def plain(data):
    with socket.create_connection(("127.0.0.1", 3128), timeout=30) as one:
        try:
            return answer(one, data)
        except OSError as error:
            return type(error).__name__

def tunnelled(data):
    with socket.create_connection(("127.0.0.1", 3128), timeout=30) as one:
        one.sendall(f"CONNECT {H}:443 HTTP/1.1\r\nHost: {H}:443".encode() + END)
        assert one.recv(4096).startswith(b"HTTP/1.1 200")
        trust = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
        with trust.wrap_socket(one, server_hostname=H) as secure:
            return answer(secure, data)

def head(*lines, start="POST / HTTP/1.1"):
    return "\r\n".join([start, f"Host: {H}", *lines, "", ""]).encode()

def connect(target, more=b""):
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}".encode() + END + more

for data in (
    head("Content-Length: 5", "Transfer-Encoding: chunked") + b"0" + END,
    head("Content-Length: 5", "Content-Length: 6") + b"12345",
    head("Content-Length: +5") + b"12345",
    head("Transfer-Encoding: chunked, chunked") + b"0" + END,
    head("Transfer-Encoding : chunked") + b"0" + END,
    head("X: a\r\n b"),
    head("X: a\nY: b"),
    head("Host: iam.amazonaws.com"),
    head(start="POST https://iam.amazonaws.com/ HTTP/1.1"),
    head(start=f"CONNECT {H}:443 HTTP/1.1"),
    b"\x16\x03\x01" + bytes(100) + END,
):
    print("bad", tunnelled(data))
for data in (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:3128" + END,
    connect(f"{H}@example.com:443"),
    connect("127.0.0.1:443\r\nHost: a"),
    connect(f"{H}:443", b"GET / HTTP/1.1" + END),
    b"A" * 60_000 + END,
    f"GET http://{H}:443/ HTTP/1.1\r\nConnection: close\r\nHost: {H}:443".encode() + END,
):
    print("bad", plain(data))
for data in (
    f"GET http://{H}/ HTTP/1.1\r\nConnection: close\r\nHost: {H}".encode() + END,
    connect(f"{H}:22"),
    connect("127.0.0.1:443"),
    connect("[::ffff:127.0.0.1]:443"),
    connect("169.254.169.254:80"),
    connect("evil-amazonaws.com:443"),
    connect("s3.amazonaws.com.example.com:443"),
):
    print("refused", plain(data))
print("refused", tunnelled(head("Connection: close")))
"""


async def test_a_hostile_cell_gets_refusals_and_the_proxy_lives_on(
    cloud: LocalAws, jupyter_home: Path
) -> None:
    async with cells(aws_entry(cloud, "kernel")) as cell:
        said = (await cell(HOSTILE)).splitlines()
        expected = [*17 * ["bad HTTP/1.1 400 "], *8 * ["refused HTTP/1.1 403 "]]
        assert [line[: len(start)] for line, start in zip(said, expected, strict=True)] == expected
        assert all(len(line) > len(start) for line, start in zip(said, expected, strict=True))
        assert "Arn" in await cell("import boto3; print(boto3.client('sts').get_caller_identity())")
        assert requests_on_record(jupyter_home)[-1] == ("aws:sts:GetCallerIdentity", "allow")
        assert "allow" not in [decision for _, decision in requests_on_record(jupyter_home)[:-1]]


FLOOD = """
import socket
held = []
for _ in range(300):
    one = socket.socket(); one.settimeout(10)
    one.connect_ex(("127.0.0.1", 3128)); held.append(one)
for one in held: one.close()
"""


async def test_connections_that_say_nothing_hold_nobody_up_for_good(
    cloud: LocalAws, jupyter_home: Path
) -> None:
    async with cells(aws_entry(cloud, "kernel")) as cell:
        assert await cell(FLOOD) == ""
        assert "Arn" in await cell("import boto3; print(boto3.client('sts').get_caller_identity())")


async def test_a_restart_gives_fresh_listeners_and_placeholders(
    cloud: LocalAws, jupyter_home: Path
) -> None:
    ask = "import os, boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    key = "print(os.environ['AWS_ACCESS_KEY_ID'], os.environ['AWS_SECRET_ACCESS_KEY'])"
    async with cells(aws_entry(cloud, "kernel")) as cell:
        assert await cell(ask) == cloud.user_arn + "\n"
        before = (await cell(key)).split()
        await cell.manager.restart_kernel(now=True)
        await cell.client.wait_for_ready(timeout=60)
        assert await cell(ask) == cloud.user_arn + "\n"
        after = (await cell(key)).split()
        assert before != after
        # What an earlier life was given is worth nothing.
        keys = {"aws_access_key_id": before[0], "aws_secret_access_key": before[1]}
        assert "InvalidClientTokenId" in await cell(OTHERS.format(keys=keys))


async def test_what_a_cell_serves_itself_is_reached_directly(
    cloud: LocalAws, jupyter_home: Path
) -> None:
    async with cells(aws_entry(cloud, "kernel")) as cell:
        said = await cell(
            "import http.server, threading, requests\n"
            "class Quiet(http.server.SimpleHTTPRequestHandler):\n"
            "    def log_message(self, *_): pass\n"
            "server = http.server.HTTPServer(('127.0.0.1', 0), Quiet)\n"
            "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
            "print(requests.get(f'http://127.0.0.1:{server.server_port}/').status_code)"
        )
        assert said == "200\n"
