"""Secrets made for one run of the attack tests, which no text holds by chance."""

from __future__ import annotations

import hashlib
import secrets
import string
from dataclasses import dataclass, field

_LETTERS = string.ascii_letters + string.digits


def canary(prefix: str = "CANARY-", size: int = 20, letters: str = _LETTERS) -> str:
    """A fresh secret that no text holds by chance."""
    return prefix + "".join(secrets.choice(letters) for _ in range(size))


@dataclass(frozen=True)
class Canaries:
    """The secrets of one run, never shown by ``repr``."""

    leaky: str = field(default_factory=canary, repr=False)
    key_id: str = field(
        default_factory=lambda: canary("AKIACANARY", 10, string.ascii_uppercase + string.digits),
        repr=False,
    )
    key: str = field(default_factory=canary, repr=False)
    #: Goes by proxy to one host.
    api: str = field(default_factory=canary, repr=False)
    #: In the server's environment.
    server: str = field(default_factory=canary, repr=False)
    #: In the person's ~/.aws/credentials.
    person: str = field(default_factory=canary, repr=False)

    def values(self) -> dict[str, str]:
        """All of them by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def hashed(self) -> list[dict[str, str]]:
        """As the shared probes get them."""
        return [
            {"id": name, "sha256": hashlib.sha256(value.encode()).hexdigest(), "kind": "canary"}
            for name, value in self.values().items()
        ]
