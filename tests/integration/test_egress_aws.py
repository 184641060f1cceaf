"""boto3, the AWS CLI and curl through the proxy, against an AWS that checks signatures."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import os
import socket
import ssl
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from tests.support.egress import AWS_CLI, Egress
from tests.support.more_aws import MoreAws, keys_of
from tests.support.web import Handler, serving

from keyless.localaws import LocalAws
from keyless_sidecar.placeholders import is_placeholder
from keyless_sidecar.policy.engine import CedarPolicy, Principal
from keyless_sidecar.vault import Entry

ARN = "arn:aws:iam::123456789012:role/"
EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}],
}

#: Reads AWS's models and endpoints once for all tests.
LOADER = Loader()


class Clock:
    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    roles = dict.fromkeys(("one", "two", "three"), EVERYTHING)
    with MoreAws(user_policy=EVERYTHING, roles=roles) as running:
        iam = directly(running, "iam")
        for role in roles:
            iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(TRUST))
        iam.close()
        yield running


def directly(aws: LocalAws, service: str) -> Any:
    """A client without the proxy."""
    return boto3.client(service, config=Config(proxies={}), **keys_of(aws))


def entry_of(aws: LocalAws, name: str = "prod") -> Entry:
    fields = {
        "access_key_id": aws.access_key_id,
        "secret_access_key": aws.secret_access_key,
        "region": "us-east-1",
    }
    return Entry(name, "aws", fields, ("aws",), source="memory")


@pytest.fixture
def egress(aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Egress]:
    with Egress(tmp_path, [entry_of(aws)], {"*.amazonaws.com": aws.endpoint}) as running:
        for name, value in running.environment("prod").items():
            monkeypatch.setenv(name, value)
        yield running


def client(service: str, **options: Any) -> Any:
    """As in a cell: nothing is said about proxies or credentials."""
    session = botocore.session.Session()
    session.register_component("data_loader", LOADER)
    return boto3.session.Session(botocore_session=session).client(service, **options)


@pytest.fixture
def clients() -> Iterator[Callable[..., Any]]:
    made = []

    def make(service: str, **options: Any) -> Any:
        made.append(client(service, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


Clients = Callable[..., Any]


def run_cli(egress: Egress, *words: str, data: bytes = b"", **more: str) -> tuple[int, str, str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **egress.environment("prod")}
    done = subprocess.run(
        [AWS_CLI, *words], input=data, capture_output=True, env={**environment, **more}, timeout=60
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_boto3_speaks_to_sts_iam_and_lambda(
    egress: Egress, aws: LocalAws, clients: Clients
) -> None:
    assert clients("sts").get_caller_identity()["Arn"] == aws.user_arn
    assert clients("iam").list_users()["Users"][0]["Arn"] == aws.user_arn
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("f.py", "def handler(event, context): return 1")
    functions = clients("lambda")
    made = functions.create_function(
        FunctionName="f",
        Runtime="python3.12",
        Role=aws.role_arn,
        Handler="f.handler",
        Code={"ZipFile": packed.getvalue()},
    )
    assert (
        made["CodeSha256"] == base64.b64encode(hashlib.sha256(packed.getvalue()).digest()).decode()
    )
    assert functions.get_function_configuration(FunctionName="f")["FunctionName"] == "f"
    actions = [record.action for record in egress.records if record.stage == "request"]
    assert actions == [
        "aws:sts:GetCallerIdentity",
        "aws:iam:ListUsers",
        "aws:lambda:CreateFunction",
        "aws:lambda:GetFunctionConfiguration",
    ]
    assert {record.credential for record in egress.records} == {"prod"}
    act = egress.policy.acts[-1]
    assert act.mutating is False
    assert act.attributes["region"] == "us-east-1"
    assert act.attributes["parameters"] == {"FunctionName": "f"}
    assert aws.secret_access_key not in repr(egress.records) + repr(egress.policy.acts)


@pytest.mark.parametrize(
    "key",
    [
        "plain",
        "a b+c/d&e=f",
        "sl//ash",
        "ünï/ço∂é 😀",
        "dots/../x",
        "%41%",
        "q?x#y",
        "~!*'()",
        "a//",
    ],
)
def test_objects_with_odd_names(egress: Egress, aws: LocalAws, clients: Clients, key: str) -> None:
    s3 = clients("s3")
    body = os.urandom(1000)
    s3.put_object(Bucket=aws.bucket, Key=key, Body=body)
    assert s3.get_object(Bucket=aws.bucket, Key=key)["Body"].read() == body
    assert key in [o["Key"] for o in s3.list_objects_v2(Bucket=aws.bucket)["Contents"]]
    assert egress.policy.acts[0].attributes["resource"] == f"arn:aws:s3:::{aws.bucket}/{key}"
    s3.delete_object(Bucket=aws.bucket, Key=key)


@pytest.mark.parametrize("style", ["path", "virtual"])
def test_large_objects_stream_in_parts(
    egress: Egress, aws: LocalAws, clients: Clients, style: str, tmp_path: Path
) -> None:
    s3 = clients("s3", config=Config(s3={"addressing_style": style}))
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(20 * 1024 * 1024))
    s3.upload_file(str(source), aws.bucket, "large")
    s3.download_file(aws.bucket, "large", str(back))
    assert back.read_bytes() == source.read_bytes()
    assert "aws:s3:UploadPart" in {record.action for record in egress.records}


@pytest.mark.parametrize("signed", [True, False])
def test_uploads_from_a_stream(
    egress: Egress, aws: LocalAws, clients: Clients, signed: bool
) -> None:
    s3 = clients("s3", config=Config(s3={"payload_signing_enabled": signed}))
    body = os.urandom(300_000)
    for algorithm in ("CRC32", "SHA256"):
        s3.put_object(
            Bucket=aws.bucket, Key="s", Body=io.BytesIO(body), ChecksumAlgorithm=algorithm
        )
        assert s3.get_object(Bucket=aws.bucket, Key="s")["Body"].read() == body


def test_a_presigned_url_works_here_and_nowhere_else(
    egress: Egress, aws: LocalAws, clients: Clients
) -> None:
    s3 = clients("s3", config=Config(signature_version="s3v4"))
    s3.put_object(Bucket=aws.bucket, Key="p", Body=b"content")
    url = s3.generate_presigned_url("get_object", {"Bucket": aws.bucket, "Key": "p"})
    assert "AKIAKEYLESS" in url
    told = curl(egress, url)
    assert told == "content"
    straight = subprocess.run(
        [
            "curl",
            "-s",
            "--noproxy",
            "*",
            "-H",
            f"Host: {aws.bucket}.s3.amazonaws.com",
            url.replace(f"https://{aws.bucket}.s3.amazonaws.com", aws.endpoint),
        ],
        capture_output=True,
        timeout=30,
    ).stdout.decode()
    assert "content" not in straight
    egress.policy.rules["aws:s3:GetObject"] = "deny"
    assert "The test's policy says so (rule test:aws:s3:GetObject)" in curl(egress, url)


def curl(egress: Egress, *words: str, **more: str) -> str:
    environment = {"PATH": "/usr/bin:/bin", "https_proxy": egress.url, **more}
    done = subprocess.run(
        ["curl", "-sS", "--cacert", str(egress.ca), *words],
        capture_output=True,
        env=environment,
        timeout=60,
    )
    return done.stdout.decode() + done.stderr.decode()


def test_a_denial_reads_as_the_services_own_error(egress: Egress, clients: Clients) -> None:
    egress.policy.rules |= {"aws:*:Delete*": "deny", "aws:*:Create*": "ask"}
    asked = [
        ("iam", "delete_user", {"UserName": "u"}),
        ("s3", "delete_bucket", {"Bucket": "pictures"}),
        ("lambda", "delete_function", {"FunctionName": "f"}),
        ("secretsmanager", "delete_secret", {"SecretId": "s"}),
        ("ec2", "delete_volume", {"VolumeId": "vol-1"}),
    ]
    for service, method, parameters in asked:
        with pytest.raises(ClientError) as caught:
            getattr(clients(service), method)(**parameters)
        error = caught.value.response["Error"]
        assert error["Code"] in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
        assert "is not allowed: The test's policy says so (rule test:" in error["Message"]
    with pytest.raises(ClientError, match="needs a person's approval"):
        clients("iam").create_user(UserName="u")
    assert {record.decision for record in egress.records} == {"deny", "ask"}


def test_a_denied_upload_is_refused_before_it_is_sent(egress: Egress, aws: LocalAws) -> None:
    egress.policy.rules["aws:s3:PutObject"] = "deny"
    host = f"{aws.bucket}.s3.amazonaws.com"
    request = AWSRequest("PUT", f"https://{host}/k", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
    keys = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    request.context["payload_signing_enabled"] = False
    S3SigV4Auth(keys, "s3", "us-east-1").add_auth(request)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with socket.create_connection(("127.0.0.1", egress.port), timeout=30) as plain:
        plain.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
        assert plain.recv(4096).startswith(b"HTTP/1.1 200")
        context = ssl.create_default_context(cafile=str(egress.ca))
        with context.wrap_socket(plain, server_hostname=host) as secure:
            secure.sendall(
                f"PUT /k HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\n"
                f"Content-Length: {50 << 20}\r\n{head}\r\n".encode()
            )
            answer = secure.recv(65536)
    assert answer.startswith(b"HTTP/1.1 403 ")  # and no "100 Continue" before it
    assert egress.records[0].rule == "test:aws:s3:PutObject"


def test_what_stands_in_the_body_counts_before_it_is_denied(
    aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clients: Clients
) -> None:
    """A rule about a parameter in the body isn't decided by the head alone."""
    policy = CedarPolicy(
        '@id("orders") permit (principal, action == Action::"aws:lambda:CreateFunction", resource)'
        ' when { context.parameters.FunctionName like "orders-*" };',
        Principal("kernel"),
    )
    with Egress(tmp_path, [entry_of(aws)], {"*.amazonaws.com": aws.endpoint}, policy) as egress:
        for name, value in egress.environment("prod").items():
            monkeypatch.setenv(name, value)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("f.py", "x = 1")
        more = {"Runtime": "python3.12", "Role": aws.role_arn, "Handler": "f.handler"}
        functions = clients("lambda")
        code = {"ZipFile": packed.getvalue()}
        functions.create_function(FunctionName="orders-1", Code=code, **more)
        with pytest.raises(ClientError, match=r"policy\.cedar:none"):
            functions.create_function(FunctionName="bills-1", Code=code, **more)
        with pytest.raises(ClientError, match=r"policy\.cedar:none"):
            functions.delete_function(FunctionName="orders-1")
    allowed = [(r.decision, r.rule) for r in egress.records if r.stage == "request"]
    assert allowed[0] == ("allow", "policy.cedar:orders")


