"""Source ``openbao``: a secret in a KV v2 engine of OpenBao or HashiCorp Vault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keyless_sidecar.vault.answers import expiry, fields_of
from keyless_sidecar.vault.deadline import within
from keyless_sidecar.vault.declarations import Declaration
from keyless_sidecar.vault.entries import Entry
from keyless_sidecar.vault.kinds import KINDS, VaultError
from keyless_sidecar.vault.openbao_http import BAO_TIMEOUT, Refused, connected
from keyless_sidecar.vault.openbao_tokens import BaoTokens
from keyless_sidecar.vault.source_settings import OpenBao
from keyless_sidecar.vault.surroundings import Surroundings

__all__ = ["fetch_openbao"]


def fetch_openbao(
    declaration: Declaration, access: Entry, tokens: BaoTokens, surroundings: Surroundings
) -> Entry:
    """Read a secret.

    Args:
        access: the entry with the token or AppRole.

    Raises:
        VaultError: the server doesn't give it, or it isn't what the entry needs.
    """
    settings, info = declaration.settings, declaration.info
    if not isinstance(settings, OpenBao):
        raise TypeError("not a secret in OpenBao")

    def work() -> Mapping[str, Any]:
        try:
            return _read(info.name, settings, tokens.get(info.name, settings, access), surroundings)
        except Refused:
            # Revoked, or not allowed: with a fresh token it is the second for certain.
            tokens.forget(settings)
            token = tokens.get(info.name, settings, access)
        try:
            return _read(info.name, settings, token, surroundings)
        except Refused:
            raise VaultError(
                f"{info.name}: {access.name} may not read {settings.mount}/{settings.path} at "
                f"{settings.address}"
            ) from None

    data = within(BAO_TIMEOUT, info.name, work)
    mapping = settings.fields
    single = KINDS[info.kind].single
    if single and not mapping and single not in data and len(data) == 1:
        mapping = {single: next(iter(data))}
    fields = fields_of(info.name, info.kind, data, mapping)
    return Entry.of(info, fields, expiry(info.name, data))


def _read(
    name: str, settings: OpenBao, token: str, surroundings: Surroundings
) -> Mapping[str, Any]:
    with connected(name, settings, token, surroundings) as client:
        answer = client.secrets.kv.v2.read_secret_version(
            path=settings.path,
            mount_point=settings.mount,
            version=settings.version,
            raise_on_deleted_version=True,
        )
    data = answer
    for part in ("data", "data"):
        data = data.get(part) if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping):
        raise VaultError(f"{name}: the secret server answered nothing usable")
    return data
