"""The egress proxy on the loopback, in a thread of its own, with the real handlers behind it."""

from __future__ import annotations

import asyncio
import fnmatch
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from keyless_sidecar.egress.authority import Authority
from keyless_sidecar.egress.aws.handler import AwsHandler
from keyless_sidecar.egress.client import Client, RequestRecord
from keyless_sidecar.egress.messages import Handler
from keyless_sidecar.egress.server import EgressProxy
from keyless_sidecar.egress.tokens import TokenBinding, TokenHandler
from keyless_sidecar.execution.destinations import Allowed, Destination, split_pattern
from keyless_sidecar.placeholders import PlaceholderBook
from keyless_sidecar.policy.acts import Act, Decision, Outcome, Policy
from keyless_sidecar.vault import Entry, VaultError

_T = TypeVar("_T")
AWS_CLI = Path(__file__).parents[2] / ".venv-aws" / "bin" / "aws"


class Rules:
    """A policy: the first pattern that fits an action gives its outcome; else it is allowed."""

    def __init__(self, rules: Mapping[str, Outcome] | None = None) -> None:
        self.rules = dict(rules or {})
        #: Outcomes for whole regions, which count first.
        self.regions: dict[str, Outcome] = {}
        self.acts: list[Act] = []

    def decide(self, act: Act) -> Decision:
        """See `keyless_sidecar.policy.acts.Policy`."""
        self.acts.append(act)
        region = str(act.attributes.get("region", ""))
        if region in self.regions:
            return Decision(self.regions[region], f"test:{region}", "The test's policy says so.")
        for pattern, outcome in self.rules.items():
            if fnmatch.fnmatchcase(act.action, pattern):
                return Decision(outcome, f"test:{pattern}", "The test's policy says so.")
        return Decision("allow", "test:rest", "The test's policy says so.")


class Egress:
    """A running proxy.

    Args:
        folder: for the authority's certificate.
        entries: the vault.
        upstreams: as ``c.Egress.upstreams``.
        rules: of the policy, or one.
        allowed: host patterns that may be reached.
        tool: whose requests they are.
        own: names of the entries that the tool may use; all without it.
    """

    def __init__(
        self,
        folder: Path,
        entries: Sequence[Entry],
        upstreams: Mapping[str, str],
        rules: Mapping[str, Outcome] | Policy | None = None,
        *,
        allowed: Sequence[str] = ("*.amazonaws.com:*",),
        tool: str = "aws",
        own: Sequence[str] | None = None,
        allow_operations: Sequence[str] = (),
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.entries = {entry.name: entry for entry in entries}
        self.policy = Rules(rules if isinstance(rules, Mapping) else None)
        self._policy: Policy = self.policy
        if rules is not None and not isinstance(rules, Mapping):
            self._policy = rules
        self.records: list[RequestRecord] = []
        self._clock = clock or (lambda: datetime.now(UTC))
        self.book = PlaceholderBook(self._clock)
        self._allow_operations = allow_operations
        self._upstreams = upstreams
        self._allowed = allowed
        self._own = list(self.entries) if own is None else list(own)
        self._tool = tool
        self.ca = folder / "ca.pem"
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="egress")
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        assert self.port, "the proxy didn't start"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def url(self) -> str:
        """The proxy's URL."""
        return f"http://127.0.0.1:{self.port}"

    def in_loop(self, work: Callable[[], _T]) -> _T:
        """Run something where the book lives."""

        async def run() -> _T:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def notes(self) -> str:
        """What the proxy tells beside the tool's output of what was refused since last time."""

        def take() -> str:
            told = "\n".join(self._proxy.notes())
            self._proxy.refused.clear()
            self._client.told.clear()
            return told

        return self.in_loop(take)

    def token(self, name: str) -> str:
        """The placeholder of an entry's token."""
        return self.in_loop(lambda: self.book.token_for(self.entries[name].info))

    def environment(self, name: str = "") -> dict[str, str]:
        """What a tool gets that uses an ``aws`` entry by placeholder."""
        found = {
            "HTTPS_PROXY": self.url,
            "HTTP_PROXY": self.url,
            "AWS_CA_BUNDLE": str(self.ca),
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        if name:
            keys = self.in_loop(lambda: self.book.for_entry(self.entries[name].info))
            found["AWS_ACCESS_KEY_ID"] = keys.access_key_id
            found["AWS_SECRET_ACCESS_KEY"] = keys.secret_access_key
        return found

    # ------------------------------------------------------------------ inside

    async def _fetch(self, name: str) -> Entry:
        if name not in self.entries:
            raise VaultError(f"there is no {name}")
        return self.entries[name]

    async def _record(self, record: RequestRecord) -> None:
        self.records.append(record)

    def _handlers(self) -> list[Handler]:
        client = self._client = Client(
            self._tool,
            self._policy,
            self.book,
            self._fetch,
            self._record,
            allow_operations=self._allow_operations,
        )
        infos = [entry.info for entry in self.entries.values()]
        bindings = [
            TokenBinding.of(info) for info in infos if info.hosts and info.name in self._own
        ]
        return [
            TokenHandler(client, bindings, self._upstreams),
            AwsHandler(client, self._own, clock=self._clock),
        ]

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        authority = Authority()
        self.ca.write_text(authority.pem)
        listener = socket.create_server(("127.0.0.1", 0))
        proxy = EgressProxy(
            listener,
            allowed=Allowed(tuple(split_pattern(pattern) for pattern in self._allowed)),
            handlers=self._handlers(),
            authority=authority,
            upstreams=self._upstreams,
            resolver=_nothing_else,
            told=self._client.notes,
        )
        self._proxy = proxy
        await proxy.start()
        self.port = listener.getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        await proxy.close()


async def _nothing_else(destination: Destination) -> Sequence[str]:
    """Resolves the loopback only: what isn't an upstream isn't reached."""
    if destination.host == "127.0.0.1":
        return ["127.0.0.1"]
    raise OSError(f"{destination} must not be looked up")
