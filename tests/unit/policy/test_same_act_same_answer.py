"""The same act as a command and as a call is one act, with one answer."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.policy.acts_table import (
    ACCOUNT,
    FUNCTION,
    ORDERS,
    REFUSED,
    REGION,
    ROWS,
    Call,
    Row,
)

from keyless_sidecar.policy import Act
from keyless_sidecar.policy.acts_from import act_for_http, acts_for_call, decide_all
from keyless_sidecar.policy.acts_from_command import acts_for_command
from keyless_sidecar.policy.aws_parameters import NotInModel
from keyless_sidecar.policy.engine import CedarPolicy, Principal
from keyless_sidecar.policy.loading import EXAMPLES, built_in_text
from keyless_sidecar.tools import Refused, Tool, check
from keyless_sidecar.workspace import WorkspaceRoot

TOOL = Tool("aws", "/usr/bin/aws", rules="aws")
POLICIES = [
    CedarPolicy(built_in_text(name), Principal("keyless", "", "namespaces"), name)
    for name in EXAMPLES
]
COMPARED = ("exposure", "parameters", "unknown_parameters", "resource", "region", "account")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[WorkspaceRoot]:
    (tmp_path / "f.zip").write_bytes(b"PK")
    (tmp_path / "a.csv").write_text("1")
    with WorkspaceRoot(tmp_path) as opened:
        yield opened


def words(command: str) -> list[str]:
    # JSON keeps its quotation marks; no row needs those of a shell.
    return command.split() if '"' in command else shlex.split(command)


def from_command(command: str, root: WorkspaceRoot, **facts: Any) -> tuple[Act, ...]:
    checked = check(TOOL, words(command), root, "")
    facts = {"delivery": "proxy", **facts}
    return acts_for_command(
        checked, TOOL, credential="course", region=REGION, account=ACCOUNT, **facts
    )


def from_calls(calls: list[Call], **facts: Any) -> tuple[Act, ...]:
    acts: list[Act] = []
    for service, name, parameters in calls:
        given = dict(parameters)
        common = {"tool": "kernel", "credential": "course", "account": ACCOUNT}
        common |= {"delivery": "proxy", **facts}
        common["region"] = given.pop("region", REGION)
        acts += acts_for_call(service, name, given, **common)
    return tuple(acts)


def essence(act: Act) -> tuple[Any, ...]:
    return (act.action, act.mutating, *(act.attributes.get(name) for name in COMPARED))


def test_there_are_forty_rows() -> None:
    assert len(ROWS) == 40
    assert len({entry.command for entry in ROWS}) == 40


@pytest.mark.parametrize("entry", ROWS, ids=lambda entry: entry.command)
def test_same_act(entry: Row, root: WorkspaceRoot) -> None:
    typed, called = from_command(entry.command, root), from_calls(entry.calls)
    assert " ".join(act.action for act in typed) == entry.actions
    assert [essence(act) for act in typed] == [essence(act) for act in called]


@pytest.mark.parametrize("entry", ROWS, ids=lambda entry: entry.command)
def test_same_answer(entry: Row, root: WorkspaceRoot) -> None:
    signs = {"allow": "a", "ask": "?", "deny": "d"}
    typed, called = from_command(entry.command, root), from_calls(entry.calls)
    for acts in (typed, called):
        answers = "".join(signs[decide_all(policy, acts).outcome] for policy in POLICIES)
        assert answers == entry.answers
    for policy in POLICIES:
        assert [policy.decide(act) for act in typed] == [policy.decide(act) for act in called]


@pytest.mark.parametrize("entry", ROWS, ids=lambda entry: entry.command)
def test_a_tool_that_holds_the_key_asks_before_it_reads(entry: Row, root: WorkspaceRoot) -> None:
    default = POLICIES[0]
    by_proxy = decide_all(default, from_command(entry.command, root))
    for delivery in ("env", "file"):
        held = decide_all(default, from_command(entry.command, root, delivery=delivery))
        if by_proxy.outcome == "allow":
            assert (held.outcome, held.rule) == ("ask", "default.reads-with-credentials")
        else:
            assert held.outcome == by_proxy.outcome
    for delivery in ("none", "broker"):
        assert decide_all(default, from_command(entry.command, root, delivery=delivery)) == by_proxy
    unknown = decide_all(default, from_command(entry.command, root, delivery="other"))
    assert unknown.outcome != "allow"


@pytest.mark.parametrize(("command", "call"), REFUSED, ids=[entry[0] for entry in REFUSED])
def test_what_the_tool_refuses_every_policy_denies(
    command: str, call: Call, root: WorkspaceRoot
) -> None:
    with pytest.raises(Refused):
        check(TOOL, words(command), root, "")
    for policy in POLICIES:
        assert decide_all(policy, from_calls([call])).outcome == "deny"


def test_what_a_person_listed_for_the_tool_passes_the_built_in_policy(root: WorkspaceRoot) -> None:
    tool = Tool("aws", "/usr/bin/aws", rules="aws", allow_operations=("iam:CreateRole",))
    command = "iam create-role --role-name r --assume-role-policy-document {}"
    acts = acts_for_command(check(tool, command.split(), root, ""), tool)
    assert decide_all(POLICIES[0], acts).rule == "default.allow-operations"
    assert decide_all(POLICIES[2], acts).outcome == "deny"


# ------------------------------------------------------------------ ways around a rule


def own(*rules: str) -> CedarPolicy:
    return CedarPolicy("\n".join(("permit (principal, action, resource);", *rules)), Principal("k"))


ACCESS_POINT = f"arn:aws:s3:{REGION}:{ACCOUNT}:accesspoint/mine"
NO_ORDERS = (
    'forbid (principal, action in Action::"aws:lambda", resource) '
    'when { context.parameters.FunctionName == "orders-api" };'
)
NO_SECRET_KEYS = (
    'forbid (principal, action in Action::"aws:s3", resource) '
    'when { context.resource like "arn:aws:s3:::data/secret/*" };'
)


@pytest.mark.parametrize(
    "name",
    [
        "orders-api",
        "orders-api:live",
        "function:orders-api",
        f"{ACCOUNT}:function:orders-api",
        FUNCTION,
        f"{FUNCTION}:7",
        "arn:aws:lambda:us-east-1:999999999999:function:orders-api",
    ],
)
def test_all_names_of_a_function_meet_the_rule(name: str) -> None:
    acts = from_calls([("lambda", "Invoke", {"FunctionName": name})])
    assert decide_all(own(NO_ORDERS), acts).outcome == "deny"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("GetObject", {"Bucket": "data", "Key": "secret/a"}),
        ("HeadObject", {"Bucket": "data", "Key": "secret/a"}),
        ("UploadPart", {"Bucket": "data", "Key": "secret/a", "PartNumber": 1, "UploadId": "u"}),
        ("DeleteObjects", {"Bucket": "data", "Delete": {"Objects": [{"Key": "secret/a"}]}}),
        ("CopyObject", {"Bucket": "data", "Key": "b", "CopySource": "data/secret/a"}),
        ("CopyObject", {"Bucket": "data", "Key": "b", "CopySource": "/data/secret/a"}),
        ("CopyObject", {"Bucket": "data", "Key": "b", "CopySource": "data/secre%74/a"}),
        ("CopyObject", {"Bucket": "data", "Key": "b", "CopySource": f"/{ACCESS_POINT}/object/a"}),
        ("GetObject", {"Bucket": ACCESS_POINT, "Key": "secret/a"}),
        ("GetObject", {"Bucket": "mine-abcdefgh-s3alias", "Key": "secret/a"}),
        (
            "CopyObject",
            {"Bucket": "data", "Key": "b", "CopySource": {"Bucket": "data", "Key": "secret/a"}},
        ),
        (
            "UploadPartCopy",
            {
                "Bucket": "data",
                "Key": "b",
                "CopySource": "data/secret/a",
                "PartNumber": 1,
                "UploadId": "u",
            },
        ),
    ],
)
def test_all_ways_to_a_key_meet_the_rule(name: str, parameters: dict[str, Any]) -> None:
    assert decide_all(own(NO_SECRET_KEYS), from_calls([("s3", name, parameters)])).outcome == "deny"
    fine = from_calls([("s3", "GetObject", {"Bucket": "data", "Key": "open/a"})])
    assert decide_all(own(NO_SECRET_KEYS), fine).outcome == "allow"


@pytest.mark.parametrize(
    "path",
    [
        "/secret/a",
        "/secret/a?x=/open",
        "/%73ecret/a",
        "/open/../secret/a",
        "/open/%2e%2E/secret/a",
        "/./secret/a",
        "//secret/a",
        "/open/..%2fsecret/a",
        "/open/..\\secret/a",
        "/open/..%5Csecret/a",
        "/secret;x/a",
        "/%2573ecret/a",
        "/secret%00/a",
        "/ſecret/a",
        "/%/a",
        "/%zz/a",
    ],
)
def test_all_ways_to_a_path_meet_the_rule(path: str) -> None:
    rule = (
        'forbid (principal, action in Action::"http", resource) '
        'when { context.host == "api.example.org" && context.path like "/secret*" };'
    )
    act = act_for_http("get", "API.example.org.", path, tool="kernel")
    assert act.action == "http:GET"
    assert own(rule).decide(act).outcome == "deny"
    for fine in ("/open/a", "/", "/open/%7Euser/a%20b/%C3%A4", "/a.b/..c/"):
        other = act_for_http("GET", "api.example.org", fine, tool="kernel")
        assert own(rule).decide(other).outcome == "allow"


@pytest.mark.parametrize("name", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
def test_an_upload_in_parts_is_an_upload(name: str) -> None:
    rule = 'forbid (principal, action == Action::"aws:s3:PutObject", resource);'
    acts = from_calls([("s3", name, {"Bucket": "b", "Key": "k"})])
    assert decide_all(own(rule), acts).outcome == "deny"


@pytest.mark.parametrize(
    "command",
    [
        "lambda update-function-code --cli-input-json file://in.json --function-name billing",
        "lambda invoke --function-name billing --qualifier file://q out",
    ],
)
def test_what_the_tool_would_read_from_a_file_is_not_known(
    command: str, root: WorkspaceRoot, tmp_path: Path
) -> None:
    (tmp_path / "in.json").write_text("{}")
    (tmp_path / "q").write_text("live")
    rule = NO_ORDERS.replace("FunctionName", "Qualifier")
    assert decide_all(own(rule), from_command(command, root)).outcome == "deny"
    assert decide_all(own(NO_ORDERS), from_command(command, root)).outcome == "allow"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (("s3", "PutObjekt", {}), "'PutObject'"),
        (("s3api", "PutObject", {}), "'s3'"),
        (("nothing", "Get", {}), "'nothing'"),
        (("s3", "put_object", {}), "put_object"),
        (("s3", "PutObject", {"Buckt": "b"}), "'Bucket'"),
        (("../s3", "PutObject", {}), "no service"),
        (("s3", "", {}), "no operation"),
    ],
)
def test_what_is_not_in_the_model_makes_no_act(call: Call, says: str) -> None:
    with pytest.raises(NotInModel, match=says):
        from_calls([call])


def test_nothing_sensitive_gets_into_an_act() -> None:
    secret = "correct horse battery"
    acts = from_calls(
        [
            ("secretsmanager", "PutSecretValue", {"SecretId": "s", "SecretString": secret}),
            (
                "rds",
                "CreateDBInstance",
                {"DBInstanceIdentifier": "d", "MasterUserPassword": secret},
            ),
            (
                "lambda",
                "UpdateFunctionConfiguration",
                {**ORDERS, "Environment": {"Variables": {"A": secret}}},
            ),
        ]
    )
    assert secret not in repr(acts)
