"""The way out of each sandbox: what serves its listener, made for a tool or for the kernel's cells.

A tool that holds its credential itself (delivery ``env`` and ``file``), or none, gets a gate that
connects it to its declared hosts.  One that holds placeholders gets the egress proxy with the
handlers for its credentials; ``postgres`` entries get a broker instead, since they speak no HTTP.
"""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from keyless_sidecar.approvals import Scope
from keyless_sidecar.audit import AuditLog
from keyless_sidecar.cleaning import clean
from keyless_sidecar.egress.authority import Authority
from keyless_sidecar.egress.aws.endpoints import endpoints
from keyless_sidecar.egress.aws.handler import AwsHandler
from keyless_sidecar.egress.aws.held import Held
from keyless_sidecar.egress.client import Client, RequestRecord
from keyless_sidecar.egress.messages import Handler
from keyless_sidecar.egress.pool import Pool
from keyless_sidecar.egress.server import EgressProxy
from keyless_sidecar.egress.tokens import TokenBinding, TokenHandler
from keyless_sidecar.egress.trust import client_context
from keyless_sidecar.egress.upstream import Forwarder
from keyless_sidecar.execution.destinations import Allowed, Destination, allowed_for, split_pattern
from keyless_sidecar.execution.egress import EgressGate
from keyless_sidecar.execution.order import Gate, WayOut
from keyless_sidecar.keeper import Keeper
from keyless_sidecar.placeholders import PlaceholderBook
from keyless_sidecar.policy import KERNEL, Act, Decision, Policy
from keyless_sidecar.sessions.service import Sessions
from keyless_sidecar.tools import Refused, Tool
from keyless_sidecar.vault import Entry, EntryInfo, VaultError

if TYPE_CHECKING:
    from keyless_sidecar.postgres.broker import PostgresBroker

#: Hosts of AWS's interfaces, for whoever has an ``aws`` entry.
AWS_HOSTS = ("*.amazonaws.com:443", "*.amazonaws.com.cn:443", "*.api.aws:443")
_TOKENS = frozenset({"token", "basic", "generic"})


