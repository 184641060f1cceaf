"""Tokens for OpenBao: how long each lives, and keeping it alive.

A token that a person stored can't be had anew, so a thread renews it before it ends, from its first
use on.  A token from an AppRole is renewed, or had anew, when it is needed.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keyless_sidecar.vault.entries import Entry
from keyless_sidecar.vault.kinds import VaultError
from keyless_sidecar.vault.openbao_http import Refused, connected
from keyless_sidecar.vault.source_settings import OpenBao
from keyless_sidecar.vault.surroundings import Surroundings

__all__ = ["BaoTokens"]

#: A token is renewed when less than this part of its life is left.
_RENEW_AT = 1 / 2
_RETRY = 5.0


@dataclass
class _Token:
    """One token and its life.  Guarded by :class:`BaoTokens`' lock for its identity."""

    value: str = field(repr=False)
    digest: bytes = field(repr=False)
    ttl: float  # 0: it doesn't end
    renewable: bool
    ends: float  # by time.monotonic()
    stop: threading.Event = field(default_factory=threading.Event)

    def left(self) -> float:
        """Seconds."""
        return self.ends - time.monotonic() if self.ttl else float("inf")

    def due(self) -> bool:
        """Whether it is time to renew."""
        return self.left() < self.ttl * _RENEW_AT

    def extend(self, seconds: float) -> None:
        """The server gave it this long from now."""
        self.ends = time.monotonic() + seconds


class BaoTokens:
    """All tokens of one sidecar.  May be used in any thread.

    Args:
        surroundings: for the connections.
        lookup: the entry of a name, as it is in the vault now.
    """

    def __init__(self, surroundings: Surroundings, lookup: Callable[[str], Entry]) -> None:
        self._surroundings = surroundings
        self._lookup = lookup
        self._tokens: dict[tuple[str, ...], _Token] = {}
        self._lock = threading.Lock()

    def get(self, name: str, settings: OpenBao, access: Entry) -> str:
        """A token that is good now.

        Args:
            name: the entry that is being fetched.
            access: the entry with the token, or with role id and secret id.

        Raises:
            VaultError: there is none: revoked, expired, or the log-in fails.
        """
        kind = "token" if settings.token else "basic"
        if access.kind != kind:
            raise VaultError(f"{name}: the credential {access.name} must be of kind {kind}")
        digest = _digest(access.fields)
        with self._lock:
            token = self._tokens.get(_identity(settings))
            if token is not None and token.digest != digest:
                token.stop.set()
                token = None
        if token is not None and not token.due():
            return token.value
        if token is not None and token.renewable and self._renewed(name, settings, token):
            return token.value
        return self._fresh(name, settings, access, digest).value

    def forget(self, settings: OpenBao) -> None:
        """The server didn't accept it: the next :meth:`get` looks again."""
        with self._lock:
            token = self._tokens.pop(_identity(settings), None)
        if token is not None:
            token.stop.set()

    def close(self) -> None:
        """Stop renewing."""
        with self._lock:
            tokens, self._tokens = list(self._tokens.values()), {}
        for token in tokens:
            token.stop.set()

    # ------------------------------------------------------------------ one token

    def _fresh(self, name: str, settings: OpenBao, access: Entry, digest: bytes) -> _Token:
        if settings.app_role:
            token = self._log_in(name, settings, access, digest)
        else:
            token = self._look_up(name, settings, access, digest)
        with self._lock:
            old = self._tokens.get(_identity(settings))
            self._tokens[_identity(settings)] = token
        if old is not None:
            old.stop.set()
        if settings.token and token.ttl and token.renewable:
            threading.Thread(
                target=self._keep, args=(settings, token), name="keyless-renewal", daemon=True
            ).start()
        return token

    def _log_in(self, name: str, settings: OpenBao, access: Entry, digest: bytes) -> _Token:
        with connected(name, settings, "", self._surroundings) as client:
            answer = client.auth.approle.login(
                role_id=access.fields["username"],
                secret_id=access.fields["password"],
                use_token=False,
                mount_point=settings.auth_mount,
            )
        auth = _part(name, answer, "auth")
        return _token(name, auth.get("client_token"), digest, auth, "lease_duration")

    def _look_up(self, name: str, settings: OpenBao, access: Entry, digest: bytes) -> _Token:
        value = access.fields["value"]
        try:
            with connected(name, settings, value, self._surroundings) as client:
                answer = client.auth.token.lookup_self()
        except Refused:
            raise VaultError(
                f"{name}: {settings.address} doesn't accept the token {access.name} (revoked or "
                f"expired): jupyter keyless vault add {access.name} --replace stores a new one"
            ) from None
        token = _token(name, value, digest, _part(name, answer, "data"), "ttl")
        if token.renewable and token.ttl:
            self._renewed(name, settings, token)
        return token

    def _renewed(self, name: str, settings: OpenBao, token: _Token) -> bool:
        """Renew a token; False where its life is over, or nearly so whatever we do.

        Raises:
            VaultError: the server can't be asked and the token has ended meanwhile.
        """
        try:
            with connected(name, settings, token.value, self._surroundings) as client:
                answer = client.auth.token.renew_self()
        except Refused:
            return False
        except VaultError:
            if token.left() > 0:
                return True  # good for now; asked again at the next use
            raise
        auth = _part(name, answer, "auth")
        seconds = auth.get("lease_duration")
        if not isinstance(seconds, int):
            raise VaultError(f"{name}: {settings.address} answered nothing usable")
        token.extend(seconds)
        # A short grant means that the longest life is reached: a role logs in again.
        return seconds >= token.ttl / 2 if settings.app_role else seconds > 0

    def _keep(self, settings: OpenBao, token: _Token) -> None:
        """Renew until the vault has another token, the server says no, or the sidecar ends."""
        name = settings.token
        while not token.stop.wait(max(0.2, token.left() - token.ttl * _RENEW_AT)):
            try:
                if _digest(self._lookup(name).fields) != token.digest:
                    return
                alive = self._renewed(name, settings, token)
            except VaultError:
                alive = token.left() > 0
            if not alive:
                return
            if token.due() and token.stop.wait(min(_RETRY, max(0.2, token.left() / 4))):
                return


def _token(name: str, value: Any, digest: bytes, facts: Mapping[str, Any], life: str) -> _Token:
    seconds = facts.get(life)
    if not isinstance(value, str) or not value or not isinstance(seconds, int) or seconds < 0:
        raise VaultError(f"{name}: the secret server answered nothing usable")
    ends = time.monotonic() + seconds
    # Of a token's first life only what is left is told; as its whole life that is near enough.
    whole = max(seconds, int(facts.get("creation_ttl") or 0)) if seconds else 0
    return _Token(value, digest, whole, bool(facts.get("renewable")), ends)


def _part(name: str, answer: Any, part: str) -> Mapping[str, Any]:
    found = answer.get(part) if isinstance(answer, Mapping) else None
    if not isinstance(found, Mapping):
        raise VaultError(f"{name}: the secret server answered nothing usable")
    return found


def _identity(settings: OpenBao) -> tuple[str, ...]:
    return (
        settings.address,
        settings.namespace,
        settings.ca_file,
        settings.token,
        settings.app_role,
        settings.auth_mount,
    )


def _digest(fields: Mapping[str, str]) -> bytes:
    return hashlib.sha256("\0".join(f"{k}={fields[k]}" for k in sorted(fields)).encode()).digest()
