"""IAM policy documents, as the local AWS reads them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless.localaws.policy import allowed, check_document


def doc(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource} | more


def deny(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return allow(action, resource, **more) | {"Effect": "Deny"}


@pytest.mark.parametrize(
    ("statements", "action", "resource", "expected"),
    [
        ([], "s3:GetObject", "arn:aws:s3:::b/k", False),
        ([allow("s3:*")], "s3:GetObject", "arn:aws:s3:::b/k", True),
        ([allow("s3:get*")], "s3:GetObject", "arn:aws:s3:::b/k", True),
        ([allow("s3:GetObjec?")], "s3:GetObject", "arn:aws:s3:::b/k", True),
        ([allow("s3:*")], "s3x:GetObject", "*", False),
        ([allow("s3:*", "arn:aws:s3:::b/*")], "s3:GetObject", "arn:aws:s3:::b/k", True),
        ([allow("s3:*", "arn:aws:s3:::b/*")], "s3:GetObject", "arn:aws:s3:::b2/k", False),
        ([allow("s3:*", "arn:aws:s3:::b")], "s3:GetObject", "arn:aws:s3:::b/k", False),
        ([allow("s3:*", "arn:aws:s3:::B")], "s3:ListBucket", "arn:aws:s3:::b", False),
        ([allow("s3:*", "arn:aws:s3:::a.b")], "s3:ListBucket", "arn:aws:s3:::axb", False),
        ([allow("*"), deny("iam:*")], "iam:ListUsers", "*", False),
        ([deny("iam:*"), allow("*")], "iam:ListUsers", "*", False),
        ([allow("*"), deny("iam:*")], "s3:GetObject", "*", True),
        ([allow("*", Condition={"Bool": {"x": "true"}})], "s3:GetObject", "*", False),
        ([allow("*"), deny("*", Condition={"Bool": {"x": "true"}})], "s3:GetObject", "*", False),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], "s3:X", "*", True),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], "iam:X", "*", False),
        ([{"Effect": "Allow", "Action": "*", "NotResource": "a"}], "s3:X", "a", False),
        ([{"Effect": "Allow", "Action": "*", "NotResource": "a"}], "s3:X", "b", True),
    ],
)
def test_decisions(
    statements: list[dict[str, Any]], action: str, resource: str, expected: bool
) -> None:
    assert allowed([doc(*statements)], action, resource) is expected


def test_a_single_statement_needs_no_list() -> None:
    assert allowed([{"Statement": allow("s3:*")}], "s3:GetObject", "*")


def test_a_deny_in_any_document_wins() -> None:
    assert not allowed([doc(allow("*")), doc(deny("s3:*"))], "s3:GetObject", "*")


@given(st.text(max_size=30))
def test_no_pattern_matches_more_than_it_says(text: str) -> None:
    assert allowed([doc(allow("*", text.replace("*", "").replace("?", "")))], "s3:X", "r") is (
        text.replace("*", "").replace("?", "") == "r"
    )


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"Statement": ["x"]},
        {"Statement": {"Effect": "Maybe", "Action": "*", "Resource": "*"}},
        {"Statement": {"Effect": "Allow", "Resource": "*"}},
        {"Statement": {"Effect": "Allow", "Action": "*"}},
    ],
)
def test_what_is_no_policy_is_an_error(document: object) -> None:
    with pytest.raises(ValueError):
        check_document(document)