def test_a_key_inside_an_object_is_replaced_and_nothing_else_is(
    egress: Egress, aws: LocalAws, clients: Clients
) -> None:
    content = f"{{}} {aws.access_key_id} {aws.secret_access_key} end".encode() + os.urandom(99_999)
    straight = directly(aws, "s3")
    straight.put_object(Bucket=aws.bucket, Key="leaked", Body=content)
    straight.close()
    s3 = clients("s3", config=Config(response_checksum_validation="when_required"))
    answer = s3.get_object(Bucket=aws.bucket, Key="leaked")
    assert answer["ContentLength"] == len(content)
    body = answer["Body"].read()
    keys = egress.environment("prod")
    assert body == content.replace(
        aws.access_key_id.encode(), keys["AWS_ACCESS_KEY_ID"].encode()
    ).replace(aws.secret_access_key.encode(), keys["AWS_SECRET_ACCESS_KEY"].encode())


def test_a_chain_of_three_roles(egress: Egress, aws: LocalAws, clients: Clients) -> None:
    keys: dict[str, str] = {}
    for role in ("one", "two", "three"):
        given = clients("sts", **keys).assume_role(RoleArn=ARN + role, RoleSessionName="me")
        found = given["Credentials"]
        assert all(is_placeholder(found[k]) for k in found if k != "Expiration")
        assert found["Expiration"] > datetime.now(UTC)
        keys = {
            "aws_access_key_id": found["AccessKeyId"],
            "aws_secret_access_key": found["SecretAccessKey"],
            "aws_session_token": found["SessionToken"],
        }
    assert ":assumed-role/three/me" in clients("sts", **keys).get_caller_identity()["Arn"]
    clients("s3", **keys).put_object(Bucket=aws.bucket, Key="chained", Body=b"x")
    assert {record.credential for record in egress.records} == {"prod"}

    egress.in_loop(lambda: egress.book.forget("prod"))
    with pytest.raises(ClientError) as caught:
        clients("sts", **keys).get_caller_identity()
    assert caught.value.response["Error"]["Code"] == "InvalidClientTokenId"


