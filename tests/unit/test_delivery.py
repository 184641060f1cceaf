"""Which credentials a tool gets, and in which variables."""

from __future__ import annotations

import pytest

from keyless_sidecar.execution.delivery import deliver, delivery_of, exposure_of, select
from keyless_sidecar.placeholders import PlaceholderBook, is_placeholder
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


def entry(kind: str, delivery: str = "env", /, **fields: str) -> Entry:
    return Entry("e", kind, fields, (), delivery, file=".secret" if delivery == "file" else "")


def variables(tool: Tool, entries: list[Entry]) -> dict[str, str]:
    return dict(deliver(tool, entries, PlaceholderBook()).variables)


def test_fields_become_variables() -> None:
    short = entry("aws", access_key_id="AKIAX", secret_access_key="s")
    assert variables(AWS, [short]) == {"AWS_ACCESS_KEY_ID": "AKIAX"}
    both = [
        entry("aws", access_key_id="AKIAX", secret_access_key="s", session_token="t"),
        entry("generic", value="v"),
    ]
    assert variables(AWS, both) == {
        "AWS_ACCESS_KEY_ID": "AKIAX",
        "AWS_SESSION_TOKEN": "t",
        "TOKEN": "v",
    }


def test_entries_that_do_not_fit() -> None:
    with pytest.raises(Refused, match="no field value"):
        variables(AWS, [entry("generic", other="v")])
    with pytest.raises(Refused, match="kind token"):
        variables(AWS, [entry("token", value="v")])


def test_what_is_for_the_proxy_only_never_becomes_a_variable() -> None:
    keys = {"access_key_id": "AKIAX", "secret_access_key": "s", "session_token": "t"}
    with pytest.raises(Refused, match="for the proxy only") as caught:
        variables(AWS, [entry("aws", "proxy", **keys)])
    assert caught.value.rule == "credentials.delivery"


@pytest.mark.parametrize("delivery", ["proxy", "env"])
def test_a_tool_behind_the_proxy_gets_placeholders(delivery: str) -> None:
    """Whatever the entry would allow, the strongest delivery that works is used."""
    tool = Tool("aws", "/usr/bin/aws", delivery="proxy", secret_env=AWS.secret_env)
    keys = {"access_key_id": "AKIAX", "secret_access_key": "s", "session_token": "t"}
    entries = [entry("aws", delivery, **keys), entry("generic", value="v")]
    delivered = deliver(tool, entries, PlaceholderBook())
    assert is_placeholder(delivered.variables["AWS_ACCESS_KEY_ID"])
    assert delivered.variables["TOKEN"] == "v"  # bound to no host: no proxy could put it in
    assert {"AWS_SESSION_TOKEN"}.isdisjoint(delivered.variables)
    assert [each.kind for each in delivered.proxied] == ["aws"]


def test_a_token_with_hosts_becomes_a_placeholder() -> None:
    tool = Tool("gh", "/usr/bin/gh", delivery="proxy", secret_env={"GH_TOKEN": "token:value"})
    token = Entry("gh", "token", {"value": "v" * 40}, (), hosts=("api.github.com",))
    assert token.delivery == "proxy"
    assert is_placeholder(variables(tool, [token])["GH_TOKEN"])


def test_a_token_that_goes_by_proxy_is_a_placeholder_in_a_file_too() -> None:
    tool = Tool("t", "/usr/bin/t", delivery="proxy")
    hosts = ("api.example.org",)
    token = Entry("e", "token", {"value": "v" * 40}, ("t",), "file", hosts=hosts, file=".netrc")
    delivered = deliver(tool, [token], PlaceholderBook())
    assert is_placeholder(delivered.files[".netrc"].strip())


def test_the_most_exposed_way_counts() -> None:
    tool = Tool("t", "/usr/bin/t", delivery="proxy", secret_env={"T": "token:value"})
    bound = EntryInfo("a", "token", ("t",), hosts=("api.example.org",))
    unbound = EntryInfo("b", "token", ("t",))
    assert delivery_of(tool, [bound]) == "proxy"
    assert delivery_of(tool, [bound, unbound]) == "env"
    assert "itself holds" in exposure_of(tool, [bound, unbound])


def test_a_file_is_written_below_home() -> None:
    delivered = deliver(AWS, [entry("file", "file", content="machine x")], PlaceholderBook())
    assert (delivered.variables, delivered.files) == ({}, {".secret": "machine x\n"})
