"""Fetching declared entries: which source does it, and how long an answer is used again.

:class:`~keyless_sidecar.vault.sources.Vault` owns one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from keyless_sidecar.vault.declarations import Declaration
from keyless_sidecar.vault.entries import Entry
from keyless_sidecar.vault.kinds import VaultError
from keyless_sidecar.vault.local_sources import fetch_command, fetch_keyring
from keyless_sidecar.vault.openbao_source import fetch_openbao
from keyless_sidecar.vault.openbao_tokens import BaoTokens
from keyless_sidecar.vault.source_settings import (
    AwsParameter,
    AwsProfile,
    AwsSecret,
    Command,
    KeyringItem,
    OpenBao,
)
from keyless_sidecar.vault.surroundings import Surroundings

__all__ = ["Remotes"]

#: Values that end are fetched anew when a quarter of their life is left, at most this long before.
_EARLY = timedelta(minutes=5)
#: Values with less than this left aren't handed out.
_LEAST = timedelta(seconds=5)
#: For how long credentials of a profile count where they have no end.
_RETRY = timedelta(seconds=30)
_PROFILE_CACHE = timedelta(seconds=30)


@dataclass(frozen=True)
class _Held:
    declaration: Declaration
    state: object
    entry: Entry
    until: datetime


class Remotes:
    """Fetches and remembers for a short time.  May be used in any thread.

    Args:
        surroundings: see there.
        lookup: the entry of a name, for sources that need one to get in.
        revision: changes when an entry that is kept here does; then nothing that was fetched
            before is used again, since it may have been got through that entry.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        lookup: Callable[[str], Entry],
        revision: Callable[[], str],
    ) -> None:
        self._surroundings = surroundings
        self._lookup = lookup
        self._revision = revision
        self._tokens = BaoTokens(surroundings, lookup)
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()

    def held(self, declaration: Declaration) -> Entry | None:
        """The entry where nobody has to be asked for it: fetched lately, and good still."""
        with self._lock:
            held = self._held.get(declaration.info.name)
        if (
            held is None
            or held.declaration != declaration
            or held.state != self._state(declaration)
            or held.until <= self._surroundings.now()
        ):
            return None
        return held.entry

    def fetch(self, declaration: Declaration) -> Entry:
        """The entry, from its source.  Blocks, up to the source's own time limit.

        Raises:
            VaultError: the source doesn't give it, or its values are weak or at their end.
        """
        if (entry := self.held(declaration)) is not None:
            return entry
        name, state = declaration.info.name, self._state(declaration)
        try:
            entry = self._ask(declaration)
        except VaultError:
            if (still := self._still_good(declaration, state)) is not None:
                return still
            raise
        entry.require_strong()
        now = self._surroundings.now()
        if entry.expires is not None and entry.expires - now < _LEAST:
            raise VaultError(f"{name}: the source gave a credential that has ended")
        with self._lock:
            self._held[name] = _Held(
                declaration, state, entry, self._until(declaration, entry, now)
            )
        return entry

    def forget(self, name: str) -> None:
        """Ask anew next time."""
        with self._lock:
            self._held.pop(name, None)

    def close(self) -> None:
        """Stop what runs in the background."""
        self._tokens.close()

    # ------------------------------------------------------------------ sources

    def _ask(self, declaration: Declaration) -> Entry:
        settings, around = declaration.settings, self._surroundings
        access = [self._lookup(name) for name in settings.needs()]
        # botocore is slow to import, hence late.
        if isinstance(settings, AwsProfile):
            from keyless_sidecar.vault.aws_profile_source import fetch_profile

            return fetch_profile(declaration, around)
        if isinstance(settings, AwsSecret | AwsParameter):
            from keyless_sidecar.vault.aws_secrets_source import fetch_secret

            return fetch_secret(declaration, access[0] if access else None, around)
        if isinstance(settings, OpenBao):
            return fetch_openbao(declaration, access[0], self._tokens, around)
        if isinstance(settings, Command):
            return fetch_command(declaration, around)
        if isinstance(settings, KeyringItem):
            return fetch_keyring(declaration, around)
        raise VaultError(f"{declaration.info.name}: there is no source {declaration.info.source}")

    # ------------------------------------------------------------------ for how long

    def _state(self, declaration: Declaration) -> object:
        """What, when it changes, makes a held entry stale at once."""
        profile = getattr(declaration.settings, "profile", "")
        return self._revision(), self._surroundings.aws_state() if profile else ()

    def _until(self, declaration: Declaration, entry: Entry, now: datetime) -> datetime:
        settings = declaration.settings
        cache = timedelta(seconds=getattr(settings, "cache", 0.0))
        if entry.expires is None:
            return now + (_PROFILE_CACHE if isinstance(settings, AwsProfile) else cache)
        good = entry.expires - min((entry.expires - now) / 4, _EARLY)
        says_itself = isinstance(settings, AwsProfile) or (
            isinstance(settings, Command) and not settings.cache
        )
        return good if says_itself else min(good, now + cache)

    def _still_good(self, declaration: Declaration, state: object) -> Entry | None:
        """A held session that was to be renewed early, and the source can't be reached."""
        with self._lock:
            held = self._held.get(declaration.info.name)
        if held is None or held.declaration != declaration or held.state != state:
            return None
        expires, now = held.entry.expires, self._surroundings.now()
        if expires is None or expires - now < _LEAST:
            return None
        with self._lock:
            self._held[declaration.info.name] = replace(held, until=min(now + _RETRY, expires))
        return held.entry
