"""The local AWS's requests in the form of CloudTrail's events: who did what, from which session.

Names and places are CloudTrail's, so what reads these reads the real ones.  There are no request
parameters in them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from keyless.localaws.front import LoggedCall

__all__ = ["Event", "event_of"]

Event: TypeAlias = dict[str, Any]

_ASSUMED = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):sts::(?P<account>\d+):assumed-role/(?P<role>[^/]+)/.+"
)


def event_of(call: LoggedCall) -> Event:
    """One request as an event: ``eventName``, ``userIdentity.arn``, ``sessionContext``, …"""
    event: Event = {
        "eventTime": f"{datetime.fromtimestamp(call.time, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "eventSource": f"{call.service}.amazonaws.com",
        "eventName": call.operation,
        "userIdentity": _identity(call),
        "resources": [{"ARN": call.resource}] if call.resource.startswith("arn:") else [],
    }
    if not call.allowed:
        event["errorCode"] = call.error or "AccessDenied"
    return event


def _identity(call: LoggedCall) -> Event:
    if not call.principal:
        return {"type": "Unknown"}
    found = _ASSUMED.fullmatch(call.principal)
    if found is None:
        return {"type": "IAMUser", "arn": call.principal}
    role = f"arn:{found['partition']}:iam::{found['account']}:role/{found['role']}"
    context: Event = {"sessionIssuer": {"type": "Role", "arn": role, "userName": found["role"]}}
    if call.source_identity:
        context["sourceIdentity"] = call.source_identity
    return {"type": "AssumedRole", "arn": call.principal, "sessionContext": context}
