"""Pattern 2 in real kernels against the local AWS: temporary keys that cells hold for a while.

What the tests look at is what AWS saw, what the audit holds, and what can't be done with the keys.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.support.hunt import Hunter
from tests.support.more_aws import keys_of
from tests.support.policies import write_policy
from tests.support.sidecar import Sidecar, eventually

from keyless.localaws.principals import Principal
from keyless.localaws.server import LocalAws
from keyless.protocol.messages import Cancel, CloseSession, Failed, OpenSession, SessionOpened
from keyless_sidecar.vault import Entry, FileSource

from .test_kernel_network import CLOSED, Cells, audit, aws_entry, cells

EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
ROLE = "arn:aws:iam::123456789012:role/deploy"
POLICY = """
@id("sessions") permit (principal, action == Action::"session", resource);
@id("tools") permit (principal, action == Action::"exec", resource);
@id("reads") permit (principal, action in Action::"aws", resource)
when { !context.mutating && context.exposure == "" };
@id("deploys") permit (principal, action == Action::"aws:lambda:UpdateFunctionCode", resource);
@id("uploads") permit (principal, action == Action::"aws:s3:PutObject", resource);
"""


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    """A local AWS whose user may do everything, with a role that it may assume, and a function."""
    with LocalAws(user_policy=EVERYTHING, roles={"deploy": EVERYTHING}) as running:
        functions = boto3.client("lambda", config=Config(proxies={}), **keys_of(running))
        functions.create_function(
            FunctionName="thumbs",
            Runtime="python3.12",
            Handler="main.run",
            Role=running.role_arn,
            Code={"ZipFile": package()},
        )
        functions.close()
        yield running


def package(body: str = "pass") -> bytes:
    """A function's code."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("main.py", f"def run(*_):\n    {body}\n")
    return file.getvalue()


def turned_on(home: Path, aws: LocalAws, more: str = "", **options: Any) -> None:
    """Configure: the local AWS in AWS's place, sessions of ``cloud``, a policy."""
    sessions = {"cloud": {"role_arn": ROLE, "to": ["kernel"], **options}}
    (home / "config" / "jupyter_keyless_config.py").write_text(
        f"c.Egress.upstreams = {{'*.amazonaws.com': {aws.endpoint!r}}}\n"
        f"c.Vault.sessions = {sessions!r}\n{more}"
    )
    write_policy(home / "config" / "keyless" / "policy.cedar", POLICY)


def handed_out(aws: LocalAws, known: set[str]) -> list[Principal]:
    """The sessions that the local AWS has made beside some known ones."""
    assert aws._front is not None
    found = aws._front._gatekeeper.principals._by_key.values()
    return [each for each in found if each.token and each.access_key_id not in known]


def ids(aws: LocalAws) -> set[str]:
    return {each.access_key_id for each in handed_out(aws, set())}


def still_good(aws: LocalAws, session: Principal) -> bool:
    """Whether AWS takes a session's keys, from wherever they are used."""
    client = boto3.client(
        "lambda",
        endpoint_url=aws.endpoint,
        region_name="us-east-1",
        aws_access_key_id=session.access_key_id,
        aws_secret_access_key=session.secret,
        aws_session_token=session.token,
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )
    try:
        client.update_function_code(FunctionName="thumbs", ZipFile=package())
    except ClientError:
        return False
    finally:
        client.close()
    return True


def records(home: Path, kind: str) -> list[dict[str, Any]]:
    return [each["fields"] for each in audit(home) if each["kind"] == kind]


DEPLOY = """
from keyless import secure_session
with secure_session("cloud", operations=["lambda:UpdateFunctionCode"]) as session:
    made = session.boto3()
    answer = made.client("lambda").update_function_code(
        FunctionName="thumbs", ZipFile=open("code.zip", "rb").read())
    print(answer["FunctionName"], made.client("sts").get_caller_identity()["Arn"])
    kept = session.environment
"""
AFTER = """
for use in (lambda: session.environment, session.boto3, session.__enter__):
    try:
        use()
    except Exception as error:
        print(type(error).__name__, error)
import boto3
boto3.client("sts", aws_access_key_id=kept["AWS_ACCESS_KEY_ID"],
    aws_secret_access_key=kept["AWS_SECRET_ACCESS_KEY"],
    aws_session_token=kept["AWS_SESSION_TOKEN"]).get_caller_identity()
"""
OTHER = """
session = secure_session("cloud", operations=["lambda:UpdateFunctionCode"])
session.boto3().client("s3").list_buckets()
"""


