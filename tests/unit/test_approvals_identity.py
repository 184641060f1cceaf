"""What an approval covers, and what it doesn't."""

from __future__ import annotations

from typing import Any

import pytest

from keyless_sidecar.approvals.grants import Grants
from keyless_sidecar.approvals.identity import covers, key_of
from keyless_sidecar.approvals.pending import Question
from keyless_sidecar.policy.acts import Act, Decision


def aws(action: str = "aws:s3:PutObject", **changes: Any) -> Act:
    given = {
        "parameters": {"Bucket": "b", "Key": "k"},
        "unknown_parameters": ("Body",),
        "exposure": "",
        **changes,
    }
    tool, credential = given.pop("tool", "aws"), given.pop("credential", "cloud")
    return Act(action, tool, credential, True, given)


REQUEST = {"region": "eu-west-1", "account": "1", "host": "s3.eu-west-1.amazonaws.com"}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"region": "us-east-1"},  # the command named none
        {"parameters": {"Bucket": "b", "Key": "k", "ContentType": "text/plain"}},
        {"parameters": {"Bucket": "b", "Key": "k", "ChecksumCRC32": "x", "UploadId": "u"}},
        {"parameters": {"Bucket": "b", "Key": "k", "Body": "now known"}, "unknown_parameters": ()},
    ],
)
def test_a_request_that_does_what_was_shown(change: dict[str, Any]) -> None:
    assert covers(aws(), aws(**{**REQUEST, **change}))


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"Bucket": "other", "Key": "k"}},
        {"parameters": {"Bucket": "b"}},
        {"parameters": {"Bucket": "b"}, "unknown_parameters": ("Body", "Key")},
        {"parameters": {"Bucket": "b", "Key": "k", "WebsiteRedirectTargetUrl": "http://x"}},
        {"unknown_parameters": ("Body", "SSEKMSKeyId")},
        {"exposure": "sharing"},
        {"tool": "kernel"},
        {"credential": "root"},
        {"action": "aws:s3:DeleteObject"},
    ],
)
def test_a_request_that_does_something_else(change: dict[str, Any]) -> None:
    assert not covers(aws(), aws(**{**REQUEST, **change}))


def test_a_region_that_was_named_is_kept() -> None:
    assert not covers(aws(region="eu-west-1"), aws(region="us-east-1"))


def question(*acts: Act, rule: str = "p:careful") -> Question:
    return Question("t", ("x",), acts, Decision("ask", rule, "Why."), "k-1")


def test_minutes_end_and_cover_one_rule_and_one_thing() -> None:
    now = [0.0]
    grants = Grants(lambda: now[0])
    asked = Act("exec", "leaky", "", None, {"argv": ["rc", "0"]})
    grants.add(question(asked), 2, "abcd")
    assert grants.found(question(asked)) == "abcd"
    assert not grants.found(question(asked, rule="p:other"))
    assert not grants.found(question(Act("exec", "leaky", "", None, {"argv": ["rc", "1"]})))
    assert not grants.found(question(Act("exec", "other", "", None, {"argv": ["rc", "0"]})))
    assert not grants.found(question(asked, aws()))
    now[0] = 121
    assert not grants.found(question(asked))


def test_a_path_that_is_read_in_two_ways_is_asked_about_each_time() -> None:
    unclear = Act("http:POST", "gh", "token", None, {"host": "h", "method": "POST"})
    assert key_of("r", unclear) is None
    assert not Grants.possible(question(unclear))
    assert not covers(unclear, unclear)
