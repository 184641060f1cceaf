"""A sidecar whose wall clock jumps: each look at it is a day before or after the one before.

``python -I jumping.py serve ...``: the real sidecar, all of it, with ``time.time`` and the audit's
``datetime`` replaced.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta, tzinfo

_REAL = time.time
_DAY = 86400


class _Clock:
    looks = 0

    @classmethod
    def shift(cls) -> float:
        cls.looks += 1
        return _DAY * (5 if cls.looks % 2 else -5)


class Jumping(datetime):
    """A ``datetime`` whose ``now`` jumps."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(seconds=_Clock.shift())


time.time = lambda: _REAL() + _Clock.shift()  # type: ignore[assignment]

from keyless_sidecar.audit import log  # noqa: E402

log.datetime = Jumping  # type: ignore[misc]

from keyless_sidecar.__main__ import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
