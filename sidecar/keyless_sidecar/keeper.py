"""The vault as the running sidecar uses it: off the event loop, with patterns that are up to date.

Owned by the event loop's thread.  What is kept on this machine is read by one worker thread; what
has to be asked for elsewhere is fetched by others, so that a slow source holds up nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from keyless_sidecar.placeholders import PlaceholderBook
from keyless_sidecar.sanitize import Patterns
from keyless_sidecar.turns import Turns
from keyless_sidecar.vault import Declaration, Entry, EntryInfo, Vault, VaultError

_T = TypeVar("_T")
_FETCHES = 16
#: Seconds for which a look at what is kept on this machine is good enough for lists and patterns,
#: as long as the vault's file is the one that was looked at.  What was handed out or captured
#: meanwhile counts at once.  Values are always read anew.
_FRESH = 0.02
#: Sources whose values lie on this machine: the patterns know them before they are handed out.
_HERE = frozenset({"memory", "file"})


@dataclasses.dataclass(frozen=True)
class _Look:
    """What the vault held at some moment, and the patterns made of it.

    Args:
        at: when it was looked at (monotonic).
        stamp: the vault's, just before.
        kept: its revision.
        handed_out: revision of the values that it has handed out.
        captured: revision of the book.
        infos: None where they can't be had.
    """

    at: float
    stamp: object
    kept: str
    handed_out: str
    captured: int
    patterns: Patterns
    infos: Sequence[EntryInfo] | None = None


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
        self._thread = Turns("keyless-vault")
        self._fetchers = ThreadPoolExecutor(_FETCHES, "keyless-fetch")
        self._flights: dict[str, asyncio.Future[Entry]] = {}
        self._last = _Look(float("-inf"), None, "", "", 0, Patterns.build([]))
        #: Of entries that were read: the vault's revision then, and what of them is no secret.
        self._plain: dict[str, tuple[str, Mapping[str, str]]] = {}

    async def infos(self, *, anew: bool = False) -> list[EntryInfo]:
        """All entries without values.  Asks no source elsewhere.

        Args:
            anew: as they are now; a look that was just taken isn't good enough.
        """
        look = self._last if self._fresh() and not anew else await self._look()
        return await self._in_thread(self._vault.infos) if look.infos is None else [*look.infos]

    async def patterns(self) -> Patterns:
        """What must be taken out of everything that goes to the kernel side."""
        if self._fresh() and (
            self._last.handed_out == self._vault.handed_out()
            and self._last.captured == self._captured()
        ):
            return self._last.patterns
        return (await self._look()).patterns

    def is_kept(self, name: str) -> bool:
        """Whether an entry's values lie on this machine, so that patterns know them already."""
        infos = self._last.infos or ()
        return any(info.name == name and info.source in _HERE for info in infos)

    def plain_field(self, name: str, field: str) -> str | None:
        """A field that is no secret, of an entry that is kept on this machine.

        Returns:
            "" where it has none; None where that isn't known without reading the entry: it was
            never read, or the vault has changed, or wasn't looked at just now.
        """
        revision, fields = self._plain.get(name, (None, {}))
        return fields.get(field, "") if self._fresh() and revision == self._last.kept else None

    async def kept(self, name: str) -> Entry | None:
        """The same as :meth:`entry` where nobody has to be asked for it, else None."""
        (entry,) = await self._ready([name])
        return entry

    async def entry(self, name: str) -> Entry:
        """One entry with its values as they are now: rotated and removed ones take effect here.

        :meth:`patterns`, called after it, knows the values.
        """
        (entry,) = await self._ready([name])
        return await self._flight(name) if entry is None else entry

    async def fetch(self, names: Sequence[str]) -> tuple[list[Entry], Patterns]:
        """Entries with their values, and patterns that know these values.

        All that a command may use must be fetched before it starts, also what is only put into its
        requests: its output is searched for what is known by then.
        """
        ready = await self._ready(names) if names else []
        found = zip(names, ready, strict=True)
        elsewhere = {name: self._flight(name) for name, entry in found if entry is None}
        fetched = dict(zip(elsewhere, await asyncio.gather(*elsewhere.values()), strict=True))
        entries = [
            fetched[name] if entry is None else entry
            for name, entry in zip(names, ready, strict=True)
        ]
        # After the values: the vault knows all that it has ever handed out.
        return entries, await self.patterns()

    async def store(self, entry: Entry) -> None:
        """Keep an entry in memory; raises also where its name is taken."""
        await self._in_thread(lambda: self._vault.store(entry))
        self._outdated()

    async def remove(self, name: str) -> None:
        """Forget an entry that is kept in memory, and its placeholders."""
        await self._in_thread(lambda: self._vault.remove(name))
        self._outdated()
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
        self._thread.close()
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

    async def _ready(self, names: Sequence[str]) -> list[Entry | None]:
        """The entries that are kept on this machine, None for others; patterns know them then."""
        look, fresh = self._looking(), self._fresh()

        def ready() -> tuple[list[Entry | None], str]:
            if not fresh:
                look()
            before = self._last
            try:
                return [self._vault.ready(name) for name in names], before.kept
            finally:
                if self._vault.handed_out() != before.handed_out:
                    look()

        entries, revision = await self._in_thread(ready)
        for entry in entries:
            if entry is not None and self.is_kept(entry.name):
                secret = {*entry.secret_fields()}
                plain = {name: text for name, text in entry.fields.items() if name not in secret}
                self._plain[entry.name] = revision, plain
        return entries

    def _captured(self) -> int:
        return self._book.revision if self._book else 0

    def _fresh(self) -> bool:
        recent = time.monotonic() - self._last.at < _FRESH
        return recent and self._last.stamp == self._vault.stamp()

    def _outdated(self) -> None:
        self._last = dataclasses.replace(self._last, at=float("-inf"))

    async def _look(self) -> _Look:
        return await self._in_thread(self._looking())

    def _looking(self) -> Callable[[], _Look]:
        """A look at the vault, for its thread."""
        # The book is the loop's: its values are taken here, and go to the thread as they are.
        revision = self._captured()
        captured = self._book.captured_values() if self._book else []

        def look() -> _Look:
            now, stamp, last = time.monotonic(), self._vault.stamp(), self._last
            self._outdated()  # should the vault not be readable any more
            kept, handed_out = self._vault.kept_revision(), self._vault.handed_out()
            infos = last.infos if last.kept == kept else None
            if infos is None:
                with contextlib.suppress(VaultError):  # whoever asks for them hears why
                    infos = self._vault.infos()
            patterns = last.patterns
            if (last.kept, last.handed_out, last.captured) != (kept, handed_out, revision):
                patterns = Patterns.build([*self._vault.secret_values(), *captured])
            self._last = _Look(now, stamp, kept, handed_out, revision, patterns, infos)
            return self._last

        return look

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await self._thread.run(work)
