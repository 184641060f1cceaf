"""The broker: clients connect without a password, and it logs in to the real server for them.

One broker serves one listener with one vault entry, for one tool's command or one kernel.  What a
client gets is a session; the credential never comes near its side.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import secrets
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from keyless_sidecar.audit import AuditUnavailable
from keyless_sidecar.execution.egress import resolve
from keyless_sidecar.policy.acts import Act, Decision
from keyless_sidecar.postgres import wire
from keyless_sidecar.postgres.client import (
    PARAMETERS,
    Refusal,
    act,
    denial,
    first_packet,
    greeting,
    session_parameters,
)
from keyless_sidecar.postgres.credential import Credential, fetch_target
from keyless_sidecar.postgres.masking import Mask
from keyless_sidecar.postgres.settings import Target
from keyless_sidecar.postgres.splice import Traffic, close_gently, splice, tune
from keyless_sidecar.postgres.upstream import (
    CHUNK,
    AddressCheck,
    Resolver,
    Route,
    Session,
    UpstreamError,
    cancel,
    connect,
    public_only,
)
from keyless_sidecar.printable import printable

__all__ = ["PostgresBroker"]

#: Seconds for a client's start-up, for a login, and for a cancel request.
STARTUP_TIMEOUT, LOGIN_TIMEOUT, CANCEL_TIMEOUT = 10.0, 30.0, 5.0
#: Longest text of the server's about a failed login.
MAX_SENTENCE = 1000
#: Different refusals that are kept for the notes; more are counted as one.
MAX_NAMED = 32
_NO_AUDIT = "Keyless: the audit can't be written, so nothing is done."

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class PostgresBroker:
    """Serves one listener.  Owned by the event loop's thread.

    Args:
        listener: a listening TCP or AF_UNIX socket; the broker closes it.
        entry_name: the vault entry (kind ``postgres``).
        fetch: gets it, anew for each session, with its bindings checked; raises ``VaultError``.
        decide: the policy, asked about ``postgres:connect`` for each session.
        record: writes an audit record (kind and fields) and returns when it is on disk.  A session
            whose record can't be written doesn't begin.
        connections: sessions that may be open at once.
        tool: whom the act is ascribed to.
        token: what each connection must begin with; empty where nobody else can reach the listener.
        parameters: what clients may set when connecting; ``options`` and ``replication`` may be
            added.
        resolver: turns the server's name into addresses.
        address_check: why these may not be connected to, "" when they may.
        mask: takes further secrets out of texts for the client.
        startup_timeout: seconds for a client to say what it wants.
        login_timeout: seconds for the login at the server.
        approve: asks a person where the policy wants one; returns ``allow`` or why not.
    """

    def __init__(
        self,
        listener: socket.socket,
        entry_name: str,
        fetch: Callable[[str], Awaitable[Credential]],
        decide: Callable[[Act], Decision],
        record: Callable[[str, Mapping[str, Any]], Awaitable[object]],
        *,
        connections: int = 16,
        tool: str = "psql",
        token: bytes = b"",
        parameters: frozenset[str] = PARAMETERS,
        resolver: Resolver = resolve,
        address_check: AddressCheck = public_only,
        mask: Mask = str,
        startup_timeout: float = STARTUP_TIMEOUT,
        login_timeout: float = LOGIN_TIMEOUT,
        approve: Callable[[Act], Awaitable[Decision]] | None = None,
    ) -> None:
        self._listener = listener
        self._approve = approve
        self._entry_name = entry_name
        self._fetch, self._decide, self._record = fetch, decide, record
        self._limit, self._tool, self._token = connections, tool, token
        self._parameters = parameters
        self._resolver, self._address_check, self._mask = resolver, address_check, mask
        self._startup_timeout, self._login_timeout = startup_timeout, login_timeout
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = 0
        self._numbers = itertools.count(1)
        self._closed = False
        #: What clients cancel with → what the server wants to see.
        self._keys: dict[wire.BackendKey, tuple[Route, wire.BackendKey]] = {}
        #: What clients were refused, and how often.
        self.refused: Counter[str] = Counter()

    async def start(self) -> None:
        """Begin to accept."""
        self._server = await asyncio.start_server(self._accept, sock=self._listener, limit=CHUNK)

    async def close(self) -> None:
        """Close the listener and every session; running statements are cancelled at the server."""
        self._closed = True
        if self._server is not None:
            self._server.close()
        await self._end_all()

    async def drop(self, entry_name: str) -> None:
        """End all sessions of an entry that was removed or changed; new ones fetch it anew."""
        if entry_name == self._entry_name:
            await self._end_all()

    def notes(self) -> list[str]:
        """A sentence for each refusal."""
        return [
            f"postgres refused: {sentence}" + (f" ({count} times)" if count > 1 else "")
            for sentence, count in self.refused.items()
        ]

    # ------------------------------------------------------------------ inside

    async def _end_all(self) -> None:
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        # Cancel requests need a connection while all sessions are in use.
        if task is None or self._closed or len(self._tasks) >= 2 * self._limit + 8:
            writer.transport.abort()
            return
        self._tasks.add(task)
        try:
            tune(writer)
            await self._answer(reader, writer)
        except (OSError, EOFError, TimeoutError):
            pass  # the client went away, or never finished its start-up: nobody is left to tell
        except asyncio.CancelledError:
            pass  # close() or drop()
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except Refusal as refusal:
            self._note(refusal.sentence)
            writer.write(wire.error_response(refusal.sentence, refusal.code))
        await close_gently(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._startup_timeout):
            if self._token:
                said = await reader.readexactly(len(self._token))
                if not hmac.compare_digest(said, self._token):
                    return
            packet = await first_packet(reader, writer)
        if isinstance(packet, wire.CancelRequest):
            found = self._keys.get(wire.BackendKey(packet.pid, packet.secret))
            if found is not None:
                await _cancel(*found)
            return
        if self._open >= self._limit:
            raise Refusal(f"Keyless: {self._limit} connections are open already.", "53300")
        self._open += 1
        try:
            await self._session((reader, writer), packet)
        finally:
            self._open -= 1

    async def _session(self, client: _Streams, startup: wire.Startup) -> None:
        number, began = next(self._numbers), time.monotonic()
        try:
            target, mask = await fetch_target(self._entry_name, self._fetch, self._mask)
            parameters = session_parameters(startup, target, self._parameters)
        except Refusal as refusal:
            await self._write(
                "postgres.refused",
                {"session": number, "credential": self._entry_name, "reason": refusal.sentence},
            )
            raise
        asked = act(self._tool, self._entry_name, target, parameters)
        facts = {"session": number, "credential": self._entry_name, **asked.attributes}
        decision = self._decide(asked)
        if decision.outcome == "ask" and self._approve is not None:
            try:
                decision = await self._approve(asked)
            except AuditUnavailable:
                raise Refusal(_NO_AUDIT) from None
        verdict = {"outcome": decision.outcome, "rule": decision.rule, "reason": decision.reason}
        await self._write("postgres.connect", {**facts, **verdict})
        if decision.outcome != "allow":
            raise denial(decision)
        traffic = Traffic()
        ended: dict[str, Any] = {"session": number, "ended": "broker"}
        try:
            session = await self._log_in(target, parameters, mask, ended)
            ended |= {
                "tls": session.route.context is not None,
                "sslmode": session.mode,
                "method": session.method,
                "channel_binding": session.bound,
            }
            await self._use(client, startup, session, mask, traffic, ended)
        finally:
            ended |= {
                "bytes_to_server": traffic.to_server,
                "bytes_to_client": traffic.to_client,
                "seconds": round(time.monotonic() - began, 3),
            }
            try:
                await self._record("postgres.end", ended)
            except AuditUnavailable:
                self._note("the end of a session could not be recorded")

    async def _write(self, kind: str, fields: Mapping[str, Any]) -> None:
        try:
            await self._record(kind, fields)
        except AuditUnavailable:
            raise Refusal(_NO_AUDIT) from None

    async def _log_in(
        self, target: Target, parameters: Mapping[str, str], mask: Mask, ended: dict[str, Any]
    ) -> Session:
        try:
            async with asyncio.timeout(self._login_timeout):
                return await connect(
                    target,
                    parameters,
                    resolver=self._resolver,
                    address_check=self._address_check,
                )
        except UpstreamError as error:
            said = mask(f"{error.sentence} {error.hint}".rstrip())
            sentence, code = printable(said[:MAX_SENTENCE]), error.code
        except TimeoutError:
            sentence, code = "The login at the database server took too long.", "08001"
        ended |= {"ended": "login", "error": sentence}
        raise Refusal(sentence, code)

    async def _use(
        self,
        client: _Streams,
        startup: wire.Startup,
        session: Session,
        mask: Mask,
        traffic: Traffic,
        ended: dict[str, Any],
    ) -> None:
        server = (session.reader, session.writer)
        fake: wire.BackendKey | None = None
        try:
            if session.key is not None:
                # The number is in pg_stat_activity anyway; the secret is what cancels.
                fake = wire.BackendKey(session.key.pid, secrets.token_bytes(4))
                self._keys[fake] = (session.route, session.key)
            client[1].write(greeting(startup, session, fake, mask))
            who = await splice(client, server, traffic)
            ended["ended"] = "client" if traffic.terminated else who
        finally:
            if fake is not None:
                del self._keys[fake]
            try:
                if ended["ended"] != "server" and not traffic.terminated and session.key:
                    # Nobody waits for a statement that may be running; the server wouldn't notice.
                    await _cancel(session.route, session.key)
            finally:
                session.writer.transport.abort()

    def _note(self, sentence: str) -> None:
        known = sentence in self.refused or len(self.refused) < MAX_NAMED
        self.refused[sentence if known else "for further reasons"] += 1


async def _cancel(route: Route, key: wire.BackendKey) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(cancel(route, key), CANCEL_TIMEOUT)
