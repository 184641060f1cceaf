"""The local AWS under the real AWS CLI and boto3: the right key works, the rest is refused."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError

from keyless.localaws import LocalAws, LocalAwsError

AWS_CLI = Path(__file__).parents[2] / ".venv-aws" / "bin" / "aws"


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws() as local:
        yield local


def client(aws: LocalAws, service: str, **credentials: str) -> Any:
    keys = {
        "aws_access_key_id": aws.access_key_id,
        "aws_secret_access_key": aws.secret_access_key,
    } | credentials
    config = Config(proxies={}, retries={"max_attempts": 0}, signature_version="v4")
    if service == "s3":
        config = config.merge(Config(signature_version="s3v4"))
    return boto3.client(
        service, endpoint_url=aws.endpoint, region_name=aws.region, config=config, **keys
    )


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def fetch(method: str, url: str, body: bytes = b"") -> tuple[int, bytes]:
    """A request that nobody signs."""
    with urllib3.PoolManager() as pool:
        answer = pool.request(method, url, body=body, retries=False)
        return answer.status, answer.data


def package(text: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("handler.py", text)
    return target.getvalue()


def sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


class Cli:
    """The real AWS CLI with a clean environment."""

    def __init__(self, aws: LocalAws, home: Path) -> None:
        self.home = home
        self.environment = {
            "PATH": os.defpath,
            "HOME": str(home),
            "AWS_ACCESS_KEY_ID": aws.access_key_id,
            "AWS_SECRET_ACCESS_KEY": aws.secret_access_key,
            "AWS_DEFAULT_REGION": aws.region,
            "AWS_ENDPOINT_URL": aws.endpoint,
            "AWS_MAX_ATTEMPTS": "1",
        }

    def __call__(self, line: str, **environment: str) -> tuple[int, str]:
        done = subprocess.run(
            [str(AWS_CLI), *line.split()],
            env=self.environment | environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def cli(aws: LocalAws, tmp_path: Path) -> Cli:
    (tmp_path / "function.zip").write_bytes(package("one"))
    return Cli(aws, tmp_path)


def test_the_cli_deploys_with_the_right_key(cli: Cli, aws: LocalAws) -> None:
    role = "--role arn:aws:iam::123456789012:role/lambda-run"
    made = f"--runtime python3.11 {role} --handler h.h --zip-file fileb://function.zip"
    query = "--query CodeSha256 --output text"
    first = sha256((cli.home / "function.zip").read_bytes())
    assert cli(f"lambda create-function --function-name cli {made} {query}") == (0, first + "\n")

    (cli.home / "function.zip").write_bytes(package("two"))
    second = sha256((cli.home / "function.zip").read_bytes())
    assert second != first
    update = "lambda update-function-code --function-name cli --zip-file fileb://function.zip"
    assert cli(f"{update} {query}") == (0, second + "\n")
    # these have no body: moto alone refuses them
    read = f"lambda get-function-configuration --function-name cli {query}"
    assert cli(read) == (0, second + "\n")
    assert cli("lambda get-function --function-name cli")[0] == 0
    assert "cli" in cli("lambda list-functions --query Functions[].FunctionName")[1]
    assert aws.user_arn in cli("sts get-caller-identity")[1]


def test_the_cli_copies_to_the_one_bucket(cli: Cli, aws: LocalAws) -> None:
    assert cli(f"s3 cp function.zip s3://{aws.bucket}/a/function.zip")[0] == 0
    assert cli(f"s3 cp s3://{aws.bucket}/a/function.zip back.zip")[0] == 0
    assert (cli.home / "back.zip").read_bytes() == (cli.home / "function.zip").read_bytes()
    exit_code, said = cli(f"s3 cp function.zip s3://{aws.bucket}-private/function.zip")
    assert exit_code == 1
    assert "AccessDenied" in said


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sts get-caller-identity", "SignatureDoesNotMatch"),
        ("lambda list-functions", "InvalidSignatureException"),
        ("s3 ls s3://pictures", "SignatureDoesNotMatch"),
    ],
)
def test_the_cli_with_a_wrong_secret(cli: Cli, line: str, expected: str) -> None:
    exit_code, said = cli(line, AWS_SECRET_ACCESS_KEY="x" * 40)
    assert exit_code != 0
    assert expected in said


@pytest.mark.parametrize(
    "line",
    [
        "iam list-users",
        "iam create-access-key --user-name lambda-deployer",
        "sts get-session-token",
        "sts assume-role --role-session-name me --role-arn arn:aws:iam::123456789012:role/x",
        "s3 ls",
        "s3 mb s3://another",
        "ec2 describe-instances",
    ],
)
def test_the_cli_is_denied_the_rest(cli: Cli, line: str) -> None:
    exit_code, said = cli(line)
    assert exit_code != 0
    assert "AccessDenied" in said or "UnauthorizedOperation" in said


def test_code_sha256_is_that_of_the_bytes(aws: LocalAws) -> None:
    functions = client(aws, "lambda")
    data = package("pass")
    made = functions.create_function(
        FunctionName="sdk", Role=aws.role_arn, Runtime="python3.11", Handler="handler.handler",
        Code={"ZipFile": data},
    )  # fmt: skip
    assert made["CodeSha256"] == sha256(data)
    assert functions.invoke(FunctionName="sdk", Payload=b'{"a": 1}')["StatusCode"] == 200


@pytest.mark.parametrize(
    "key", ["a/b c+d%2F.txt", "ü/ñ", "a//b", "x..y/z", "q?x=1&y#z", "~*'()!", " lead", "a" * 900]
)
def test_object_names_survive_both_signatures(aws: LocalAws, key: str) -> None:
    s3 = client(aws, "s3")
    s3.put_object(Bucket=aws.bucket, Key=key, Body=key.encode(), Metadata={"my_key": "a  b"})
    assert s3.get_object(Bucket=aws.bucket, Key=key)["Body"].read() == key.encode()
    assert s3.head_object(Bucket=aws.bucket, Key=key)["ContentLength"] == len(key.encode())
    url = s3.generate_presigned_url("get_object", {"Bucket": aws.bucket, "Key": key})
    assert fetch("GET", url) == (200, key.encode())
    s3.delete_object(Bucket=aws.bucket, Key=key)


def test_large_uploads_in_parts(aws: LocalAws) -> None:
    s3 = client(aws, "s3")
    data = os.urandom(9_000_000)
    s3.upload_fileobj(io.BytesIO(data), aws.bucket, "large")
    assert s3.get_object(Bucket=aws.bucket, Key="large")["Body"].read() == data
    s3.copy_object(Bucket=aws.bucket, Key="copy", CopySource={"Bucket": aws.bucket, "Key": "large"})
    with pytest.raises(ClientError) as caught:
        s3.copy_object(
            Bucket=aws.bucket, Key="x", CopySource={"Bucket": f"{aws.bucket}-private", "Key": "k"}
        )
    assert code(caught) == "AccessDenied"


def test_presigned_urls_work_once_signed_and_not_when_changed(aws: LocalAws) -> None:
    s3 = client(aws, "s3")
    parameters = {"Bucket": aws.bucket, "Key": "presigned"}
    put = s3.generate_presigned_url("put_object", parameters, ExpiresIn=60)
    assert fetch("PUT", put, b"by url")[0] == 200
    assert s3.get_object(**parameters)["Body"].read() == b"by url"
    get = s3.generate_presigned_url("get_object", parameters, ExpiresIn=60)
    other = s3.generate_presigned_url("get_object", parameters | {"Bucket": "pictures-private"})
    for url, expected in (
        (get.replace("/presigned", "/other"), b"SignatureDoesNotMatch"),
        (get.replace("Expires=60", "Expires=600"), b"SignatureDoesNotMatch"),
        (get + "&versionId=1", b"SignatureDoesNotMatch"),
        (other, b"AccessDenied"),
    ):
        status, said = fetch("GET", url)
        assert status == 403
        assert expected in said


@pytest.mark.parametrize("service", ["s3", "lambda"])
def test_a_body_changed_on_the_way_is_refused(aws: LocalAws, service: str) -> None:
    sender = client(aws, service)

    def tamper(request: Any, **_: Any) -> None:
        request.body = b"tampered"
        request.headers["Content-Length"] = "8"

    sender.meta.events.register("before-send.*", tamper)
    send = {
        "s3": lambda: sender.put_object(Bucket=aws.bucket, Key="k", Body=b"original"),
        "lambda": lambda: sender.invoke(FunctionName="sdk", Payload=b"original"),
    }
    with pytest.raises(ClientError) as caught:
        send[service]()
    expected = {"s3": "XAmzContentSHA256Mismatch", "lambda": "InvalidSignatureException"}
    assert code(caught) == expected[service]


def test_an_old_request_is_refused(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    import datetime

    import botocore.auth

    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=20)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: old)
    # the front signs towards moto with the same botocore, in this process: it never gets that far
    for service, call, expected in (
        ("sts", lambda c: c.get_caller_identity(), "SignatureDoesNotMatch"),
        ("s3", lambda c: c.list_objects_v2(Bucket="pictures"), "RequestTimeTooSkewed"),
        ("lambda", lambda c: c.list_functions(), "InvalidSignatureException"),
    ):
        with pytest.raises(ClientError) as caught:
            call(client(aws, service))
        assert code(caught) == expected


def test_an_unknown_key_and_no_key(aws: LocalAws) -> None:
    with pytest.raises(ClientError) as caught:
        client(aws, "sts", aws_access_key_id="AKIAEXAMPLE000000000").get_caller_identity()
    assert code(caught) == "InvalidClientTokenId"
    for path in ("/", "/pictures", "/moto-api/data.json", "/moto-api/reset-auth"):
        assert fetch("POST", aws.endpoint + path)[0] == 403


def test_nobody_but_the_front_talks_to_moto(aws: LocalAws) -> None:
    listening = [
        connection.laddr.port
        for connection in psutil.Process(aws.pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) == 1
    for path in ("/moto-api/data.json", "/moto-api/reset", "/pictures?list-type=2"):
        answer = fetch("GET", f"http://127.0.0.1:{listening[0]}{path}")
        assert answer == (403, b"Only the front may ask.\n")


def test_the_log_says_who_asked_for_what() -> None:
    with LocalAws(bucket="logged") as aws:
        client(aws, "sts").get_caller_identity()
        with pytest.raises(ClientError):
            client(aws, "iam").list_users()
        with pytest.raises(ClientError):
            client(aws, "lambda", aws_secret_access_key="x" * 40).list_functions()
        allowed, denied, forged = aws.requests
    assert (allowed.operation, allowed.principal, allowed.allowed) == (
        "GetCallerIdentity",
        aws.user_arn,
        True,
    )
    assert (denied.operation, denied.allowed, denied.error) == ("ListUsers", False, "AccessDenied")
    assert (forged.principal, forged.error) == ("", "InvalidSignatureException")
    assert aws.requests, "the log stays after the end"


def test_sessions_may_do_no_more_than_their_policy() -> None:
    def document(action: str | list[str]) -> dict[str, Any]:
        statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
        return {"Version": "2012-10-17", "Statement": statement}

    everything, role = document("*"), document(["s3:*", "lambda:*"])
    reader = json.dumps(document("s3:ListBucket"))

    def use(keys: dict[str, str], aws: LocalAws, service: str) -> Any:
        return client(
            aws,
            service,
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["SessionToken"],
        )

    with LocalAws(user_policy=everything, roles={"worker": role}) as aws:
        sts = client(aws, "sts")
        arn = "arn:aws:iam::123456789012:role/worker"
        assumed = sts.assume_role(RoleArn=arn, RoleSessionName="me")["Credentials"]
        narrow = sts.assume_role(RoleArn=arn, RoleSessionName="me", Policy=reader)["Credentials"]
        federated = sts.get_federation_token(Name="me", Policy=reader)["Credentials"]
        plain = sts.get_session_token()["Credentials"]

        use(assumed, aws, "lambda").list_functions()
        use(plain, aws, "lambda").list_functions()
        for keys in (assumed, narrow, federated, plain):
            use(keys, aws, "s3").list_objects_v2(Bucket=aws.bucket)
        for keys in (narrow, federated):
            with pytest.raises(ClientError) as caught:
                use(keys, aws, "lambda").list_functions()
            assert code(caught) == "AccessDeniedException"
        with pytest.raises(ClientError) as caught:
            use(plain, aws, "sts").get_federation_token(Name="me")
        assert code(caught) == "AccessDenied"
        with pytest.raises(ClientError) as caught:
            use(assumed, aws, "iam").list_users()
        assert code(caught) == "AccessDenied"
        with pytest.raises(ClientError) as caught:
            use(assumed | {"SessionToken": "other"}, aws, "lambda").list_functions()
        assert code(caught) == "UnrecognizedClientException"


def test_each_run_has_a_key_of_its_own_and_starts_fast() -> None:
    began = time.monotonic()
    with LocalAws() as one:
        assert time.monotonic() - began < 5
        with LocalAws() as two:
            assert one.secret_access_key != two.secret_access_key
            assert one.access_key_id != two.access_key_id
            with pytest.raises(ClientError):
                client(
                    two,
                    "sts",
                    aws_access_key_id=one.access_key_id,
                    aws_secret_access_key=one.secret_access_key,
                ).get_caller_identity()
        assert one.secret_access_key not in repr(vars(one))


async def test_as_an_async_context_manager() -> None:
    async with LocalAws() as aws:
        pid = aws.pid
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)
    aws.stop()


def test_no_key_before_the_start() -> None:
    aws = LocalAws()
    for name in ("endpoint", "access_key_id", "secret_access_key", "user_arn"):
        with pytest.raises(LocalAwsError):
            getattr(aws, name)
    assert aws.requests == ()


def test_a_killed_parent_leaves_no_process() -> None:
    script = (
        "import time; from keyless.localaws import LocalAws\n"
        "aws = LocalAws(); aws.start(); print(aws.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as run:
        if run.stdout is None:
            raise AssertionError("no pipe")
        pid = int(run.stdout.readline())
        moto = psutil.Process(pid)
        assert moto.is_running()
        run.send_signal(signal.SIGKILL)
    moto.wait(5)


def test_moto_does_not_start_by_hand() -> None:
    from keyless.localaws import moto_process

    done = subprocess.run(
        [sys.executable, "-I", moto_process.__file__],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert "not by hand" in done.stderr