LIVING = """
one = secure_session('cloud', operations='sts:GetCallerIdentity')
sts = one.boto3().client('sts')
"""


async def test_a_cell_deploys_with_a_session_and_cloudtrail_tells_which_cell(
    aws: LocalAws, jupyter_home: Path
) -> None:
    turned_on(jupyter_home, aws)
    vault = FileSource.open(jupyter_home / "data" / "keyless")
    vault.add(Entry("cloud", "aws", aws_entry(aws)["fields"], ("aws",), source="file"))
    before, seen = ids(aws), len(aws.events)
    async with cells() as cell:
        await cell(f"open('code.zip', 'wb').write({package('return 1')!r})")
        said = await cell(DEPLOY)
        assert said.startswith("thumbs arn:aws:sts::123456789012:assumed-role/deploy/keyless-")
        shown = [m["content"]["data"] for m in cell.messages if m["msg_type"] == "display_data"]
        assert len(shown) == 1
        assert "lambda:UpdateFunctionCode" in shown[0]["text/plain"]
        assert "all code in this kernel" in shown[0]["text/html"]
        assert "15 minutes" in shown[0]["text/plain"]
        assert_told_by_cloudtrail(aws, seen, jupyter_home)

        # After its end: neither the object nor the proxy takes the keys. AWS does, as is said.
        said = await cell(AFTER)
        assert said.count("InvalidRequest this session was closed") == 3
        assert "InvalidClientTokenId" in said
        assert still_good(aws, handed_out(aws, before)[0])

        # What it isn't for, AWS itself refuses, though the kernel's policy allows it.
        assert "AccessDenied" in await cell(OTHER)
        assert "AWS takes its keys until" in await cell("print(session.close())")
        assert await cell("import os; print('AWS_ACCESS_KEY_ID' in os.environ)") == "False\n"

        # An entry that leaves the vault takes its sessions along.
        await cell(LIVING)
        assert "assumed-role" in await cell("print(sts.get_caller_identity()['Arn'])")
        vault.remove("cloud")
        assert "ExpiredToken" in await cell("sts.get_caller_identity()")
        assert_no_key_is_seen(aws, handed_out(aws, before), cell, jupyter_home)
    rules = [each["rule"] for each in records(jupyter_home, "session.decision")]
    assert rules == 3 * ["policy.cedar:sessions"]
    ends = [each["why"] for each in records(jupyter_home, "session.closed")]
    assert ends == ["closed", "closed", "entry removed"]


def assert_told_by_cloudtrail(aws: LocalAws, seen: int, home: Path) -> None:
    """The cell, from AWS's side alone; and what the audit says is the same."""
    (event,) = [e for e in aws.events[seen:] if e["eventName"] == "UpdateFunctionCode"]
    name = event["userIdentity"]["sessionContext"]["sourceIdentity"]
    assert event["userIdentity"]["arn"].endswith(f":assumed-role/deploy/{name}")
    _, kernel_id, cell_hash, count = name.split("-")
    assert hashlib.sha256(DEPLOY.encode()).hexdigest().startswith(cell_hash)
    assert records(home, "session.opened")[0]["name"] == name
    (asked,) = records(home, "session.request")
    assert (asked["cell_hash"][:12], str(asked["execution_count"])) == (cell_hash, count)
    assert audit(home)[0]["fields"]["kernel_id"].replace("-", "").startswith(kernel_id)


def assert_no_key_is_seen(aws: LocalAws, theirs: list[Principal], cell: Cells, home: Path) -> None:
    """The long-lived key is nowhere; a session's stand in no output and no record."""
    assert len(theirs) == 3
    secrets = {"key": aws.secret_access_key, "key id": aws.access_key_id}
    for each in theirs:
        secrets[f"secret of {each.access_key_id}"] = each.secret
        secrets[f"token of {each.access_key_id}"] = each.token
    hunter = Hunter(secrets)
    assert hunter.messages(cell.messages) == []
    assert hunter.tree(home / "runtime") == []
    hunter = Hunter(secrets | {each.access_key_id: each.access_key_id for each in theirs})
    assert hunter.tree(home / "data" / "keyless" / "audit") == []


