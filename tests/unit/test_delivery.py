"""Which credentials a tool gets, and in which variables."""

from __future__ import annotations

import pytest

from keyless_sidecar.execution.delivery import environment, select
from keyless_sidecar.tools import Refused, Tool
from keyless_sidecar.vault import Entry, EntryInfo

AWS = Tool(
    "aws",
    "/usr/bin/aws",
    secret_env={
        "AWS_ACCESS_KEY_ID": "aws:access_key_id",
        "AWS_SESSION_TOKEN": "aws:session_token?",
        "TOKEN": "generic:value",
    },
    credentials=("named",),
)


def info(name: str, kind: str = "aws", *tools: str) -> EntryInfo:
    return EntryInfo(name, kind, tools, "env", "memory")


INFOS = [
    info("named"),
    info("binds", "generic", "aws"),
    info("foreign", "aws", "psql"),
]


def test_all_that_are_bound_by_default() -> None:
    assert [each.name for each in select(AWS, None, INFOS)] == ["named", "binds"]
    assert select(AWS, [], INFOS) == ()
    assert [each.name for each in select(AWS, ["binds", "binds"], INFOS)] == ["binds"]


@pytest.mark.parametrize(
    ("wanted", "rule"),
    [(["nope"], "credentials.unknown"), (["foreign"], "credentials.unbound")],
)
def test_others_are_refused(wanted: list[str], rule: str) -> None:
    with pytest.raises(Refused) as caught:
        select(AWS, wanted, INFOS)
    assert (caught.value.kind, caught.value.rule) == ("PolicyDenied", rule)


def test_two_of_a_kind_must_be_chosen_from() -> None:
    infos = [*INFOS, info("second", "aws", "aws")]
    with pytest.raises(Refused, match="named, second"):
        select(AWS, None, infos)
    assert len(select(AWS, ["second"], infos)) == 1


def test_a_tool_without_delivery_gets_none() -> None:
    tool = Tool("t", "/usr/bin/t", delivery="none", credentials=("named",))
    assert select(tool, None, INFOS) == ()
    with pytest.raises(Refused, match="no credential"):
        select(tool, ["named"], INFOS)


def entry(kind: str, **fields: str) -> Entry:
    return Entry("e", kind, fields, ())


def test_fields_become_variables() -> None:
    short = entry("aws", access_key_id="AKIAX", secret_access_key="s")
    assert environment(AWS, [short]) == {"AWS_ACCESS_KEY_ID": "AKIAX"}
    both = [
        entry("aws", access_key_id="AKIAX", secret_access_key="s", session_token="t"),
        entry("generic", value="v"),
    ]
    assert environment(AWS, both) == {
        "AWS_ACCESS_KEY_ID": "AKIAX",
        "AWS_SESSION_TOKEN": "t",
        "TOKEN": "v",
    }


def test_entries_that_do_not_fit() -> None:
    with pytest.raises(Refused, match="no field value"):
        environment(AWS, [entry("generic", other="v")])
    with pytest.raises(Refused, match="kind token"):
        environment(AWS, [entry("token", value="v")])
