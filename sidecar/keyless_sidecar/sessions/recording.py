"""What the audit keeps of sessions: names and ends, never a key or its id.

Used by :mod:`keyless_sidecar.sessions.service`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from keyless.protocol.messages import Failed, OpenSession
from keyless_sidecar.audit import AuditLog
from keyless_sidecar.execution.request_records import MAX_MESSAGE
from keyless_sidecar.keeper import Keeper
from keyless_sidecar.sanitize import sanitize_text
from keyless_sidecar.sessions.deciding import NotGiven, Wanted
from keyless_sidecar.sessions.session import Session
from keyless_sidecar.sessions.sts import Assumed

__all__ = ["Records", "iso"]


class Records:
    """Writes records; each is on disk when its method returns.

    Args:
        audit: where they go.
        keeper: knows what may not be in them.

    All methods raise :class:`~keyless_sidecar.audit.AuditUnavailable`, and
    :class:`~keyless_sidecar.vault.VaultError` where what must not be in them can't be known.
    """

    def __init__(self, audit: AuditLog, keeper: Keeper) -> None:
        self._audit = audit
        self._keeper = keeper

    async def request(self, request: OpenSession) -> str:
        """What was asked; returns the record's id, which stands in the replies."""
        names = request.operations
        return await self._append(
            "session.request",
            {
                "id": request.id,
                "credential": await self._clean(request.credential),
                "seconds": request.seconds,
                "policy": None if request.policy is None else await self._clean(request.policy),
                "operations": None if names is None else [await self._clean(n) for n in names],
                "execution_count": request.cell.execution_count,
                "cell_hash": await self._clean(request.cell.cell_hash),
            },
        )

    async def allowed(self, record: str, wish: Wanted, rule: str) -> None:
        """That it may be, by which rule, and for what."""
        await self._append(
            "session.decision",
            {
                "request": record,
                "allowed": True,
                "rule": rule,
                "credential": wish.request.credential,
                "actions": list(wish.actions),
                "document": await self._clean(wish.document),
            },
        )

    async def refused(self, record: str, request: OpenSession, refusal: NotGiven) -> Failed:
        """That there is none, and the answer that says so."""
        message = (await self._clean(refusal.message))[:MAX_MESSAGE]
        await self._append(
            "session.decision",
            {
                "request": record,
                "allowed": False,
                "rule": refusal.rule,
                "kind": refusal.kind,
                "message": message,
            },
        )
        return Failed(id=request.id, kind=refusal.kind, message=message, record_id=record)

    async def opened(self, session: Session, wish: Wanted, assumed: Assumed, exposure: str) -> None:
        """That its keys are handed out."""
        await self._append(
            "session.opened",
            {
                "request": session.record,
                "session": session.id,
                "credential": session.credential,
                "role": wish.options.role_arn,
                "arn": assumed.arn,
                "name": session.name,
                "expires": iso(assumed),
                "exposure": exposure,
            },
        )

    async def _clean(self, text: str) -> str:
        return sanitize_text(await self._keeper.patterns(), text)[0]

    async def _append(self, kind: str, fields: dict[str, Any]) -> str:
        return await asyncio.to_thread(self._audit.append, kind, fields)


def iso(assumed: Assumed) -> str:
    """When its keys end, as text."""
    end = assumed.keys.expires
    return end.isoformat(timespec="seconds") if end else ""
