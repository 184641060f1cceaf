"""What a person allowed for a while: the same acts are not asked about again until then."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime, timedelta

from keyless_sidecar.approvals.identity import key_of
from keyless_sidecar.approvals.pending import Question

__all__ = ["Grants"]

#: Grants that are kept; the oldest goes first, and is asked about again.
_MOST = 1024


class Grants:
    """Of one kernel: a sidecar serves one, and nothing of this outlives it.

    Args:
        clock: seconds that only go forward, while the machine sleeps too.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or (lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
        self._until: dict[Hashable, tuple[float, str]] = {}

    def add(self, question: Question, minutes: float, approval: str) -> str:
        """Allow all acts of a question.

        Args:
            question: as it was shown.
            minutes: for how long.
            approval: id of the question.

        Returns:
            When it ends (UTC, ISO format), for the audit.
        """
        end = self._clock() + minutes * 60
        for key in _keys(question):
            if key is not None:
                self._until.pop(key, None)
                self._until[key] = end, approval
        while len(self._until) > _MOST:
            del self._until[next(iter(self._until))]
        return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat(timespec="seconds")

    def found(self, question: Question) -> str:
        """Id of the approval by which all acts are allowed now; empty where one isn't."""
        now, approval = self._clock(), ""
        for key in _keys(question):
            if key is None:
                return ""
            end, approval = self._until.get(key, (0.0, ""))
            if end <= now:
                self._until.pop(key, None)
                return ""
        return approval

    @staticmethod
    def possible(question: Question) -> bool:
        """Whether the acts are known well enough to be allowed for a while."""
        return bool(question.acts) and all(key is not None for key in _keys(question))


def _keys(question: Question) -> list[Hashable | None]:
    return [key_of(question.rule_of(number), act) for number, act in enumerate(question.acts)]
