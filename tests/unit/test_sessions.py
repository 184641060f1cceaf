"""What a session may be for, and for whom: options, names, grants, given policies.  Pure."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless.localaws.front import LoggedCall
from keyless.localaws.policy import allowed, check_document, revocation
from keyless.localaws.trail import event_of
from keyless.protocol.messages import CellInfo, OpenSession
from keyless_sidecar.egress.client import Client
from keyless_sidecar.placeholders import AwsKeys, PlaceholderBook
from keyless_sidecar.policy import Act, Decision
from keyless_sidecar.policy.acts_from import acts_for_call
from keyless_sidecar.policy.engine import DEFAULT_SOURCE, CedarPolicy, Principal
from keyless_sidecar.policy.loading import built_in_text
from keyless_sidecar.sessions import sts
from keyless_sidecar.sessions.deciding import NotGiven, Wanted, decide, wanted
from keyless_sidecar.sessions.given_policy import canonical, grants_of_document
from keyless_sidecar.sessions.grants import (
    BadGrant,
    Grant,
    acts_of,
    document_of,
    grants_of_acts,
    grants_of_names,
)
from keyless_sidecar.sessions.iam_actions import actions_for, operations_opened
from keyless_sidecar.sessions.naming import session_name
from keyless_sidecar.sessions.recent import Recent
from keyless_sidecar.vault import EntryInfo, VaultError
from keyless_sidecar.vault.session_options import parse_sessions

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/deploy"
INFOS = [EntryInfo("cloud", "aws", ("aws",)), EntryInfo("other", "aws", ("aws",))]
OPTIONS = parse_sessions({"cloud": {"role_arn": ROLE, "to": ["kernel"]}})


def built_in() -> CedarPolicy:
    return CedarPolicy(built_in_text("default"), Principal("k"), DEFAULT_SOURCE)


def wish(**asked: Any) -> Wanted:
    request = OpenSession(id=1, credential="cloud", **asked)
    return wanted(request, INFOS, OPTIONS, [])


# ---------------------------------------------------------------------- options


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"role_arn": ROLE},
        {"role_arn": ROLE, "to": []},
        {"role_arn": ROLE, "to": ["everyone"]},
        {"role_arn": "deploy", "to": ["kernel"]},
        {"role_arn": "arn:aws:iam::1:role/deploy", "to": ["kernel"]},
        {"role_arn": f"arn:aws:iam::{ACCOUNT}:user/me", "to": ["kernel"]},
        {"role_arn": ROLE, "to": ["kernel"], "max_minutes": 14},
        {"role_arn": ROLE, "to": ["kernel"], "max_minutes": 721},
        {"role_arn": ROLE, "to": ["kernel"], "revoke": "yes"},
        {"role_arn": ROLE, "to": ["kernel"], "minutes": 15},
        {"role_arn": ROLE, "to": ["kernel"], "external_id": "a b"},
    ],
)
def test_options_that_are_wrong_stop_the_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(VaultError, match=r"c.Vault.sessions\['cloud'\]"):
        parse_sessions({"cloud": wrong})


def test_options_as_they_are_read() -> None:
    role = f"arn:aws-us-gov:iam::{ACCOUNT}:role/some/path/deploy"
    (found,) = parse_sessions({"cloud": {"role_arn": role, "to": ["tools"]}}).values()
    assert (found.role_name, found.account, found.max_minutes) == ("deploy", ACCOUNT, 15)
    assert not found.revoke
    for wrong in (["cloud"], {"": {}}, {"a b": {}}):
        with pytest.raises(VaultError):
            parse_sessions(wrong)


# ---------------------------------------------------------------------- names


def test_the_name_tells_the_cell() -> None:
    cell = CellInfo(execution_count=7, cell_hash="0123456789abcdef" * 4)
    assert session_name("9f3c-11aa-77", cell) == "keyless-9f3c11aa-0123456789ab-7"


@given(st.text(max_size=64), st.text(max_size=64), st.integers(0, 2**53))
def test_whatever_a_kernel_says_of_itself_sts_takes_the_name(
    kernel_id: str, cell_hash: str, count: int
) -> None:
    name = session_name(kernel_id, CellInfo(execution_count=count, cell_hash=cell_hash))
    assert re.fullmatch(r"keyless-[A-Za-z0-9]{1,8}-(none|[0-9a-f]{12})-[0-9]{1,16}", name)
    assert len(name) <= 64


# ---------------------------------------------------------------------- grants


@pytest.mark.parametrize(
    ("operation", "actions"),
    [
        ("lambda:UpdateFunctionCode", {"lambda:UpdateFunctionCode"}),
        ("aws:lambda:Invoke", {"lambda:InvokeFunction"}),
        ("s3:ListObjectsV2", {"s3:ListBucket"}),
        ("s3:CopyObject", {"s3:GetObject", "s3:PutObject"}),
        ("stepfunctions:StartExecution", {"states:StartExecution"}),
        ("elbv2:DescribeLoadBalancers", {"elasticloadbalancing:DescribeLoadBalancers"}),
        ("cloudwatch:PutMetricData", {"cloudwatch:PutMetricData"}),
    ],
)
def test_an_operation_in_the_words_of_iam(operation: str, actions: set[str]) -> None:
    assert {grant.action for grant in grants_of_names([operation])} == actions


@pytest.mark.parametrize("name", ["lambda", "lambda:", "lambda:Nothing", "nothing:Get", ":", ""])
def test_a_name_that_is_no_operation(name: str) -> None:
    with pytest.raises(BadGrant):
        grants_of_names([name])


def test_what_an_action_opens_is_what_the_policy_is_asked() -> None:
    assert operations_opened("s3:PutObject") == (("s3", "PutObject"),)
    assert set(operations_opened("s3:ListBucket")) == {
        ("s3", "ListObjectsV2"),
        ("s3", "HeadBucket"),
    }
    assert operations_opened("lambda:InvokeFunction") == (("lambda", "Invoke"),)
    assert ("neptune", "CreateDBCluster") in operations_opened("rds:CreateDBCluster")
    for service, operation in (("s3", "GetObject"), ("ec2", "RunInstances")):
        for action in actions_for(service, operation):
            assert (service, operation) in operations_opened(action)


def test_a_policy_about_a_resource_is_asked_about_that_resource() -> None:
    only = CedarPolicy(
        'permit (principal, action == Action::"aws:s3:GetObject", resource)\n'
        'when { context.resource == "arn:aws:s3:::mine/a" };\n'
        'permit (principal, action == Action::"aws:lambda:UpdateFunctionCode", resource)\n'
        'when { context.parameters.FunctionName == "thumbs" };',
        Principal("k"),
    )

    def outcome(resource: str, action: str) -> str:
        acts = acts_of(
            {Grant(resource, action)}, tool="kernel", credential="cloud", account=ACCOUNT
        )
        return only.decide(acts[0]).outcome

    assert outcome("arn:aws:s3:::mine/a", "s3:GetObject") == "allow"
    assert outcome("arn:aws:s3:::mine/*", "s3:GetObject") == "deny"
    assert outcome("arn:aws:s3:::mine/b", "s3:GetObject") == "deny"
    assert outcome("*", "s3:GetObject") == "deny"
    function = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:"
    assert outcome(f"{function}thumbs", "lambda:UpdateFunctionCode") == "allow"
    assert outcome(f"{function}other", "lambda:UpdateFunctionCode") == "deny"
    assert outcome("*", "lambda:UpdateFunctionCode") == "deny"


def test_what_was_done_becomes_a_policy_for_that_and_no_more() -> None:
    def act(service: str, operation: str, **parameters: str) -> Act:
        return acts_for_call(
            service, operation, parameters, tool="aws", credential="cloud", region="us-east-1"
        )[0]

    recent = Recent()
    for _ in range(3):
        recent.note([act("lambda", "UpdateFunctionCode", FunctionName="thumbs")])
    recent.note(
        [act("s3", "PutObject", Bucket="b", Key="odd*${?}"), act("sts", "GetCallerIdentity")]
    )
    recent.note([Act("exec", "aws", "cloud"), act("s3", "UploadPart", Bucket="b", Key="k")])
    assert len(recent.of("cloud")) == 4
    assert recent.of("other") == ()
    document = json.loads(document_of(grants_of_acts(recent.of("cloud"), ACCOUNT)))

    def may(action: str, resource: str = "*") -> bool:
        return allowed([document], action, resource)

    function = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:"
    assert may("lambda:UpdateFunctionCode", f"{function}thumbs")
    assert not may("lambda:UpdateFunctionCode", f"{function}other")
    assert may("s3:PutObject", "arn:aws:s3:::b/k")
    assert not may("s3:PutObject", "arn:aws:s3:::b/l")
    assert not may("s3:GetObject", "arn:aws:s3:::b/k")
    assert may("sts:GetCallerIdentity")
    assert "arn:aws:s3:::b/odd${*}${$}{${?}}" in json.dumps(document)


def test_nothing_and_too_much_are_no_policy() -> None:
    with pytest.raises(BadGrant, match="nothing"):
        document_of(())
    with pytest.raises(BadGrant, match="fewer"):
        document_of({Grant(f"arn:aws:s3:::{'b' * 60}/{n}", "s3:GetObject") for n in range(64)})


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:GetObjec?", "Resource": "*"},
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:*"], "Resource": "*"},
        {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:GetObject", "NotResource": "a"},
        {"Effect": "Allow", "Action": "s3:GetObject"},
        {"Effect": "Allow", "Action": [], "Resource": "*"},
        {"Effect": "Allow", "Action": [1], "Resource": "*"},
        {"Effect": "allow", "Action": "s3:GetObject", "Resource": "*"},
        {"Effect": "Deny", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "*", "Resource": "*", "Odd": 1},
        "s3:GetObject",
    ],
)
def test_a_given_policy_that_cant_be_asked_about(statement: Any) -> None:
    with pytest.raises(BadGrant):
        grants_of_document(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"Statement": null}',
        '{"Statement":[{"Effect":"Deny","Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}',
        "[" * 2000,
    ],
)
def test_a_given_policy_that_is_none(text: str) -> None:
    with pytest.raises(BadGrant):
        grants_of_document(text)


def test_a_given_policy_is_asked_about_whatever_its_letters() -> None:
    text = json.dumps(
        {
            "Statement": [
                {"Effect": "Allow", "Action": "S3:deleteobject", "Resource": "*"},
                {"Effect": "Deny", "NotAction": "s3:*", "Resource": "*"},
            ]
        }
    )
    # IAM reads names in any case; here one that isn't written as AWS writes it opens nothing known.
    with pytest.raises(NotGiven, match="No operation of AWS"):
        wish(policy=text)


_ACTIONS = ["s3:GetObject", "s3:PutObject", "s3:*", "*", "s3:getobject", "S3:GetObject"]
_PLACES = ["*", "arn:aws:s3:::b/k", "arn:aws:s3:::b/*", "arn:aws:s3:::c/?"]


def _one_or_more(values: list[str]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values) | st.lists(st.sampled_from(values), max_size=3)


_STATEMENTS = st.fixed_dictionaries(
    {"Effect": st.sampled_from(["Allow", "Allow", "Deny"])},
    optional={
        "Action": _one_or_more(_ACTIONS),
        "NotAction": _one_or_more(_ACTIONS),
        "Resource": _one_or_more(_PLACES),
        "NotResource": _one_or_more(_PLACES),
        "Condition": st.just({"Bool": {"aws:SecureTransport": "true"}}),
    },
)


@given(st.lists(_STATEMENTS, min_size=1, max_size=3))
def test_what_a_given_policy_allows_is_never_more_than_is_asked(statements: list[Any]) -> None:
    text = json.dumps({"Version": "2012-10-17", "Statement": statements})
    try:
        grants = grants_of_document(text)
    except BadGrant:
        return
    document = check_document(json.loads(canonical(text)))
    assert document == json.loads(text)
    for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
        for resource in ("arn:aws:s3:::b/k", "arn:aws:s3:::b/l", "arn:aws:s3:::c/d"):
            if allowed([document], action, resource):
                assert any(
                    grant.action.lower() == action.lower() and fnmatchcase(resource, grant.resource)
                    for grant in grants
                )


# ---------------------------------------------------------------------- deciding


def test_the_built_in_policy_asks_a_person_and_forbids_what_it_always_forbids() -> None:
    policy = built_in()

    def outcomes(*operations: str) -> set[tuple[str, str]]:
        found = wish(operations=list(operations))
        return {(act.action, policy.decide(act).outcome) for act in found.acts}

    assert outcomes("s3:GetObject", "s3:PutObject") == {
        ("session", "ask"),
        ("aws:s3:GetObject", "allow"),
        ("aws:s3:PutObject", "ask"),
    }
    assert ("aws:sts:AssumeRole", "deny") in outcomes("sts:AssumeRole")
    assert ("aws:iam:CreateUser", "deny") in outcomes("iam:CreateUser")
    assert ("aws:secretsmanager:GetSecretValue", "deny") in outcomes(
        "secretsmanager:GetSecretValue"
    )
    # An act that says it is no session of a person's choosing is none that a rule permits.
    assert policy.decide(Act("session", "kernel", "cloud", True)).outcome == "deny"


@pytest.mark.parametrize(
    ("credential", "rule"), [("other", "sessions.off"), ("none", "credentials.unknown")]
)
def test_an_entry_that_nobody_turned_it_on_for(credential: str, rule: str) -> None:
    request = OpenSession(id=1, credential=credential, operations=["s3:GetObject"])
    with pytest.raises(NotGiven) as caught:
        wanted(request, INFOS, OPTIONS, [])
    assert (caught.value.kind, caught.value.rule) == ("PolicyDenied", rule)


def test_tools_only_is_not_for_the_kernel() -> None:
    options = parse_sessions({"cloud": {"role_arn": ROLE, "to": ["tools"]}})
    request = OpenSession(id=1, credential="cloud", operations=["s3:GetObject"])
    with pytest.raises(NotGiven, match="Sessions are off"):
        wanted(request, INFOS, options, [])


def test_operations_and_a_policy_are_one_too_many() -> None:
    with pytest.raises(NotGiven, match="not both"):
        wish(policy="{}", operations=["s3:GetObject"])


# ---------------------------------------------------------------------- ends


def test_the_revocation_is_what_aws_console_writes() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    (statement,) = json.loads(sts.revocation(now))["Statement"]
    assert statement == {
        "Effect": "Deny",
        "Action": ["*"],
        "Resource": ["*"],
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2026-01-02T03:04:05.678Z"}},
    }
    assert check_document(json.loads(sts.revocation(now)))
    assert revocation(sts.revocation(now)) == now.replace(microsecond=678000)
    assert revocation(json.dumps({"Statement": {"Effect": "Deny"}})) is None
    assert revocation("no") is None


def test_handed_out_keys_are_known_to_the_sanitizer_until_they_end() -> None:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    book = PlaceholderBook(lambda: now[0])
    keys = AwsKeys("ASIAIOSFODNN7EXAMPLE", "s" * 40, "t" * 200, now[0] + timedelta(minutes=15))
    before = book.revision
    book.know("cloud", keys)
    assert book.revision > before
    assert book.captured_values() == [("cloud", value.encode()) for value in keys.values()]
    assert book.find(keys.access_key_id) is None
    now[0] += timedelta(minutes=16)
    assert book.captured_values() == []


async def test_a_persons_word_counts_where_the_policy_asks_and_nowhere_else() -> None:
    policy, asked = built_in(), []

    async def ask(
        found: Wanted, acts: Sequence[Act], decision: Decision, record: str, _: asyncio.Event
    ) -> str:
        asked.append((found.actions, [act.action for act in acts], decision.rule, record))
        return "approved"

    found = wish(operations=["s3:GetObject", "s3:PutObject"])
    rule, approved = await decide(found, policy, ask, "r1", asyncio.Event())
    assert rule == "approved"
    assert approved == {"session", "aws:s3:PutObject"}
    actions = ("s3:GetObject", "s3:PutObject")
    assert asked == [(actions, ["session", "aws:s3:PutObject"], "default.sessions", "r1")]
    with pytest.raises(NotGiven, match=r"default\.sessions"):
        await decide(found, policy, None, "r1", asyncio.Event())
    forbidden = wish(operations=["s3:PutObject", "iam:CreateUser"])
    with pytest.raises(NotGiven, match="would open aws:iam:CreateUser"):
        await decide(forbidden, policy, ask, "r1", asyncio.Event())
    assert len(asked) == 1

    # The same at the proxy, for the requests that are signed with the session.
    client = Client("kernel", policy, PlaceholderBook(), nothing, nothing)

    def outcome(operation: str, **parameters: str) -> str:
        service, _, name = operation.partition(":")
        facts = {"tool": "kernel", "credential": "cloud", "delivery": "proxy"}
        acts = acts_for_call(service, name, parameters, **facts)
        return client.decide(acts, approved).outcome

    assert outcome("s3:PutObject", Bucket="b", Key="k") == "allow"
    assert outcome("s3:UploadPart", Bucket="b", Key="k") == "allow"
    assert outcome("s3:GetObject", Bucket="b", Key="k") == "allow"
    assert outcome("s3:DeleteObject", Bucket="b", Key="k") == "ask"
    assert outcome("s3:PutObject", Bucket="b", Key="k", ACL="public-read") == "deny"
    assert outcome("sts:AssumeRole", RoleArn=ROLE) == "deny"


async def nothing(_: Any) -> Any:
    raise AssertionError("no entry and no record is needed")


def test_events_tell_who_did_it() -> None:
    call = LoggedCall(
        1767225600.0,
        "lambda",
        "UpdateFunctionCode",
        "arn:aws:lambda:us-east-1:123456789012:function:thumbs",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/keyless-k-none-1",
        allowed=False,
        status=403,
        source_identity="keyless-k-none-1",
    )
    event = event_of(call)
    assert (event["eventTime"], event["errorCode"]) == ("2026-01-01T00:00:00Z", "AccessDenied")
    who = event["userIdentity"]
    assert (who["type"], who["arn"]) == ("AssumedRole", call.principal)
    assert who["sessionContext"] == {
        "sessionIssuer": {"type": "Role", "arn": ROLE, "userName": "deploy"},
        "sourceIdentity": "keyless-k-none-1",
    }
    user = replace(call, principal=f"arn:aws:iam::{ACCOUNT}:user/me", source_identity="")
    assert event_of(user)["userIdentity"]["type"] == "IAMUser"
    assert event_of(replace(call, principal=""))["userIdentity"] == {"type": "Unknown"}
