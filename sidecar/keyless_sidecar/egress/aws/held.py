"""Keys that the client itself holds, since a person let it have a session (pattern 2).

A request that is signed with them is verified, decided and recorded like any other, and signed
again with the same keys.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.placeholders import AwsKeys, Binding

__all__ = ["Held"]


async def _gone() -> bool:
    return False


@dataclass(frozen=True)
class Held(Binding):
    """An open session's keys, in the place of a placeholder.

    Attributes:
        approved: actions that a person approved when it was opened: the policy doesn't ask about
            them again.
        alive: whether the session is open still, and its entry in the vault.
    """

    approved: frozenset[str] = frozenset()
    alive: Callable[[], Awaitable[bool]] = _gone

    async def keys(self) -> AwsKeys:
        """The session's keys.

        Raises:
            AwsRefusal: it isn't open any more.
        """
        if await self.alive():
            return self.placeholder
        raise AwsRefusal("ExpiredToken", "The session was closed.")