REFUSED = """
from keyless import secure_session
for asked in (
    dict(operations=["lambda:DeleteFunction"]),
    dict(operations=["iam:CreateUser"]),
    dict(operations=["lambda:NoSuchThing"]),
    dict(policy={"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "lambda:*", "Resource": "*"}]}),
    dict(policy={"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::pictures/a"}]}),
    dict(operations=["lambda:UpdateFunctionCode"], minutes=30),
    dict(),
):
    try:
        secure_session("cloud", **asked)
    except Exception as error:
        print(type(error).__name__, str(error).replace(chr(10), " "))
"""


REASONS = [
    ("PolicyDenied", "would open aws:lambda:DeleteFunction"),
    ("PolicyDenied", "aws:iam:CreateUser"),
    ("InvalidRequest", "NoSuchThing"),
    ("InvalidRequest", "name each action"),
    ("PolicyDenied", "would open aws:s3:DeleteObject"),
    ("PolicyDenied", "15 minutes at most"),
    ("InvalidRequest", "No command"),
]
PUT = "%secure_exec --quiet aws s3api put-object --bucket pictures --key {} --body a.txt"
SPILL = """
from keyless import secure_exec
value = session.environment["AWS_SECRET_ACCESS_KEY"]
try:
    secure_exec("aws", ["lambda", value])
except Exception as error:
    print(error)
"""
OPEN = """
from keyless import secure_session
one = secure_session("cloud", operations="lambda:UpdateFunctionCode")
"""


@pytest.mark.attack(
    wall="session policy, by what the policy allows",
    title="Open a session for more than the policy allows, or use it for more than it is for.",
    instead={
        "landlock-root": "no session for cells at this level",
        "landlock": "no session for cells at this level",
    },
)
async def test_a_session_is_never_wider_than_the_policy_and_what_was_done(
    aws: LocalAws, jupyter_home: Path
) -> None:
    turned_on(jupyter_home, aws)
    before = ids(aws)
    async with cells(aws_entry(aws, "aws")) as cell:
        said = (await cell(REFUSED)).splitlines()
        for line, parts in zip(said, REASONS, strict=True):
            assert all(part in line for part in parts), line
        assert ids(aws) == before
        assert len(said) == len(records(jupyter_home, "session.request"))
        assert not any(each["allowed"] for each in records(jupyter_home, "session.decision"))

        # Without operations: for what the commands did, on what they did it to.
        await cell("open('a.txt', 'w').write('hello')")
        assert await cell(PUT.format("a")) == ""
        assert await cell("%secure_session cloud --minutes 15 --out session") == ""
        assert await cell("print(session.actions)") == "('s3:PutObject',)\n"
        put = "session.boto3().client('s3').put_object(Bucket='pictures', Key={!r}, Body=b'x')"
        assert await cell(f"_ = {put.format('a')}") == ""
        assert "AccessDenied" in await cell(put.format("b"))

        # The kernel's own value, given to a tool: in no output of it and in no record.
        spilt = await cell(SPILL)
        secret = (await cell("print(value)")).strip()
        assert "redacted:cloud" in spilt
        assert secret not in spilt
        assert Hunter({"session": secret}).tree(jupyter_home / "data/keyless/audit") == []


@pytest.mark.attack(
    wall="off unless a person names the entry", title="Open a session that nobody turned on."
)
async def test_without_a_persons_word_there_is_nothing(aws: LocalAws, jupyter_home: Path) -> None:
    turned_on(jupyter_home, aws)
    config = jupyter_home / "config" / "jupyter_keyless_config.py"
    config.write_text(config.read_text().replace("c.Vault.sessions", "_"))
    before = ids(aws)
    async with cells(aws_entry(aws, "aws")) as cell:
        said = await cell(DEPLOY)
        assert "PolicyDenied: Sessions are off for the credential cloud" in said
        assert "PolicyDenied" in await cell("%secure_session cloud --operations s3:GetObject")
        assert await cell(CLOSED.format(port=3128)) == "closed\n"
        real = {"key": aws.secret_access_key, "key id": aws.access_key_id}
        assert Hunter(real).messages(cell.messages) == []
    assert ids(aws) == before


