"""Audit records as what a person reads: one entry a command, newest first.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["timeline"]

#: Requests over the network that one entry names.
_MOST_REQUESTS = 50


def timeline(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Put together what belongs to one command.

    Args:
        records: of one kernel, oldest first.  Records whose command's first one is missing, since
            it is older than the oldest, are left out.

    Returns:
        Entries with ``record_id``, ``time``, ``tool``, ``argv``, ``execution_count``,
        ``cell_hash``, ``origin``, ``state`` (``asked``, ``waiting``, ``running``, ``done``,
        ``denied``, ``failed``), ``rule``, ``reason``, ``approval`` (what came of a question, empty
        where nobody was asked), ``exit_code``, ``duration`` in seconds, ``redactions`` (name →
        count), and ``requests`` (what was sent over the
        network: ``action``, ``host``, ``decision``, ``status``, 0 where there was no answer).
    """
    entries: dict[str, dict[str, Any]] = {}
    for record in records:
        kind, fields = str(record["kind"]), record["fields"]
        if kind.endswith(".request") and kind != "egress.request":
            entries[record["record_id"]] = _entry(record)
            continue
        entry = entries.get(str(fields.get("request") or ""))
        if entry is None:
            continue
        if kind == "egress.request":
            _sent(entry, fields)
        elif kind.startswith("approval."):
            _approval(entry, kind, fields)
        elif kind.endswith(".decision"):
            # A session is given, and that's all that happens.
            _decision(entry, fields, then="done" if kind == "session.decision" else "running")
        elif kind.endswith(".result"):
            _result(entry, fields)
    return list(reversed(entries.values()))


def _entry(record: Mapping[str, Any]) -> dict[str, Any]:
    fields = record["fields"]
    # A call by the SDK names a service and an operation, a session a credential.
    named = [fields[name] for name in ("service", "operation", "credential") if fields.get(name)]
    words = fields.get("argv") or named
    return {
        "record_id": record["record_id"],
        "time": record["time"],
        "tool": str(fields.get("tool") or str(record["kind"]).split(".")[0]),
        "argv": [str(word) for word in words],
        "execution_count": int(fields.get("execution_count") or 0),
        "cell_hash": str(fields.get("cell_hash") or ""),
        "origin": str(fields.get("origin") or "cell"),
        "state": "asked",
        "rule": "",
        "reason": "",
        "approval": "",
        "exit_code": None,
        "duration": None,
        "redactions": {},
        "requests": [],
    }


def _approval(entry: dict[str, Any], kind: str, fields: Mapping[str, Any]) -> None:
    entry["rule"] = str(fields.get("rule") or entry["rule"])
    if kind == "approval.question":
        entry["state"] = "waiting"
        return
    approved = kind == "approval.reused" or bool(fields.get("approved"))
    entry["state"] = "running" if approved else "denied"
    entry["approval"] = {
        "approval.reused": "allowed for a while by an earlier answer",
        "approval.refused": "nobody was there to ask",
        "approval.ended": "nobody answered",
    }.get(kind, "approved by a person" if approved else "denied by a person")


def _decision(entry: dict[str, Any], fields: Mapping[str, Any], then: str) -> None:
    entry["rule"] = str(fields.get("rule") or entry["rule"])
    entry["reason"] = str(fields.get("message") or "")
    entry["state"] = then if fields.get("allowed") else "denied"


def _result(entry: dict[str, Any], fields: Mapping[str, Any]) -> None:
    code = fields.get("exit_code")
    entry["exit_code"] = code
    entry["duration"] = fields.get("duration")
    entry["redactions"] = dict(fields.get("redactions") or {})
    entry["reason"] = str(fields.get("message") or "")
    done = fields.get("outcome") == "Finished" and not code
    entry["state"] = "done" if done else "failed"


def _sent(entry: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """A request over the network; its answer is a record of its own."""
    request = {name: str(fields.get(name) or "") for name in ("action", "host", "decision")}
    if fields.get("stage") == "answer":
        for earlier in reversed(entry["requests"]):
            if earlier == request | {"status": 0}:
                earlier["status"] = int(fields.get("status") or 0)
                return
    elif len(entry["requests"]) < _MOST_REQUESTS:
        entry["requests"].append(request | {"status": 0})
