"""Calls that a real sidecar makes: against the local AWS, with files of a real workspace."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.calls import call, collect, describe, from_file, start
from tests.support.policies import OPEN
from tests.support.sidecar import Sidecar

from keyless.localaws.server import LocalAws

BUCKET = "pics"
POLICY = (
    OPEN
    + """
@id("no-delete") @reason("Functions stay.")
forbid (principal, action == Action::"aws:lambda:DeleteFunction", resource);
@id("ask-config") @outcome("ask") @reason("A person looks at settings.")
permit (principal, action == Action::"aws:lambda:UpdateFunctionConfiguration", resource);
@id("one-region") @reason("Only in this region.")
forbid (principal, action == Action::"aws:s3:DeleteObject", resource)
when { context.region == "us-east-1" };
"""
)
ROLE_POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}
USER_POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
SIZE = 48 * 1024 * 1024


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws(bucket=BUCKET, user_policy=USER_POLICY, roles={"reader": ROLE_POLICY}) as local:
        yield local


@pytest.fixture(scope="module")
def sidecar(aws: LocalAws) -> Iterator[Sidecar]:
    home = Path(tempfile.mkdtemp(prefix="kl-"))
    home.chmod(0o755)
    key = {
        "access_key_id": aws.access_key_id,
        "secret_access_key": aws.secret_access_key,
        "region": aws.region,
    }
    entries = [
        {"name": "course", "kind": "aws", "fields": key, "tools": ["sdk"]},
        {"name": "other", "kind": "aws", "fields": key, "tools": ["aws"]},
    ]
    started = Sidecar(
        home,
        config={
            "Tools": {"aws": False, "psql": False},
            "Egress": {"upstreams": {"*.amazonaws.com": aws.endpoint}},
        },
        credentials=entries,
        policy=POLICY,
    )
    started.hello()
    with zipfile.ZipFile(started.workspace / "f.zip", "w") as archive:
        archive.writestr("a.py", "def handler(event, context): return 1")
    (started.workspace / "big.bin").write_bytes(os.urandom(SIZE))
    yield started
    started.close()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def function(sidecar: Sidecar, aws: LocalAws) -> None:
    """A function, made out of a zip file in the workspace."""
    made = call(
        sidecar,
        "lambda",
        "create_function",
        FunctionName="orders",
        Runtime="python3.12",
        Handler="a.handler",
        Role=aws.role_arn,
        Code={"ZipFile": from_file("f.zip")},
    )
    assert made.answer["CodeSize"] == (sidecar.workspace / "f.zip").stat().st_size


def test_a_deployment_waits_until_it_is_there(sidecar: Sidecar) -> None:
    done = call(
        sidecar,
        "lambda",
        "update-function-code",
        FunctionName="orders",
        ZipFile=from_file("/workspace/f.zip"),
        options={"wait": "function_updated_v2"},
    )
    assert done.started is not None
    assert done.finished.operation == "UpdateFunctionCode"
    assert done.answer["FunctionName"] == "orders"
    assert done.answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    payload = call(sidecar, "lambda", "Invoke", FunctionName="orders", Payload=b"{}")
    assert isinstance(payload.answer["Payload"], bytes)


def test_a_call_is_on_record_before_it_is_answered(sidecar: Sidecar, aws: LocalAws) -> None:
    before = len(sidecar.records())
    done = call(sidecar, "sts", "get_caller_identity")
    assert done.answer["Arn"] == aws.user_arn
    records = sidecar.records()[before:]
    assert [record["kind"] for record in records] == [
        "call.request",
        "call.decision",
        "egress.request",
        "egress.request",
        "call.result",
    ]
    assert records[0]["record_id"] == done.finished.record_id
    assert all(r["fields"]["request"] == done.finished.record_id for r in records[1:])
    assert records[1]["fields"]["operation"] == "aws:sts:GetCallerIdentity"
    assert records[2]["fields"]["tool"] == "sdk"
    assert records[4]["fields"]["outcome"] == "Finished"


def test_files_stream_both_ways(sidecar: Sidecar) -> None:
    # What is read once is read: models, endpoints, code.
    call(sidecar, "s3", "put_object", Bucket=BUCKET, Key="small", Body=b"1")
    call(sidecar, "s3", "get_object", Bucket=BUCKET, Key="small", options={"save": {"Body": "b"}})
    before = sidecar.memory()
    body = from_file("big.bin")
    put = call(sidecar, "s3", "put_object", Bucket=BUCKET, Key="big", Body=body)
    assert put.finished.error is None
    got = call(
        sidecar,
        "s3",
        "get_object",
        Bucket=BUCKET,
        Key="big",
        options={"save": {"Body": "made/back.bin"}},
    )
    assert "Body" not in got.answer
    (file,) = got.finished.files
    assert (file.path, file.size) == ("made/back.bin", SIZE)
    back = sidecar.workspace / "made" / "back.bin"
    assert back.read_bytes() == (sidecar.workspace / "big.bin").read_bytes()
    assert back.stat().st_uid == sidecar.workspace.stat().st_uid
    assert [told.what for told in got.progress][:1] == ["made/back.bin"]
    assert all(told.total == SIZE for told in got.progress)
    assert sidecar.memory() - before < 20 * 1024 * 1024


@pytest.mark.parametrize("end", ["cancel", "timeout"])
def test_what_is_ended_leaves_no_half_file(sidecar: Sidecar, end: str) -> None:
    call(sidecar, "s3", "put_object", Bucket=BUCKET, Key="big", Body=from_file("big.bin"))
    here = sorted(path.name for path in sidecar.workspace.rglob("*"))
    options = {"save": {"Body": "half.bin"}, **({"timeout": 0.4} if end == "timeout" else {})}
    number = start(sidecar, "s3", "get_object", Bucket=BUCKET, Key="big", options=options)
    ended = collect(sidecar, number, cancel_at=1 if end == "cancel" else None)
    assert ended.failed.kind == ("CommandTimeout" if end == "timeout" else "CommandCancelled")
    assert ended.failed.record_id
    assert sorted(path.name for path in sidecar.workspace.rglob("*")) == here
    assert list(sidecar.scratch.iterdir()) == []
    assert call(sidecar, "sts", "get_caller_identity").finished.error is None


def test_small_content_stands_in_the_answer_and_large_must_be_saved(sidecar: Sidecar) -> None:
    call(sidecar, "s3", "put_object", Bucket=BUCKET, Key="small", Body=b"hello")
    assert call(sidecar, "s3", "get_object", Bucket=BUCKET, Key="small").answer["Body"] == b"hello"
    call(sidecar, "s3", "put_object", Bucket=BUCKET, Key="big", Body=from_file("big.bin"))
    failed = call(sidecar, "s3", "get_object", Bucket=BUCKET, Key="big").failed
    assert failed.kind == "OutputLimitExceeded"
    assert "--save Body=FILE" in failed.message


def test_pages_are_put_together(sidecar: Sidecar) -> None:
    for number in range(5):
        call(sidecar, "s3", "put_object", Bucket=BUCKET, Key=f"page/{number}", Body=b"x")
    listed = call(
        sidecar,
        "s3",
        "list_objects_v2",
        Bucket=BUCKET,
        Prefix="page/",
        MaxKeys=2,
        options={"paginate": True},
    )
    assert [each["Key"] for each in listed.answer["Contents"]] == [f"page/{n}" for n in range(5)]
    refused = call(sidecar, "sts", "get_caller_identity", options={"paginate": True})
    assert "doesn't come in pages" in refused.failed.message


def test_the_policy_denies_and_asks(sidecar: Sidecar, aws: LocalAws) -> None:
    sent = len(aws.requests)
    denied = call(sidecar, "lambda", "delete_function", FunctionName="orders").failed
    assert denied.kind == "PolicyDenied"
    assert "Functions stay. (rule policy.cedar:no-delete)" in denied.message
    asked = call(
        sidecar, "lambda", "update_function_configuration", FunctionName="orders", Timeout=9
    ).failed
    assert asked.kind == "PolicyDenied"
    assert "A person looks at settings." in asked.message
    assert len(aws.requests) == sent
    # A rule about what only the credential knows (its region) decides on the request itself.
    late = call(sidecar, "s3", "delete_object", Bucket=BUCKET, Key="small").failed
    assert late.kind == "PolicyDenied"
    assert "Only in this region. (rule policy.cedar:one-region)" in late.message
    assert len(aws.requests) == sent


def test_a_dry_run_decides_and_calls_nothing(sidecar: Sidecar, aws: LocalAws) -> None:
    sent = len(aws.requests)
    dry = {"dry_run": True}
    allowed = call(sidecar, "lambda", "list_functions", options=dry)
    assert "aws:lambda:ListFunctions would be allowed" in allowed.finished.notes[0]
    assert allowed.started is None
    assert call(sidecar, "lambda", "delete_function", FunctionName="x", options=dry).failed
    assert len(aws.requests) == sent


def test_mistakes_are_explained_in_botocores_words(sidecar: Sidecar) -> None:
    unknown = call(sidecar, "lambda", "invoke", FunctionNam="orders").failed
    assert unknown.kind == "InvalidRequest"
    assert 'Unknown parameter in input: "FunctionNam", must be one of: Fun' in unknown.message
    assert "did you mean 'invoke'" in call(sidecar, "lambda", "invok").failed.message
    assert "no content called 'Code'" in call(
        sidecar, "s3", "get_object", Bucket="b", Key="k", options={"save": {"Code": "x"}}
    ).failed.message  # fmt: skip
    region = call(sidecar, "sts", "get_caller_identity", options={"region": "evil.example/"})
    assert "not the name of a region" in region.failed.message


def test_an_error_of_the_service_is_told_as_such(sidecar: Sidecar) -> None:
    missing = call(sidecar, "s3", "get_object", Bucket=BUCKET, Key="none").finished
    assert missing.error is not None
    assert (missing.error.code, missing.error.status) == ("NoSuchKey", 404)
    assert missing.record_id


def test_credentials_in_answers_never_reach_the_kernel(sidecar: Sidecar, aws: LocalAws) -> None:
    role = aws.role_arn.rpartition("/")[0] + "/reader"
    got = call(sidecar, "sts", "assume_role", RoleArn=role, RoleSessionName="cell")
    held = got.answer["Credentials"]
    assert held["AccessKeyId"].startswith("ASIAKEYLESS")
    assert held["SecretAccessKey"].startswith("keyless0")
    assert held["SessionToken"].startswith("keylessplaceholder/")
    assert aws.secret_access_key.encode() not in got.data
    for record in sidecar.records():
        assert aws.secret_access_key not in str(record)


def test_only_a_credential_that_is_bound_to_calls_signs_them(sidecar: Sidecar) -> None:
    other = call(sidecar, "sts", "get_caller_identity", options={"credentials": ["other"]}).failed
    assert other.kind == "PolicyDenied"
    assert "not bound to the tool sdk" in other.message
    unknown = call(sidecar, "sts", "get_caller_identity", options={"credentials": ["x"]}).failed
    assert "no credential named 'x'" in unknown.message


def test_links_lead_nowhere(sidecar: Sidecar) -> None:
    outside = sidecar.home / "outside"
    outside.write_text("person's own")
    (sidecar.workspace / "in").symlink_to(outside)
    put = call(sidecar, "s3", "put_object", Bucket=BUCKET, Key="x", Body=from_file("in")).failed
    assert "symbolic link" in put.message
    get = call(
        sidecar, "s3", "get_object", Bucket=BUCKET, Key="small", options={"save": {"Body": "in"}}
    ).failed
    assert "symbolic link" in get.message
    assert outside.read_text() == "person's own"


def test_waiting_can_be_ended(sidecar: Sidecar) -> None:
    number = start(
        sidecar,
        "lambda",
        "get_function",
        FunctionName="never",
        options={"wait": "function_exists", "timeout": 1.5},
    )
    ended = collect(sidecar, number)
    assert ended.failed.kind == "CommandTimeout"
    assert ended.progress[0].what == "waiting for function_exists"


def test_names_and_documentation(sidecar: Sidecar) -> None:
    assert {"s3", "lambda", "sts"} <= set(describe(sidecar).names)
    found = describe(sidecar, "lambda")
    assert "update_function_code" in found.names
    assert "function_updated_v2" in found.waiters
    operation = describe(sidecar, "lambda", "update-function-code")
    assert operation.parameters[0].name == "FunctionName"
    assert operation.parameters[0].required
    assert "<" not in operation.text
    assert describe(sidecar, "s3", "get_object").content == ["Body"]
    assert describe(sidecar, "nothing", "x").names == []


def test_the_sidecar_has_nothing_to_complain_about(sidecar: Sidecar) -> None:
    assert sidecar.log() == ""
