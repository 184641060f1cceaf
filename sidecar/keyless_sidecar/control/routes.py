"""What may be asked, at which address: the table that router and description are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keyless_sidecar.control import types

__all__ = ["ROUTES", "Route"]

#: What any request may be answered with.
ALWAYS = (400, 401, 403)


@dataclass(frozen=True)
class Route:
    """One address.

    Attributes:
        handler: name of the API's method.
        body: type of the request's body, None where there is none.
        answer: type of the answer; None: not JSON.
        errors: statuses beside those that any request may get.
        parameters: of the path or query: name, place, schema.
    """

    method: str
    path: str
    handler: str
    summary: str
    body: Any = None
    answer: Any = types.Done
    errors: tuple[int, ...] = ()
    parameters: Sequence[tuple[str, str, dict[str, Any]]] = ()


_EXEC = (404, 408, 409, 413, 415, 503)
_WRITE = (409, 413, 415, 503)
_FLAG = {"type": "string", "enum": ["true", "false"]}

ROUTES = (
    Route(
        "GET", "/api/status", "status", types.KernelStatus.__doc__ or "", None,
        types.KernelStatus, (503,),
    ),
    Route(
        "GET", "/api/pending", "pending_questions", "Questions that wait.", None,
        types.PendingQuestions,
    ),
    Route(
        "POST", "/api/approve", "approve", "Say yes to a question.", types.Approve,
        errors=(404, *_WRITE),
    ),
    Route(
        "POST", "/api/deny", "deny", "Say no to a question.", types.Deny, errors=(404, *_WRITE)
    ),
    Route(
        "POST", "/api/stop", "stop", "End a command that runs.", types.Stop,
        errors=(404, *_WRITE),
    ),
    Route(
        "GET", "/api/events", "events_stream",
        "Server-sent events: pending, decided, started, finished.  Who listens may answer "
        "questions, so that they wait, unless approves=false.",
        None, None, parameters=(("approves", "query", _FLAG),),
    ),
    Route(
        "POST", "/api/vault/store", "store", "Register a credential of this kernel.",
        types.Store, types.Stored, _WRITE,
    ),
    Route(
        "DELETE", "/api/vault/{name}", "remove", "Forget a credential of this kernel.",
        errors=(404, 503),
        parameters=(
            ("name", "path", {"type": "string", "pattern": types.ENTRY_NAME}),
        ),
    ),
    Route(
        "POST", "/api/vault/exec", "vault_exec", types.VaultExec.__doc__ or "",
        types.VaultExec, types.Result, _EXEC,
    ),
    Route(
        "POST", "/api/platform/exec", "platform_exec", types.PlatformExec.__doc__ or "",
        types.PlatformExec, types.Result, _EXEC,
    ),
    Route(
        "POST", "/api/jit/exec", "jit_exec", types.JitExec.__doc__ or "",
        types.JitExec, types.Result, _EXEC,
    ),
    Route(
        "GET", "/api/audit", "audit_records", "The last audit records of this kernel.", None,
        types.AuditRecords, (503,),
        (("limit", "query", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),),
    ),
    Route("GET", "/openapi.json", "openapi", "This description.", None, dict[str, Any]),
)  # fmt: skip
