"""Opening sessions, as far as it goes without AWS: who may ask, who gives up, what is recorded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.policies import OPEN

from keyless.protocol.messages import CloseSession, Failed, OpenSession, Reply
from keyless_sidecar.audit import AuditLog
from keyless_sidecar.keeper import Keeper
from keyless_sidecar.placeholders import PlaceholderBook
from keyless_sidecar.policy import Act, Decision
from keyless_sidecar.policy.engine import CedarPolicy, Principal
from keyless_sidecar.sessions.deciding import NotGiven, Wanted
from keyless_sidecar.sessions.service import Sessions
from keyless_sidecar.vault import Entry, MemorySource, Surroundings, Vault
from keyless_sidecar.vault.session_options import parse_sessions

ROLE = "arn:aws:iam::123456789012:role/deploy"
KEYS = {
    "access_key_id": "AKIAIOSFODNN7EXAMPLE",
    "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "region": "us-east-1",
}
ASKING = '@outcome("ask") permit (principal, action == Action::"session", resource);\n' + (
    'permit (principal, action in Action::"aws", resource);'
)


class Stage:
    """A sidecar's sessions without the sidecar.  STS is a closed port, so nothing is ever given."""

    def __init__(self, folder: Path, policy: str, **options: Any) -> None:
        book = PlaceholderBook()
        self.keeper = Keeper(Vault([MemorySource([Entry("cloud", "aws", KEYS, ("aws",))])]), book)
        self.audit = AuditLog.open(folder, "k1", {})
        self.sessions = Sessions(
            kernel_id="k1",
            options=parse_sessions({"cloud": {"role_arn": ROLE, "to": ["kernel"]}}),
            keeper=self.keeper,
            book=book,
            policy=CedarPolicy(policy, Principal("k1")),
            audit=self.audit,
            surroundings=Surroundings(upstreams={"*.amazonaws.com": "http://127.0.0.1:9"}),
            **{"network": True, **options},
        )

    async def ask(self, request: OpenSession | CloseSession) -> Failed:
        replies: list[Reply] = []

        async def send(reply: Reply) -> None:
            replies.append(reply)

        await self.sessions.serve(request, send)
        (reply,) = replies
        assert isinstance(reply, Failed)
        return reply

    def decisions(self) -> list[dict[str, Any]]:
        records = [json.loads(line) for line in self.audit.path.read_text().splitlines()]
        return [each["fields"] for each in records if each["kind"] == "session.decision"]


@asynccontextmanager
async def stage(folder: Path, policy: str = OPEN, **options: Any) -> AsyncIterator[Stage]:
    made = Stage(folder, policy, **options)
    try:
        yield made
    finally:
        await made.sessions.close()
        made.keeper.close()
        made.audit.close()


def wanted(number: int = 1) -> OpenSession:
    return OpenSession(id=number, credential="cloud", operations=["s3:GetObject"])


async def test_where_cells_have_no_network_there_is_no_session(tmp_path: Path) -> None:
    async with stage(tmp_path, network=False) as here:
        assert not here.sessions.to_kernel
        failed = await here.ask(wanted())
        assert (failed.kind, here.decisions()[0]["rule"]) == ("PolicyDenied", "sessions.network")
        assert failed.record_id


async def test_an_sts_that_cant_be_reached_is_said_without_its_place(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        failed = await here.ask(wanted())
        assert failed.kind == "SidecarUnavailable"
        assert failed.message.startswith("cloud: AWS doesn't assume the role: ")
        assert "127.0.0.1" not in failed.message
        # Allowed, and then not given: both stand in the record.
        assert [each["allowed"] for each in here.decisions()] == [True, False]
        assert here.sessions.held("AKIAIOSFODNN7EXAMPLE") is None


async def test_who_gives_up_takes_the_question_back(tmp_path: Path) -> None:
    waiting = asyncio.Event()

    async def ask(
        wish: Wanted, acts: Sequence[Act], decision: Decision, _: str, cancelled: asyncio.Event
    ) -> str:
        assert [act.action for act in acts] == ["session"]
        waiting.set()
        await asyncio.wait_for(cancelled.wait(), 10)
        raise NotGiven("CommandCancelled", "The question was taken back.", decision.rule)

    async with stage(tmp_path, ASKING, ask=ask) as here:
        asked = asyncio.ensure_future(here.ask(wanted()))
        await asyncio.wait_for(waiting.wait(), 10)
        await here.sessions.cancel(2)  # another's
        assert not asked.done()
        await here.sessions.cancel(1)
        assert (await asyncio.wait_for(asked, 10)).kind == "CommandCancelled"


async def test_without_a_record_there_is_no_session(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        here.audit.close()
        failed = await here.ask(wanted())
        assert (failed.kind, failed.record_id) == ("SidecarUnavailable", "")
        assert "audit" in failed.message
        assert str(tmp_path) not in failed.message


async def test_what_isnt_open_cant_be_closed(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        failed = await here.ask(CloseSession(id=1, session="0123456789abcdef"))
        assert (failed.kind, failed.message[:27]) == (
            "InvalidRequest",
            "There is no such open sessi",
        )
