"""How a session that a cell holds ends early: forgotten here, and revoked where it may be.

Used by :mod:`keyless_sidecar.sessions.service`; owned by the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from keyless_sidecar.audit import AuditLog
from keyless_sidecar.keeper import Keeper
from keyless_sidecar.sessions import sts
from keyless_sidecar.sessions.session import Session, SessionBook
from keyless_sidecar.vault import VaultError
from keyless_sidecar.vault.session_options import SessionOptions
from keyless_sidecar.vault.surroundings import Surroundings

__all__ = ["Endings"]

#: Seconds that revoking may take when the sidecar ends.
_LAST_TIMEOUT = 5.0

_log = logging.getLogger(__name__)


class Endings:
    """Ends sessions.

    Args:
        book: the open ones.
        options: ``c.Vault.sessions``.
        keeper: gives the keys that revoke.
        audit: where records go.
        surroundings: network rules for IAM.
    """

    def __init__(
        self,
        book: SessionBook,
        options: Mapping[str, SessionOptions],
        keeper: Keeper,
        audit: AuditLog,
        surroundings: Surroundings,
    ) -> None:
        self._book = book
        self._options = options
        self._keeper = keeper
        self._audit = audit
        self._surroundings = surroundings

    async def end(self, session: Session, why: str) -> tuple[bool, str]:
        """Forget a session, and revoke it where that is allowed.

        Returns:
            Whether AWS takes its keys no more, and the record's id.

        Raises:
            AuditUnavailable: it can't be recorded; it is forgotten all the same.
        """
        if self._book.forget(session.id) is None:
            return False, session.record
        options = self._options[session.credential]
        revoked, problem = False, ""
        if options.revoke:
            try:
                entry = await self._keeper.entry(session.credential)
                await asyncio.to_thread(
                    sts.revoke, entry, options, self._surroundings, datetime.now(UTC)
                )
                revoked = True
            except VaultError as error:
                # What it says is of ours, or an error code.
                problem = str(error)
                _log.error("session %s is not revoked: %s", session.id, error)
        return revoked, await self._record(session, why, revoked=revoked, problem=problem)

    async def alive(self, session: Session) -> bool:
        """Whether a session is open still; it ends here where its entry has left the vault.

        Raises:
            VaultError: the vault can't be read.
            AuditUnavailable: its end can't be recorded.
        """
        # Anew, as values are: these keys go out where the entry is there.
        infos = await self._keeper.infos(anew=True)
        if any(info.name == session.credential and info.kind == "aws" for info in infos):
            return self._book.get(session.id) is not None
        if self._book.forget(session.id) is not None:
            # The keys that could revoke it are gone.
            await self._record(session, "entry removed", revoked=False, problem="")
        return False

    async def end_all(self, why: str) -> None:
        """End all sessions; what takes too long is left."""
        tasks = [asyncio.ensure_future(self.end(each, why)) for each in self._book.all()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_LAST_TIMEOUT)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _record(self, session: Session, why: str, *, revoked: bool, problem: str) -> str:
        fields = {"session": session.id, "why": why, "revoked": revoked, "problem": problem}
        return await asyncio.to_thread(
            self._audit.append, "session.closed", fields, from_reserve=True
        )
