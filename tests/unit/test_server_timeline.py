"""Audit records as a person reads them."""

from __future__ import annotations

from typing import Any

from keyless.server.timeline import timeline

CELL = {"execution_count": 3, "cell_hash": "ab"}


def records(*given: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"record_id": f"k-{number}", "time": f"t{number}", "kind": kind, "fields": fields}
        for number, (kind, fields) in enumerate(given)
    ]


def test_one_entry_a_command_newest_first() -> None:
    sent = {"request": "k-1", "action": "aws:s3:ListBuckets", "host": "s3", "decision": "allow"}
    entries = timeline(
        records(
            ("audit.open", {"facts": {}}),
            ("exec.request", {"tool": "aws", "argv": ["s3", "ls"], "origin": "cell", **CELL}),
            ("approval.question", {"request": "k-1", "rule": "ask"}),
            ("approval.answer", {"request": "k-1", "rule": "ask", "approved": True}),
            ("exec.decision", {"request": "k-1", "allowed": True, "rule": "ask"}),
            ("egress.request", {**sent, "stage": "request"}),
            ("egress.request", {**sent, "stage": "answer", "status": 200}),
            (
                "exec.result",
                {"request": "k-1", "outcome": "Finished", "exit_code": 0, "duration": 0.5}
                | {"redactions": {"deploy": 2}},
            ),
            ("call.request", {"service": "sts", "operation": "GetCallerIdentity", **CELL}),
            ("call.decision", {"request": "k-8", "allowed": False, "rule": "r", "message": "no"}),
            ("session.request", {"credential": "deploy", **CELL}),
        )
    )
    session, call, command = entries
    assert (session["tool"], session["argv"], session["state"]) == ("session", ["deploy"], "asked")
    assert (call["tool"], call["argv"]) == ("call", ["sts", "GetCallerIdentity"])
    assert (call["state"], call["reason"]) == ("denied", "no")
    assert (command["tool"], command["argv"], command["state"]) == ("aws", ["s3", "ls"], "done")
    assert (command["execution_count"], command["cell_hash"]) == (3, "ab")
    assert command["approval"] == "approved by a person"
    assert command["redactions"] == {"deploy": 2}
    (request,) = command["requests"]
    assert (request["action"], request["status"]) == ("aws:s3:ListBuckets", 200)


def test_what_belongs_to_an_older_command_is_left_out() -> None:
    assert timeline(records(("exec.result", {"request": "k-77", "outcome": "Finished"}))) == []
    assert timeline(records(("egress.request", {"request": None, "stage": "request"}))) == []


def test_states() -> None:
    request = ("exec.request", {"tool": "say", "argv": []})

    def state(*given: tuple[str, dict[str, Any]]) -> tuple[str, str]:
        (entry,) = timeline(records(request, *((k, {"request": "k-0", **f}) for k, f in given)))
        return entry["state"], entry["approval"]

    question = ("approval.question", {"rule": "r"})
    assert state(question) == ("waiting", "")
    assert state(question, ("approval.ended", {"approved": False})) == ("denied", "nobody answered")
    assert state(("approval.refused", {})) == ("denied", "nobody was there to ask")
    assert state(("exec.result", {"outcome": "Finished", "exit_code": 2})) == ("failed", "")
    assert state(("exec.result", {"outcome": "CommandTimeout"})) == ("failed", "")
