"""The vault as the running sidecar uses it: off the event loop, with patterns that are up to date.

Owned by the event loop's thread.  What is kept on this machine is read by one worker thread; what
has to be asked for elsewhere is fetched by others, so that a slow source holds up nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from keyless_sidecar.placeholders import PlaceholderBook
from keyless_sidecar.sanitize import Patterns
from keyless_sidecar.vault import Declaration, Entry, EntryInfo, Vault

_T = TypeVar("_T")
_FETCHES = 16


class Keeper:
    """Vault and patterns.

    Args:
        vault: opened.
        book: what services handed out is to be taken out of everything too.

    All methods raise :class:`~keyless_sidecar.vault.VaultError` where a source can't be read.
    """

    def __init__(self, vault: Vault, book: PlaceholderBook | None = None) -> None:
        self._vault = vault
        self._book = book
        self._thread = ThreadPoolExecutor(1, "keyless-vault")
        self._fetchers = ThreadPoolExecutor(_FETCHES, "keyless-fetch")
        self._flights: dict[str, asyncio.Future[Entry]] = {}
        self._revision: tuple[str, int] | None = None
        self._patterns = Patterns.build([])

    async def infos(self) -> list[EntryInfo]:
        """All entries without values.  Asks no source elsewhere."""
        return await self._in_thread(self._vault.infos)

    async def patterns(self) -> Patterns:
        """What must be taken out of everything that goes to the kernel side."""
        # The book is the loop's: its values are taken here, and go to the thread as they are.
        revision = self._book.revision if self._book else 0
        captured = self._book.captured_values() if self._book else []
        return await self._in_thread(lambda: self._current(revision, captured))

    async def entry(self, name: str) -> Entry:
        """One entry with its values as they are now: rotated and removed ones take effect here.

        :meth:`patterns`, called after it, knows the values.
        """
        entry = await self._in_thread(lambda: self._vault.ready(name))
        return await self._flight(name) if entry is None else entry

    async def fetch(self, names: Sequence[str]) -> tuple[list[Entry], Patterns]:
        """Entries with their values, and patterns that know these values.

        All that a command may use must be fetched before it starts, also what is only put into its
        requests: its output is searched for what is known by then.
        """
        entries = await asyncio.gather(*(self.entry(name) for name in names))
        # After the values: the vault knows all that it has ever handed out.
        return entries, await self.patterns()

    async def store(self, entry: Entry) -> None:
        """Keep an entry in memory; raises also where its name is taken."""
        await self._in_thread(lambda: self._vault.store(entry))

    async def remove(self, name: str) -> None:
        """Forget an entry that is kept in memory, and its placeholders."""
        await self._in_thread(lambda: self._vault.remove(name))
        self._forget(name)

    @contextlib.asynccontextmanager
    async def lent(self, kept: Entry | Declaration) -> AsyncIterator[EntryInfo]:
        """Let one command have a credential that stands in no list."""
        await self._in_thread(lambda: self._vault.lend(kept))
        try:
            yield kept.info
        finally:
            self._forget(kept.info.name)
            await self._in_thread(lambda: self._vault.take_back(kept.info.name))

    def close(self) -> None:
        """Let the threads end."""
        self._vault.close()
        self._thread.shutdown(wait=False)
        self._fetchers.shutdown(wait=False, cancel_futures=True)

    def _forget(self, name: str) -> None:
        if self._book is not None:
            self._book.forget(name)

    async def _flight(self, name: str) -> Entry:
        """Fetch from elsewhere; who asks for the same at the same time gets the same answer."""
        flight = self._flights.get(name)
        if flight is None:
            loop = asyncio.get_running_loop()
            flight = loop.run_in_executor(self._fetchers, self._vault.fetch, name)
            self._flights[name] = flight
            flight.add_done_callback(lambda done: self._landed(name, done))
        # Shielded: one request that is cancelled doesn't take the answer from the others.
        return await asyncio.shield(flight)

    def _landed(self, name: str, flight: asyncio.Future[Entry]) -> None:
        self._flights.pop(name, None)
        if not flight.cancelled():
            flight.exception()  # looked at: all who waited may be gone

    def _current(self, handed_out: int, captured: list[tuple[str, bytes]]) -> Patterns:
        revision = (self._vault.revision(), handed_out)
        if revision != self._revision:
            self._patterns = Patterns.build([*self._vault.secret_values(), *captured])
            self._revision = revision
        return self._patterns

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
