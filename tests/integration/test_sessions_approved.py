"""A session that the policy asks a person about: what they see, and what their word does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.support.asking import attending
from tests.support.sidecar import Sidecar, kept_sidecar

from keyless.localaws.server import LocalAws
from keyless.protocol.messages import Failed, OpenSession, Reply, SessionOpened
from keyless_sidecar.policy.loading import built_in_text

EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
ROLE = "arn:aws:iam::123456789012:role/deploy"


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Sidecar]:
    """With the built-in policy, which asks about each session."""
    with LocalAws(user_policy=EVERYTHING, roles={"deploy": EVERYTHING}) as aws:
        fields = {
            "access_key_id": aws.access_key_id,
            "secret_access_key": aws.secret_access_key,
            "region": aws.region,
        }
        with kept_sidecar(
            policy=built_in_text("default"),
            config={
                "Tools": {"psql": False},
                "Egress": {"upstreams": {"*.amazonaws.com": aws.endpoint}},
                "Vault": {"sessions": {"cloud": {"role_arn": ROLE, "to": ["kernel"]}}},
                "Approvals": {"timeout": 40},
            },
            credentials=[{"name": "cloud", "kind": "aws", "fields": fields, "tools": ["aws"]}],
        ) as started:
            yield started


async def ask(sidecar: Sidecar) -> Reply:
    """Ask for a session, and wait for what comes of it."""

    def asked() -> Reply:
        number = sidecar.next_id()
        sidecar.send(
            OpenSession(id=number, credential="cloud", operations=["lambda:UpdateFunctionCode"])
        )
        while getattr(reply := sidecar.receive(), "id", 0) != number:
            pass
        return reply

    return await asyncio.to_thread(asked)


async def test_a_person_sees_the_whole_of_it_and_says_yes_or_no(sidecar: Sidecar) -> None:
    async with attending(sidecar) as person:
        asking = asyncio.ensure_future(ask(sidecar))
        question = await person.question()
        assert question["shown"][:4] == ["secure_session", "cloud", ROLE, "15 minutes"]
        assert "lambda:UpdateFunctionCode" in question["shown"][4]
        actions = {act["action"] for act in question["acts"]}
        assert actions == {"session", "aws:lambda:UpdateFunctionCode"}
        assert "session.opened" not in [r["kind"] for r in sidecar.records()]
        await person.control.approve(question["id"])
        assert isinstance(await asking, SessionOpened)

        asking = asyncio.ensure_future(ask(sidecar))
        await person.control.deny((await person.question())["id"], "use the proxy")
        denied = await asking
        assert isinstance(denied, Failed)
        assert denied.kind == "PolicyDenied"
        assert "use the proxy" in denied.message


async def test_with_nobody_to_ask_there_is_none(sidecar: Sidecar) -> None:
    denied = await ask(sidecar)
    assert isinstance(denied, Failed)
    assert "Nobody can approve it from here" in denied.message
