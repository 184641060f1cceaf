"""``c.Vault.sessions``: for which entries temporary keys may be made, of which role.  Pure.

An entry that isn't named here has no sessions, wherever its values come from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from keyless_sidecar.vault.entries import check_name
from keyless_sidecar.vault.kinds import VaultError

__all__ = ["SessionOptions", "parse_sessions"]

#: AWS's own least and most.
_LEAST, _MOST = 15, 720
_ROLE = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):iam::(?P<account>\d{12}):role/(?:[\x21-\x7e]*/)?"
    r"(?P<name>[A-Za-z0-9+=,.@_-]{1,64})"
)


class SessionOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a person allows for one entry.

    Attributes:
        role_arn: the role that is assumed with the entry's keys.
        to: who may get a session: ``kernel`` (cells hold its keys), ``tools`` (a tool that would
            be given the entry's own keys gets a session's instead).
        max_minutes: the longest session that a cell may ask for.
        external_id: given to STS, where the role's trust policy wants one.
        source_identity: whether to set it; the role's trust policy must allow
            ``sts:SetSourceIdentity``.
        revoke: whether a session that is closed early is revoked, by a policy on the role that
            denies everything to all of its sessions up to then.
    """

    role_arn: str
    to: Annotated[list[Literal["kernel", "tools"]], Meta(min_length=1, max_length=2)]
    max_minutes: Annotated[int, Meta(ge=_LEAST, le=_MOST)] = _LEAST
    external_id: Annotated[str, Meta(max_length=1224, pattern=r"^[\w+=,.@:/-]*$")] = ""
    source_identity: bool = True
    revoke: bool = False

    @property
    def role_name(self) -> str:
        """Name of the role, without its path."""
        return self._role("name")

    @property
    def account(self) -> str:
        """Twelve digits."""
        return self._role("account")

    def _role(self, part: str) -> str:
        found = _ROLE.fullmatch(self.role_arn)
        return found[part] if found else ""


def parse_sessions(values: object) -> dict[str, SessionOptions]:
    """Check ``c.Vault.sessions``.

    Args:
        values: name of an entry → its options.

    Raises:
        VaultError: an option is unknown, missing or wrong; the message repeats no value.
    """
    if not isinstance(values, Mapping):
        raise VaultError("c.Vault.sessions is a dictionary: name of an entry → its options")
    found = {}
    for name, given in values.items():
        check_name(name)
        try:
            options = msgspec.convert(given, SessionOptions)
        except msgspec.ValidationError as error:
            reason = re.sub(
                r"(?s)Invalid enum value '.*'", "Not one of the known words", str(error)
            )
            raise VaultError(f"c.Vault.sessions[{name!r}]: {reason}") from None
        if not options.role_name:
            raise VaultError(
                f"c.Vault.sessions[{name!r}]: role_arn is arn:aws:iam::ACCOUNT:role/NAME"
            )
        found[str(name)] = options
    return found
