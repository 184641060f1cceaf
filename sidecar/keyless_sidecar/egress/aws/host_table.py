"""Some twenty thousand host names in little memory: packed, a tenth of what objects would take."""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

__all__ = ["HostTable", "Known"]

_END = "\t"
#: Lines that are packed together; to read them again takes some twenty microseconds.
_TOGETHER = 64


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
    """Host names by their pattern, as sorted lines, packed some dozens at a time.

    Args:
        lines: of each host name.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        ordered = sorted(set(lines))
        self._size = len(ordered)
        starts = range(0, self._size, _TOGETHER)
        self._first = [ordered[at] for at in starts]
        self._packed = [
            zlib.compress("\n".join(ordered[at : at + _TOGETHER]).encode(), 1) for at in starts
        ]

    def __len__(self) -> int:
        """How many there are."""
        return self._size

    def get(self, pattern: str) -> Iterator[Known]:
        """All that have this very pattern, by service."""
        wanted = pattern + _END
        # They may begin in the block before the first one that begins with them.
        for block in range(max(bisect_left(self._first, wanted) - 1, 0), len(self._first)):
            lines = self._lines(block)
            at = bisect_left(lines, wanted)
            while at < len(lines) and lines[at].startswith(wanted):
                yield _known(lines[at])
                at += 1
            if at < len(lines):
                return

    def groups(self, holding: str = "") -> Iterator[tuple[str, tuple[Known, ...]]]:
        """Each pattern in which this text is, and all that have that pattern."""
        lines = (line for block in range(len(self._first)) for line in self._lines(block))
        found = (_known(line) for line in lines if holding in line)
        for pattern, group in groupby(found, lambda known: known.pattern):
            yield pattern, tuple(group)

    def _lines(self, block: int) -> list[str]:
        return zlib.decompress(self._packed[block]).decode().split("\n")


def _known(line: str) -> Known:
    pattern, service, signing_name, signing_region, partition = line.split(_END)
    return Known(pattern, partition, service, signing_name, signing_region)
