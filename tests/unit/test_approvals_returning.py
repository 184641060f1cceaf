"""A client whose patience ends before the person's: its retry joins its question, no other does."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyless_sidecar.approvals import Approvals, NotPending, Question
from keyless_sidecar.audit import AuditLog
from keyless_sidecar.audit.reading import read
from keyless_sidecar.events import Events
from keyless_sidecar.policy.acts import Act, Decision
from keyless_sidecar.sanitize import Patterns

QUESTION = Question(
    "kernel",
    ("PUT", "https://h/x"),
    (Act("http:PUT", "kernel", "t", None, {"host": "h", "method": "PUT", "path": "/x"}),),
    Decision("ask", "p:careful", "Why."),
    "",
    fingerprint="PUT https://h/x",
)
BY = {"via": "host"}


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[AuditLog]:
    """An audit file."""
    log = AuditLog.open(tmp_path / "audit", "k", {})
    yield log
    log.close()


def approvals(audit: AuditLog) -> Approvals:
    async def patterns() -> Patterns:
        return Patterns.build([])

    return Approvals(audit, Events(), patterns, timeout=20, terminal=True)


async def left(asked: Approvals, question: Question) -> str:
    """Ask, and go away; the id of the question that is left."""
    asking = asyncio.ensure_future(asked.ask(question))
    while not asked.pending():
        await asyncio.sleep(0.01)
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    return str(asked.pending()[0]["id"])


async def test_the_same_request_takes_its_place_again(audit: AuditLog) -> None:
    asked = approvals(audit)
    identity = await left(asked, QUESTION)
    again = asyncio.ensure_future(asked.ask(dataclasses.replace(QUESTION)))
    await asyncio.sleep(0.05)
    assert [each["id"] for each in asked.pending()] == [identity]
    await asked.answer(identity, approved=True, by=BY)
    assert (await again).approved
    kinds = [record["kind"] for record in read(audit.path)]
    assert kinds == ["audit.open", "approval.question", "approval.answer"]
    await asked.close()


async def test_an_answer_that_came_meanwhile_counts_once(audit: AuditLog) -> None:
    asked = approvals(audit)
    await asked.answer(await left(asked, QUESTION), approved=True, by=BY)
    assert (await asked.ask(QUESTION)).approved
    third = asyncio.ensure_future(asked.ask(QUESTION))
    while not asked.pending():
        await asyncio.sleep(0.01)
    third.cancel()
    await asyncio.gather(third, return_exceptions=True)
    await asked.close()


async def test_another_request_is_another_question(audit: AuditLog) -> None:
    asked = approvals(audit)
    first = await left(asked, QUESTION)
    other = asyncio.ensure_future(
        asked.ask(dataclasses.replace(QUESTION, fingerprint="PUT https://h/x2"))
    )
    while len(asked.pending()) < 2:
        await asyncio.sleep(0.01)
    await asked.answer(first, approved=True, by=BY)
    assert not other.done()
    second = str(asked.pending()[0]["id"])
    await asked.answer(second, approved=False, by=BY)
    assert not (await other).approved
    await asked.close()


async def test_a_request_that_isnt_known_whole_ends_its_question(audit: AuditLog) -> None:
    asked = approvals(audit)
    asking = asyncio.ensure_future(asked.ask(dataclasses.replace(QUESTION, fingerprint="")))
    while not asked.pending():
        await asyncio.sleep(0.01)
    identity = str(asked.pending()[0]["id"])
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    while asked.pending():
        await asyncio.sleep(0.01)
    with pytest.raises(NotPending):
        await asked.answer(identity, approved=True, by=BY)
    await asked.close()


async def test_without_an_audit_no_answer_counts(audit: AuditLog) -> None:
    asked = approvals(audit)
    asking = asyncio.ensure_future(asked.ask(QUESTION))
    while not asked.pending():
        await asyncio.sleep(0.01)
    audit.close()
    with pytest.raises(Exception, match="closed"):
        await asked.answer(str(asked.pending()[0]["id"]), approved=True, by=BY)
    assert not asking.done()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await asked.close()
