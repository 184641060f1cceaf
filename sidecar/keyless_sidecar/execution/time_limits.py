"""How long a request may take: the check of commands and calls alike.  Pure."""

from __future__ import annotations

import math

from keyless.protocol.messages import MAX_TIMEOUT
from keyless_sidecar.tools import Refused

__all__ = ["time_limit"]


def time_limit(asked: float | None, usual: float) -> float:
    """Seconds that a request may take.

    Args:
        asked: what it names; None for nothing.
        usual: seconds in that case.

    Raises:
        Refused: no usable time.
    """
    timeout = usual if asked is None else asked
    # "not (… <= …)" rather than "… > …": NaN compares false with everything.
    if not (math.isfinite(timeout) and 0 < timeout <= MAX_TIMEOUT):
        raise Refused(
            "InvalidRequest",
            f"The timeout must be more than 0 and at most {MAX_TIMEOUT:.0f} seconds.",
            "request.timeout",
        )
    return float(timeout)
