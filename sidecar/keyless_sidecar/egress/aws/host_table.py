"""Some fifteen thousand host names in one text: a fifth of what they would take as objects."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby

__all__ = ["HostTable", "Known"]

_END = "\t"


@dataclass(frozen=True, slots=True)
class Known:
    """A host name that a service has.

    Attributes:
        pattern: the name, with ``{Region}``, ``{AccountId}`` and ``{*}`` (one label) left open.
        signing_region: where the rules fix it; empty where it is the host's own or any.
    """

    pattern: str
    partition: str
    service: str
    signing_name: str
    signing_region: str

    @property
    def line(self) -> str:
        """The same as a line of the table."""
        return _END.join(
            (self.pattern, self.service, self.signing_name, self.signing_region, self.partition)
        )


class HostTable:
    """Host names by their pattern, as sorted lines.

    Args:
        lines: of each host name.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        ordered = sorted(set(lines))
        self._text = "\n".join(ordered)
        self._starts = array("I", accumulate((len(line) + 1 for line in ordered), initial=0))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._starts) - 1

    def get(self, pattern: str) -> Iterator[Known]:
        """All that have this very pattern, by service."""
        wanted = pattern + _END
        at = bisect_left(range(len(self)), wanted, key=self._line)
        while at < len(self) and (line := self._line(at)).startswith(wanted):
            yield _known(line)
            at += 1

    def groups(self, holding: str = "") -> Iterator[tuple[str, tuple[Known, ...]]]:
        """Each pattern in which this text is, and all that have that pattern."""
        lines = (self._line(at) for at in range(len(self)))
        found = (_known(line) for line in lines if holding in line)
        for pattern, group in groupby(found, lambda known: known.pattern):
            yield pattern, tuple(group)

    def _line(self, at: int) -> str:
        return self._text[self._starts[at] : self._starts[at + 1] - 1]


def _known(line: str) -> Known:
    pattern, service, signing_name, signing_region, partition = line.split(_END)
    return Known(pattern, partition, service, signing_name, signing_region)