def test_removal_from_the_vault_ends_a_chain_at_once(egress: Egress, clients: Clients) -> None:
    sts = clients("sts")
    found = sts.get_session_token()["Credentials"]
    session = clients(
        "sts",
        aws_access_key_id=found["AccessKeyId"],
        aws_secret_access_key=found["SecretAccessKey"],
        aws_session_token=found["SessionToken"],
    )
    session.get_caller_identity()
    del egress.entries["prod"]
    for one in (session, sts):
        with pytest.raises(ClientError) as caught:
            one.get_caller_identity()
        assert caught.value.response["Error"]["Code"] == "InvalidClientTokenId"


def test_a_session_expires_as_the_real_one_does(
    aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clients: Clients
) -> None:
    clock = Clock()
    with Egress(
        tmp_path, [entry_of(aws)], {"*.amazonaws.com": aws.endpoint}, clock=clock
    ) as egress:
        for name, value in egress.environment("prod").items():
            monkeypatch.setenv(name, value)
        found = clients("sts").assume_role(
            RoleArn=ARN + "one", RoleSessionName="me", DurationSeconds=900
        )["Credentials"]
        session = clients(
            "sts",
            aws_access_key_id=found["AccessKeyId"],
            aws_secret_access_key=found["SecretAccessKey"],
            aws_session_token=found["SessionToken"],
        )
        session.get_caller_identity()
        clock.ahead = timedelta(seconds=901)
        with pytest.raises(ClientError) as caught:
            session.get_caller_identity()
        assert caught.value.response["Error"]["Code"] == "ExpiredToken"
        assert egress.in_loop(egress.book.captured_values) == []


