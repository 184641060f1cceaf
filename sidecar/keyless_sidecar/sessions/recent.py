"""What this kernel's commands, calls and cells did with each credential lately.

The proxy notes each request that it lets through; a session that names no operations is for these.
Owned by the event loop's thread.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable

from keyless_sidecar.policy.acts import Act

__all__ = ["Recent"]

#: How many different acts are remembered for each credential.
_MOST = 24


class Recent:
    """The last acts that were allowed, by credential; the same act counts once."""

    def __init__(self) -> None:
        self._acts: dict[str, OrderedDict[str, Act]] = {}

    def note(self, acts: Iterable[Act]) -> None:
        """Remember acts that were allowed and are being done."""
        for act in acts:
            if act.credential and act.action.startswith("aws:"):
                known = self._acts.setdefault(act.credential, OrderedDict())
                known[_what(act)] = act
                known.move_to_end(_what(act))
                while len(known) > _MOST:
                    known.popitem(last=False)

    def of(self, credential: str) -> tuple[Act, ...]:
        """What was done with a credential, the oldest first."""
        return tuple(self._acts.get(credential, {}).values())


def _what(act: Act) -> str:
    """The same for acts that differ only in the cell, or in what no resource depends on."""
    given = act.attributes
    about = (act.action, given.get("region"), given.get("resource"), given.get("parameters"))
    return json.dumps(about, sort_keys=True, default=repr)
