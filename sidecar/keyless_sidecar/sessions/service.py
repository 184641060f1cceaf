"""Opens and closes sessions: decide, record, assume the role, hand out, forget.

:mod:`keyless_sidecar.channel` calls :meth:`Sessions.serve`; the proxy looks requests up that are
signed with a session's keys (:meth:`Sessions.held`).  Owned by the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from keyless.protocol.messages import (
    CloseSession,
    Failed,
    FailureKind,
    OpenSession,
    Reply,
    SessionClosed,
    SessionOpened,
)
from keyless_sidecar.audit import AuditLog, AuditUnavailable
from keyless_sidecar.egress.aws.held import Held
from keyless_sidecar.keeper import Keeper
from keyless_sidecar.placeholders import PlaceholderBook
from keyless_sidecar.policy import Policy
from keyless_sidecar.sessions import sts
from keyless_sidecar.sessions.deciding import Ask, NotGiven, Wanted, decide, wanted
from keyless_sidecar.sessions.ending import Endings
from keyless_sidecar.sessions.naming import session_name
from keyless_sidecar.sessions.recent import Recent
from keyless_sidecar.sessions.recording import Records, iso
from keyless_sidecar.sessions.session import Session, SessionBook
from keyless_sidecar.sessions.words import closed_sentence, exposure_sentence
from keyless_sidecar.vault import VaultError
from keyless_sidecar.vault.session_options import SessionOptions
from keyless_sidecar.vault.surroundings import Surroundings

__all__ = ["Sessions"]

#: Open sessions of one kernel.
MOST = 16
_NO_AUDIT = "The audit log can't be written, so no session is given; the sidecar's log says why."
_NO_VAULT = "The vault can't be read, so no session is given; the sidecar's own log says why."

_log = logging.getLogger(__name__)


class Sessions:
    """See the module.  One for each sidecar.

    Args:
        kernel_id: whose cells ask.
        options: ``c.Vault.sessions``; empty: pattern 2 is off.
        keeper: vault and patterns.
        book: tells the sanitizer what was handed out.
        policy: in force.
        audit: where records go.
        surroundings: network rules for STS and IAM.
        network: whether cells have a way to AWS at all.
        ask: asks a person; None where nobody can be asked.
    """

    def __init__(
        self,
        *,
        kernel_id: str,
        options: Mapping[str, SessionOptions],
        keeper: Keeper,
        book: PlaceholderBook,
        policy: Policy,
        audit: AuditLog,
        surroundings: Surroundings,
        network: bool,
        ask: Ask | None = None,
    ) -> None:
        self._kernel_id = kernel_id
        self.options = options
        self._keeper = keeper
        self._book = book
        self._policy = policy
        self._surroundings = surroundings
        self._network = network
        self._ask = ask
        self._open = SessionBook()
        self._records = Records(audit, keeper)
        self._endings = Endings(self._open, options, keeper, audit, surroundings)
        self._opening: dict[int, asyncio.Event] = {}
        #: Whether cells may have sessions at all.
        self.to_kernel = network and any("kernel" in each.to for each in options.values())
        #: What the proxy let through: a session without operations is for that.
        self.recent = Recent()

    async def serve(
        self, request: OpenSession | CloseSession, send: Callable[[Reply], Awaitable[None]]
    ) -> None:
        """Answer one request.

        Raises:
            ConnectionError: the kernel side is gone.
        """
        if isinstance(request, CloseSession):
            work = self._close_one(request)
        else:
            work = self._open_one(request)
        kind: FailureKind = "SidecarUnavailable"
        try:
            reply = await work
        except AuditUnavailable as error:
            _log.error("audit: %s", error)
            reply = Failed(id=request.id, kind=kind, message=_NO_AUDIT)
        except VaultError as error:
            _log.error("vault: %s", error)
            reply = Failed(id=request.id, kind=kind, message=_NO_VAULT)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not leave the cell waiting
            _log.error("session request %d: %s", request.id, type(error).__name__)
            text = f"The sidecar failed on this request ({type(error).__name__})."
            reply = Failed(id=request.id, kind=kind, message=text)
        await send(reply)

    async def cancel(self, request: int) -> None:
        """The cell gave up on a request: what it was or is answered with is closed."""
        if event := self._opening.get(request):
            event.set()
        elif session := self._open.by_request(request):
            try:
                await self._endings.end(session, "cancelled")
            except (AuditUnavailable, VaultError) as error:
                _log.error("session %s: %s", session.id, error)

    def held(self, access_key_id: str) -> Held | None:
        """The open session that a request was signed with, for the proxy."""
        session = self._open.by_key(access_key_id)
        if session is None:
            return None

        async def alive() -> bool:
            try:
                return await self._endings.alive(session)
            except (AuditUnavailable, VaultError) as error:
                _log.error("session %s: %s", session.id, error)
                return False

        return Held(session.keys, session.credential, approved=session.approved, alive=alive)

    async def close(self) -> None:
        """Forget all sessions, and revoke those that may be; for the sidecar's end."""
        await self._endings.end_all("kernel ended")

    # ------------------------------------------------------------------ opening

    async def _open_one(self, request: OpenSession) -> Reply:
        cancelled = self._opening[request.id] = asyncio.Event()
        record = ""
        try:
            record = await self._records.request(request)
            wish, approved = await self._allowed(request, record, cancelled)
            return await self._assumed(wish, approved, record, cancelled)
        except NotGiven as refusal:
            return await self._records.refused(record, request, refusal)
        finally:
            del self._opening[request.id]

    async def _allowed(
        self, request: OpenSession, record: str, cancelled: asyncio.Event
    ) -> tuple[Wanted, frozenset[str]]:
        """Decide, and record that it is allowed; the actions that a person approved, too.

        Raises:
            NotGiven: it isn't.
        """
        infos = await self._keeper.infos()
        recent = self.recent.of(request.credential)
        # In a thread: the first one reads the service models.
        wish = await asyncio.to_thread(wanted, request, infos, self.options, recent)
        if not self._network:
            raise NotGiven(
                "PolicyDenied",
                "Cells have no network at this isolation level, so a session's keys would only be "
                "exposed; use %secure_exec, or a level with namespaces.",
                "sessions.network",
            )
        if len(self._open.all()) + len(self._opening) > MOST:
            raise NotGiven(
                "InvalidRequest", f"{MOST} sessions are open; close one of them.", "sessions.many"
            )
        rule, approved = await decide(wish, self._policy, self._ask, record, cancelled)
        await self._records.allowed(record, wish, rule)
        return wish, approved

    async def _assumed(
        self, wish: Wanted, approved: frozenset[str], record: str, cancelled: asyncio.Event
    ) -> Reply:
        """Get the keys and hand them out, once that is on record.

        Raises:
            NotGiven: STS doesn't give them, or nobody waits for them any more.
        """
        request, options = wish.request, wish.options
        name = session_name(self._kernel_id, request.cell)
        entry = await self._keeper.entry(request.credential)
        try:
            assumed = await asyncio.to_thread(
                sts.assume,
                entry,
                options,
                self._surroundings,
                name=name,
                seconds=request.seconds,
                policy=wish.document,
            )
        except VaultError as error:
            raise NotGiven("SidecarUnavailable", f"{error}.", "sessions.sts") from None
        # Whatever becomes of them: the keys count from now on.
        self._book.know(entry.name, assumed.keys)
        if cancelled.is_set():
            raise NotGiven("CommandCancelled", "The request was cancelled.", "sessions.cancelled")
        session = Session(
            credential=entry.name,
            keys=assumed.keys,
            name=name,
            approved=approved,
            record=record,
            request=request.id,
        )
        exposure = exposure_sentence(wish, assumed.keys.expires or datetime.now(UTC))
        await self._records.opened(session, wish, assumed, exposure)
        self._open.add(session)
        if cancelled.is_set():
            await self._endings.end(session, "cancelled")
            raise NotGiven("CommandCancelled", "The request was cancelled.", "sessions.cancelled")
        return SessionOpened(
            id=request.id,
            session=session.id,
            access_key_id=assumed.keys.access_key_id,
            secret_access_key=assumed.keys.secret_access_key,
            session_token=assumed.keys.session_token,
            expires=iso(assumed),
            name=name,
            region=entry.fields.get("region", ""),
            actions=list(wish.actions),
            exposure=exposure,
            record_id=record,
        )

    # ------------------------------------------------------------------ closing

    async def _close_one(self, request: CloseSession) -> Reply:
        session = self._open.get(request.session)
        if session is None:
            return Failed(
                id=request.id,
                kind="InvalidRequest",
                message="There is no such open session: it was closed, or it has expired.",
            )
        revoked, record = await self._endings.end(session, "closed")
        options = self.options[session.credential]
        return SessionClosed(
            id=request.id,
            session=session.id,
            revoked=revoked,
            message=closed_sentence(session, options, revoked=revoked),
            record_id=record,
        )