def test_secrets_in_answers_are_placeholders(
    egress: Egress, aws: LocalAws, clients: Clients
) -> None:
    secret = "Zt8mQ1xV4kW7rB2nL9cY6hJ3pD5sF0gA"
    clients("secretsmanager").create_secret(Name="s", SecretString=secret)
    assert is_placeholder(clients("secretsmanager").get_secret_value(SecretId="s")["SecretString"])
    ssm = clients("ssm")
    ssm.put_parameter(Name="p", Value=secret, Type="SecureString")
    ssm.put_parameter(Name="q", Value="plain", Type="String")
    told = ssm.get_parameters(Names=["p", "q"], WithDecryption=True)["Parameters"]
    values = {parameter["Name"]: parameter["Value"] for parameter in told}
    assert is_placeholder(values["p"])
    assert values["q"] == "plain"
    made = clients("iam").create_access_key(UserName="lambda-deployer")["AccessKey"]
    assert made["AccessKeyId"].startswith("AKIAKEYLESS")
    assert is_placeholder(made["SecretAccessKey"])
    kept = egress.in_loop(egress.book.captured_values)
    assert secret.encode() in [value for _, value in kept]
    # moto tells the ids of all keys; that of the one in use comes back as its placeholder
    ids = [
        key["AccessKeyId"]
        for key in clients("iam").list_access_keys(UserName="lambda-deployer")["AccessKeyMetadata"]
    ]
    assert aws.access_key_id not in ids