async def test_revoking_ends_it_at_aws_too(aws: LocalAws, jupyter_home: Path) -> None:
    turned_on(jupyter_home, aws, revoke=True)
    before = ids(aws)
    async with cells(aws_entry(aws, "aws")) as cell:
        assert await cell(OPEN) == ""
        (session,) = handed_out(aws, before)
        assert still_good(aws, session)
        assert "revoked" in await cell("print(one.close())")
        assert not still_good(aws, session)
        before = ids(aws)
        assert await cell(OPEN) == ""
        (later,) = handed_out(aws, before)
        assert still_good(aws, later)
    # The kernel's end is a session's end.
    assert not still_good(aws, later)
    ends = [(each["why"], each["revoked"]) for each in records(jupyter_home, "session.closed")]
    assert ends == [("closed", True), ("kernel ended", True)]


async def test_a_tool_gets_a_session_instead_of_the_key(aws: LocalAws, jupyter_home: Path) -> None:
    turned_on(jupyter_home, aws, "c.Tools.aws = {'delivery': 'env'}\n", to=["tools"])
    before, seen = ids(aws), len(aws.requests)
    async with cells(aws_entry(aws, "aws", delivery="env")) as cell:
        await cell("open('a.txt', 'w').write('hello')")
        assert await cell(PUT.format("c")) == ""
        assert "PolicyDenied" in await cell("%secure_session cloud --operations s3:PutObject")
    (session,) = handed_out(aws, before)
    (done,) = [each for each in aws.requests[seen:] if each.operation == "PutObject"]
    assert done.principal == session.arn
    assert done.source_identity.startswith("keyless-")
    # And for nothing but this command.
    assert not still_good(aws, session)
    (delivered,) = records(jupyter_home, "session.delivered")
    assert delivered["actions"] == ["s3:PutObject"]


def test_on_the_channel(aws: LocalAws, tmp_path: Path) -> None:
    """What a hostile or hasty kernel side gets: nothing out of order, nothing that it gave up."""
    other = ROLE.replace("deploy", "nobody")
    config = {
        "Egress": {"upstreams": {"*.amazonaws.com": aws.endpoint}},
        "Vault": {
            "sessions": {
                "cloud": {"role_arn": ROLE, "to": ["kernel"]},
                "wrong": {"role_arn": other, "to": ["kernel"]},
            }
        },
    }
    entries = [aws_entry(aws, name=name) for name in ("cloud", "wrong")]
    sidecar = Sidecar(tmp_path, config=config, credentials=entries)
    try:
        sidecar.hello()
        wanted = {"operations": ["sts:GetCallerIdentity"]}
        sidecar.send(OpenSession(id=1, credential="cloud", **wanted))
        opened = sidecar.receive()
        assert isinstance(opened, SessionOpened)
        # It gives up on what it has got already: a keyboard interrupt at the wrong moment.
        sidecar.send(Cancel(id=1))
        assert eventually(lambda: ends(sidecar) == ["cancelled"])
        sidecar.send(CloseSession(id=2, session=opened.session))
        closed = sidecar.receive()
        assert isinstance(closed, Failed)
        assert "no such open session" in closed.message
        # What AWS says stands in the answer as a code, with no place and no request.
        sidecar.send(OpenSession(id=3, credential="wrong", **wanted))
        refused = sidecar.receive()
        assert isinstance(refused, Failed)
        assert refused.message == (
            "wrong: AWS doesn't assume the role: AssumeRole was answered with AccessDenied."
        )
        # A number that was used is an end.
        sidecar.send(OpenSession(id=3, credential="cloud", **wanted))
        with pytest.raises(EOFError):
            sidecar.receive()
    finally:
        sidecar.close()
    assert sidecar.process.returncode == 3


def ends(sidecar: Sidecar) -> list[str]:
    return [r["fields"]["why"] for r in sidecar.records() if r["kind"] == "session.closed"]
