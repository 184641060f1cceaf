"""Approvals and the proxy: what was approved with a command isn't asked again, all else is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.support.asking import Person, attending, begin
from tests.support.sidecar import Sidecar, kept_sidecar

from keyless.localaws.server import LocalAws

POLICY = """
@id("others") permit (principal, action, resource);
@id("uploads") @outcome("ask") @reason("It replaces an object.")
permit (principal, action == Action::"aws:s3:PutObject", resource);
@id("here") @outcome("ask") @reason("Queues of this region are watched.")
permit (principal, action == Action::"aws:sts:GetCallerIdentity", resource)
when { context.region == "eu-west-1" };
"""


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Sidecar]:
    """The AWS CLI before a local AWS, and a policy that asks."""
    with LocalAws(bucket="asked") as aws:
        fields = {
            "access_key_id": aws.access_key_id,
            "secret_access_key": aws.secret_access_key,
            "region": "eu-west-1",
        }
        with kept_sidecar(
            policy=POLICY,
            config={
                "Tools": {"psql": False},
                "Egress": {"upstreams": {"*.amazonaws.com": aws.endpoint}},
                "Approvals": {"timeout": 40},
            },
            credentials=[{"name": "cloud", "kind": "aws", "fields": fields, "tools": ["aws"]}],
        ) as started:
            yield started


async def _approve_all(person: Person, asked: list[list[str]]) -> None:
    while True:
        question = await person.question()
        asked.append([act["action"] for act in question["acts"]])
        await person.control.approve(question["id"])


@pytest.mark.parametrize(
    "command",
    [
        ["s3api", "put-object", "--bucket", "asked", "--key", "a", "--body", "data"],
        ["s3", "cp", "data", "s3://asked/b"],
    ],
)
async def test_a_commands_approval_covers_its_requests(
    sidecar: Sidecar, command: list[str]
) -> None:
    sidecar.begin_anew()
    (sidecar.workspace / "data").write_text("content")
    async with attending(sidecar) as person:
        asked: list[list[str]] = []
        answering = asyncio.ensure_future(_approve_all(person, asked))
        result = await begin(sidecar, *command, tool="aws")
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
    assert result.finished.exit_code == 0, result.stderr
    assert asked == [["aws:s3:PutObject"]]
    requests = [r["fields"] for r in sidecar.records() if r["kind"] == "egress.request"]
    assert {(r["decision"], r["rule"]) for r in requests if r["action"] == "aws:s3:PutObject"} == {
        ("allow", "policy.cedar:uploads")
    }


async def test_what_only_the_request_tells_is_asked_at_the_proxy(sidecar: Sidecar) -> None:
    sidecar.begin_anew()
    async with attending(sidecar) as person:
        running = begin(sidecar, "sts", "get-caller-identity", tool="aws", timeout=12)
        question = await person.question()
        assert question["acts"][0]["facts"]["region"] == "eu-west-1"
        assert question["shown"][0] == "POST"
        assert "egress.request" not in [r["kind"] for r in sidecar.records()]
        await person.control.approve(question["id"])
        result = await running
        assert result.finished.exit_code == 0, result.stderr
        assert "waiting for approval" in result.stderr

        running = begin(sidecar, "sts", "get-caller-identity", tool="aws", timeout=12)
        await person.control.deny((await person.question())["id"], "not now")
        result = await running
        assert result.finished.exit_code != 0
        assert "not now" in result.stderr


async def test_a_question_ends_with_its_command(sidecar: Sidecar) -> None:
    sidecar.begin_anew()
    async with attending(sidecar) as person:
        running = begin(sidecar, "sts", "get-caller-identity", tool="aws", timeout=3)
        await person.question()
        assert (await running).failed.kind == "CommandTimeout"
        assert await person.control.pending() == []


async def test_nobody_listens_so_the_request_is_denied(sidecar: Sidecar) -> None:
    sidecar.begin_anew()
    result = await begin(sidecar, "sts", "get-caller-identity", tool="aws")
    assert result.finished.exit_code != 0
    assert "Nobody can approve it from here" in result.stderr