class Ways:
    """Makes the ways out.  One for each sidecar, owned by the event loop's thread.

    Args:
        policy: asked about each request.
        book: of placeholders.
        keeper: vault and patterns.
        audit: where requests are recorded.
        upstreams: host pattern → URL (``c.Egress.upstreams``).
        connections: open connections of one sandbox.
        sessions: whose keys cells may hold; None where there are none.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        book: PlaceholderBook,
        keeper: Keeper,
        audit: AuditLog,
        upstreams: Mapping[str, str],
        connections: int,
        sessions: Sessions | None = None,
    ) -> None:
        self._policy = policy
        self._book = book
        self._keeper = keeper
        self._audit = audit
        self._upstreams = upstreams
        self._connections = connections
        self._sessions = sessions
        self._authority = Authority()
        self._trust = client_context()

    @functools.cached_property  # every command needs them
    def certificates(self) -> str:
        """What a program behind the proxy trusts: the proxy, and what the system trusts."""
        return self._authority.pem + _system_certificates()

    def trusted_by(self, tool: Tool, entries: Sequence[EntryInfo]) -> str:
        """The certificates for a tool's file of them.

        Args:
            tool: which tool.
            entries: what it has placeholders for.
        """
        return self._authority.pem if self._sees_all(tool, entries) else self.certificates

    def _sees_all(self, tool: Tool, entries: Sequence[EntryInfo]) -> bool:
        """Whether the proxy answers for every host of a tool: it then needs no tunnel.

        Reading the system's certificates takes a program longer than a small request.
        """
        known = endpoints(tool.model_path)
        return any(entry.kind == "aws" for entry in entries) and all(
            known.is_aws(split_pattern(host)[0].replace("*", "any", 1)) for host in tool.hosts
        )

    def around(self, tool: Tool) -> tuple[WayOut, str]:
        """The way out of a tool that has no placeholder.

        Returns:
            what makes it, and the URL that stands in for its service ("" where none does).
        """
        allowed, upstream = allowed_for(tool.hosts, self._upstreams, exclusive=tool.rules == "aws")

        def way_out(listener: socket.socket, token: bytes) -> Gate:
            return EgressGate(listener, allowed, connections=self._connections, token=token)

        return way_out, upstream

    def through_proxy(
        self,
        tool: str,
        hosts: Sequence[str],
        entries: Sequence[EntryInfo],
        *,
        record: str = "",
        model_path: str = "",
        allow_operations: Sequence[str] = (),
        facts: Mapping[str, Any] = MappingProxyType({}),
        tunnels: bool = True,
        scope: Scope | None = None,
    ) -> WayOut:
        """The way out of a sandbox that holds placeholders.

        Args:
            tool: its name, or ``kernel``.
            hosts: ``host:port`` patterns that a person declared for it.
            entries: what it has placeholders for.
            record: id of the request's first audit record.
            model_path: folder of the service models.
            allow_operations: ``service:Operation`` that a person named for the tool.
            facts: of the cell, for the policy.
            tunnels: whether declared hosts without a credential may be reached.
            scope: asks a person where the policy wants one.

        Raises:
            Refused: an entry's bindings can't be used.
        """
        databases = [entry for entry in entries if entry.kind == "postgres"]
        if databases:
            if len(entries) > 1:
                raise Refused(
                    "InvalidRequest",
                    "A database's credential can't be used together with others; name it alone "
                    "with --credentials.",
                    "credentials.ambiguous",
                )
            return lambda listener, token: self._database(
                listener, token, databases[0], tool, record, scope
            )
        client = self._client(tool, entries, record, allow_operations, facts, scope)
        names = [entry.name for entry in entries if entry.kind == "aws"]
        bindings = [_binding(entry) for entry in entries if entry.kind in _TOKENS and entry.hosts]
        handlers: list[Handler] = []
        # AWS's hosts first: no token of another kind ever goes there.
        if names or (tool == KERNEL and self._sessions is not None and self._sessions.to_kernel):
            handlers.append(AwsHandler(client, names, data_path=model_path))
        if bindings:
            handlers.append(TokenHandler(client, bindings, self._upstreams))
        patterns = [split_pattern(host) for host in hosts]
        patterns += [pattern for binding in bindings for pattern in binding.hosts]
        allowed = Allowed(tuple(dict.fromkeys(patterns)))

        def way_out(listener: socket.socket, token: bytes) -> Gate:
            return EgressProxy(
                listener,
                allowed=allowed,
                handlers=handlers,
                authority=self._authority,
                upstreams=self._upstreams,
                connections=self._connections,
                token=token,
                allow_tunnels=tunnels,
                trust=self._trust,
                told=client.notes,
            )

        return way_out

    def forwarder(self, hosts: Sequence[str], pool: Pool) -> Forwarder:
        """What sends requests that the sidecar itself makes, once a handler has let them through.

        Args:
            hosts: ``host:port`` patterns that may be reached.
            pool: idle connections, which the caller closes.
        """
        allowed = Allowed(tuple(split_pattern(host) for host in hosts))
        return Forwarder(allowed, self._upstreams, trust=self._trust, pool=pool)

    def client(
        self,
        tool: str,
        entries: Sequence[EntryInfo],
        *,
        record: str,
        facts: Mapping[str, Any],
        scope: Scope | None = None,
    ) -> Client:
        """For whom a handler of such requests works: the sidecar, in the name of a tool.

        Records of answers are in the audit's file, and on disk with the next one that is awaited:
        nobody but the sidecar hears of an answer before the record of what came of it.

        Args:
            tool: its name.
            entries: what it has placeholders for.
            record: id of the request's first audit record.
            facts: of the act, for the policy.
            scope: asks a person where the policy wants one.
        """
        return self._client(tool, entries, record, (), facts, scope, answers_later=True)

    def _database(
        self,
        listener: socket.socket,
        token: bytes,
        entry: EntryInfo,
        tool: str,
        record: str,
        scope: Scope | None,
    ) -> PostgresBroker:
        async def write(kind: str, fields: Mapping[str, Any]) -> None:
            self._audit.write(kind, {**await self._clean(fields), "request": record})
            await self._audit.on_disk()

        def acceptable(destination: Destination, addresses: Sequence[str]) -> str:
            # A database on a private network is the rule: who stored the entry named its host.
            return "" if addresses else f"{destination} has no address"

        async def approve(act: Act) -> Decision:
            if scope is None:
                return self._policy.decide(act)
            words = [f"{name}={act.attributes[name]}" for name in ("host", "database", "user")]
            return await scope.request([act], self._policy, ["connect", *words])

        from keyless_sidecar.postgres.broker import PostgresBroker  # few sidecars have a database

        return PostgresBroker(
            listener,
            entry.name,
            self._fetching(tool, [entry]),
            self._policy.decide,
            write,
            connections=self._connections,
            tool=tool,
            token=token,
            address_check=acceptable,
            approve=approve,
        )

    def _client(
        self,
        tool: str,
        entries: Sequence[EntryInfo],
        record: str,
        allow_operations: Sequence[str],
        facts: Mapping[str, Any],
        scope: Scope | None,
        *,
        answers_later: bool = False,
    ) -> Client:
        async def write(line: RequestRecord) -> None:
            fields = await self._clean(vars(line))
            self._audit.write("egress.request", {**fields, "request": record})
            if line.stage == "request" or not answers_later:
                await self._audit.on_disk()

        return Client(
            tool,
            self._policy,
            self._book,
            self._fetching(tool, entries),
            write,
            tuple(allow_operations),
            dict(facts),
            held=self._held if tool == KERNEL else _nothing,
            done=self._sessions.recent.note if self._sessions is not None else _nothing,
            scope=scope,
            kept=self._keeper.is_kept,
        )

    def _held(self, access_key_id: str) -> Held | None:
        return self._sessions.held(access_key_id) if self._sessions is not None else None

    def _fetching(
        self, tool: str, entries: Sequence[EntryInfo]
    ) -> Callable[[str], Awaitable[Entry]]:
        """Gets entries as they are at each request: one that was unbound meanwhile is gone."""
        by_declaration = {info.name for info in entries if not info.allows(tool)}

        async def fetch(name: str) -> Entry:
            found = await self._keeper.entry(name)
            if not found.info.allows(tool) and name not in by_declaration:
                raise VaultError(f"The credential {name} is not bound to {tool} any more")
            return found

        return fetch

    async def _clean(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        patterns = await self._keeper.patterns()
        return {k: clean(patterns, v) if isinstance(v, str) else v for k, v in fields.items()}


def _nothing(_: object) -> None:
    """No session is held, and nobody wants to know what was done."""


def _binding(entry: EntryInfo) -> TokenBinding:
    try:
        return TokenBinding.of(entry)
    except ValueError as error:
        raise Refused("PolicyDenied", f"{error}.", "credentials.binding") from None


def _system_certificates() -> str:
    """The system's bundle, for hosts that are only tunnelled to; empty where there is none."""
    place = "/etc/ssl/certs/ca-certificates.crt"
    if not os.path.exists(place):  # noqa: PTH110
        return ""
    with open(place, encoding="ascii", errors="ignore") as file:
        return file.read()
