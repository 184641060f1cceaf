"""Commands that wait for a person: what is shown, what an answer does, and what it doesn't."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.conftest import StartSidecar
from tests.support.asking import ASKING, attending, begin
from tests.support.sidecar import SECRET, Sidecar, kept_sidecar

from keyless.control_client import ControlError
from keyless.protocol.messages import Cancel


@pytest.fixture(scope="module")
def one_sidecar() -> Iterator[Sidecar]:
    """A sidecar whose policy asks."""
    with kept_sidecar(policy=ASKING, config={"Approvals": {"timeout": 60}}) as sidecar:
        yield sidecar


@pytest.fixture
def asking(one_sidecar: Sidecar) -> Sidecar:
    """The same, with its workspace empty, and only the records from now on."""
    one_sidecar.begin_anew()
    return one_sidecar


def kinds(sidecar: Sidecar) -> list[str]:
    return [record["kind"] for record in sidecar.records()]


async def test_what_is_approved_runs_and_is_on_record_first(asking: Sidecar) -> None:
    (asking.workspace / "plan.txt").write_text("harmless\n")
    async with attending(asking) as person:
        running = begin(asking, "read", "0", "plan.txt")
        question = await person.question()
        assert question["shown"] == ["read", "0", "plan.txt"]
        assert question["rule"] == "policy.cedar:careful"
        assert question["reason"] == "It changes something."
        (file,) = question["files"]
        assert file == {
            "path": "plan.txt",
            "size": 9,
            "sha256": hashlib.sha256(b"harmless\n").hexdigest(),
        }
        assert kinds(asking)[-1] == "approval.question"
        assert [each["id"] for each in await person.control.pending()] == [question["id"]]
        await person.control.approve(question["id"])
        result = await running
        assert "harmless" in result.stdout
        assert "waiting for approval" in result.stderr
        assert await person.control.pending() == []
        while "finished" not in person.heard:
            await asyncio.sleep(0.02)
    records = asking.records()
    order = [record["kind"] for record in records if record["kind"].startswith(("exec", "appr"))]
    assert order == [
        "exec.request",
        "approval.question",
        "approval.answer",
        "exec.decision",
        "exec.result",
    ]
    answer = next(r["fields"] for r in records if r["kind"] == "approval.answer")
    assert answer["approved"] is True
    assert answer["by"]["via"] == "host"
    assert answer["by"]["uid"] >= 0
    assert person.heard == ["pending", "decided", "started", "finished"]


async def test_nobody_listens_so_it_is_denied_at_once(asking: Sidecar) -> None:
    failed = (await begin(asking, "rc", "0")).failed
    assert failed.kind == "PolicyDenied"
    assert "Nobody can approve it from here" in failed.message
    assert "approval.question" not in kinds(asking)


async def test_a_denial_gives_its_reason_to_the_cell(asking: Sidecar) -> None:
    async with attending(asking) as person:
        running = begin(asking, "rc", "0")
        question = await person.question()
        await person.control.deny(question["id"], f"not \u202e today {SECRET}")
        failed = (await running).failed
        assert failed.kind == "PolicyDenied"
        assert "A person denied it: not \\u202e today" in failed.message
        assert SECRET not in failed.message
        with pytest.raises(ControlError) as late:
            await person.control.approve(question["id"])
        assert (late.value.status, late.value.kind) == (404, "NotPending")
    assert "exec.result" not in kinds(asking)


async def test_a_secret_in_a_question_is_shown_to_nobody(asking: Sidecar) -> None:
    async with attending(asking) as person:
        running = begin(asking, "argv", SECRET, "\u200bx")
        question = await person.question()
        assert SECRET not in str(question)
        assert question["shown"][1] == "[redacted:canary]"
        assert question["shown"][2] == "\\u200bx"
        await person.control.approve(question["id"])
        assert SECRET not in (await running).stdout


async def test_an_approval_is_for_this_once(asking: Sidecar) -> None:
    async with attending(asking) as person:
        for _ in range(2):
            running = begin(asking, "rc", "0")
            await person.control.approve((await person.question())["id"])
            assert (await running).finished.exit_code == 0


async def test_minutes_cover_the_same_command_and_no_other(asking: Sidecar) -> None:
    async with attending(asking) as person:
        running = begin(asking, "rc", "4")
        question = await person.question()
        assert question["grantable"]
        await person.control.approve(question["id"], minutes=5)
        assert (await running).finished.exit_code == 4
        assert (await begin(asking, "rc", "4")).finished.exit_code == 4
        assert "approval.reused" in kinds(asking)
        running = begin(asking, "rc", "3")
        await person.control.deny((await person.question())["id"])
        assert (await running).failed.kind == "PolicyDenied"


async def test_a_file_that_changes_after_it_was_shown_doesnt_run(asking: Sidecar) -> None:
    plan = asking.workspace / "plan.txt"
    plan.write_text("harmless\n")
    async with attending(asking) as person:
        running = begin(asking, "read", "0", "plan.txt")
        question = await person.question()
        plan.write_text("harmful!\n")
        await person.control.approve(question["id"])
        failed = (await running).failed
    assert failed.kind == "InvalidRequest"
    assert "no longer what was approved" in failed.message


async def test_a_file_that_changes_while_it_runs_is_read_as_approved(asking: Sidecar) -> None:
    plan = asking.workspace / "plan.txt"
    plan.write_text("harmless\n")
    async with attending(asking) as person:
        request = asking.start("read", "1", "plan.txt")
        begun = asyncio.ensure_future(
            asyncio.to_thread(asking.collect, request, lambda so_far: "waiting" in so_far.stdout)
        )
        await person.control.approve((await person.question())["id"])
        await begun
        plan.write_text("harmful!\n")
        result = await asyncio.to_thread(asking.collect, request)
    assert "harmless\n" in result.stdout
    assert "harmful" not in result.stdout


async def test_standard_input_is_shown_by_its_digest(asking: Sidecar) -> None:
    async with attending(asking) as person:
        running = begin(asking, "stdin", stdin=b"rm -rf /")
        (file,) = (await person.question())["files"]
        assert file["path"] == "(standard input)"
        assert file["sha256"] == hashlib.sha256(b"rm -rf /").hexdigest()
        await person.control.approve((await person.control.pending())[0]["id"])
        assert (await running).stdout == "rm -rf /"


async def test_a_cancelled_command_takes_its_question_back(asking: Sidecar) -> None:
    async with attending(asking) as person:
        request = asking.start("rc", "0")
        running = asyncio.ensure_future(asyncio.to_thread(asking.collect, request))
        question = await person.question()
        asking.send(Cancel(id=request))
        assert (await running).failed.kind == "CommandCancelled"
        with pytest.raises(ControlError):
            await person.control.approve(question["id"])


async def test_time_is_over(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar(policy=ASKING, config={"Approvals": {"timeout": 1, "terminal": True}})
    sidecar.hello()
    failed = (await begin(sidecar, "rc", "0")).failed
    assert failed.kind == "ApprovalTimeout"
    assert "within 1 s" in failed.message
    ended = next(r["fields"] for r in sidecar.records() if r["kind"] == "approval.ended")
    assert ended["approved"] is False


async def test_a_dry_run_asks_nobody(asking: Sidecar) -> None:
    async with attending(asking):
        finished = (await begin(asking, "rc", "0", dry_run=True)).finished
        assert any("would wait for a person's approval" in note for note in finished.notes)
    assert "approval.question" not in kinds(asking)


async def test_two_answers_are_one(asking: Sidecar) -> None:
    async with attending(asking) as person:
        running = begin(asking, "rc", "0")
        question = (await person.question())["id"]
        answers: list[Any] = await asyncio.gather(
            person.control.deny(question), person.control.approve(question), return_exceptions=True
        )
        assert sum(isinstance(answer, ControlError) for answer in answers) == 1
        result = await running
        assert (answers[0] is None) == (getattr(result.end, "kind", "") == "PolicyDenied")


def test_a_limit_that_makes_no_sense_stops_the_start(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar(config={"Approvals": {"timeout": 0}})
    assert "timeout" in sidecar.status["error"]