def test_an_entry_with_a_session_token(egress: Egress, aws: LocalAws, clients: Clients) -> None:
    """The placeholder has no token; the real one is added, and rotated values count at once."""
    sts = directly(aws, "sts")
    found = sts.assume_role(RoleArn=ARN + "two", RoleSessionName="rotated")["Credentials"]
    sts.close()
    old = egress.entries["prod"]
    egress.entries["prod"] = dataclasses.replace(
        old,
        fields={
            "access_key_id": found["AccessKeyId"],
            "secret_access_key": found["SecretAccessKey"],
            "session_token": found["SessionToken"],
        },
    )
    assert ":assumed-role/two/rotated" in clients("sts").get_caller_identity()["Arn"]
    s3 = clients("s3", config=Config(signature_version="s3v4"))
    s3.put_object(Bucket=aws.bucket, Key="t", Body=io.BytesIO(b"content"))
    url = s3.generate_presigned_url("get_object", {"Bucket": aws.bucket, "Key": "t"})
    assert curl(egress, url) == "content"


def test_the_cli_works_and_shows_placeholders_only(
    egress: Egress, aws: LocalAws, tmp_path: Path
) -> None:
    code, out, err = run_cli(egress, "sts", "get-caller-identity", "--debug")
    assert code == 0, err
    assert json.loads(out)["Arn"] == aws.user_arn
    assert "AKIAKEYLESS" in err
    for value in (aws.access_key_id, aws.secret_access_key):
        assert value not in out + err
    source = tmp_path / "f"
    source.write_bytes(os.urandom(9 * 1024 * 1024))
    code, _, err = run_cli(egress, "s3", "cp", str(source), f"s3://{aws.bucket}/a/b")
    assert code == 0, err
    code, _, err = run_cli(egress, "s3", "cp", f"s3://{aws.bucket}/a/b", str(tmp_path / "g"))
    assert code == 0, err
    assert (tmp_path / "g").read_bytes() == source.read_bytes()
    code, out, err = run_cli(
        egress, "sts", "assume-role", "--role-arn", ARN + "one", "--role-session-name", "me"
    )
    assert code == 0, err
    found = json.loads(out)["Credentials"]
    assert is_placeholder(found["SecretAccessKey"])
    code, out, err = run_cli(
        egress,
        "sts",
        "get-caller-identity",
        AWS_ACCESS_KEY_ID=found["AccessKeyId"],
        AWS_SECRET_ACCESS_KEY=found["SecretAccessKey"],
        AWS_SESSION_TOKEN=found["SessionToken"],
    )
    assert code == 0, err
    assert ":assumed-role/one/me" in out
    egress.policy.rules["aws:iam:*"] = "deny"
    code, _, err = run_cli(egress, "iam", "list-users")
    assert code != 0
    assert "(AccessDenied)" in err
    assert "(rule test:aws:iam:*)" in err


class _Api(Handler):
    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.seen.append({"path": self.path, **dict(self.headers.items())})
        self.reply(f"you said {self.headers['Authorization']}".encode())


def test_curl_with_a_bearer_placeholder(tmp_path: Path) -> None:
    real = "ghp_Zt8mQ1xV4kW7rB2nL9cY6hJ3pD5sF0gAeR1u"
    seen: list[dict[str, str]] = []
    entry = Entry("gh", "token", {"value": real}, ("curl",), hosts=("api.github.com",))
    with (
        serving(type("Api", (_Api,), {"seen": seen})) as port,
        Egress(
            tmp_path,
            [entry],
            {"*.github.com": f"http://127.0.0.1:{port}"},
            allowed=["*.github.com"],
        ) as egress,
    ):
        token = egress.token("gh")
        said = curl(egress, "-H", f"Authorization: Bearer {token}", "https://api.github.com/user")
        assert said == f"you said Bearer {token}"
        assert seen[0]["Authorization"] == f"Bearer {real}"
        said = curl(egress, "-u", f"me:{token}", "https://api.github.com/user")
        assert base64.b64encode(f"me:{real}".encode()).decode() in seen[1]["Authorization"]
        assert base64.b64encode(f"me:{token}".encode()).decode() in said
        refused = curl(
            egress, "-H", f"Authorization: Bearer {token}", "https://uploads.github.com/"
        )
        assert "403" in refused
        assert len(seen) == 2
