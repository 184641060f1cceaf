"""Ends what a killed process left in its session.

bubblewrap killed with its parent, in the instant before it has set its death signal, can wait for
ever.  Its session is still its parent's then: that is how it is found.
"""

from __future__ import annotations

import contextlib
import os
import signal


def end_session(session: int) -> None:
    """Kill every process of a session but its leader.

    Args:
        session: its number, which is its leader's.  The leader must be a dead child that has not
            been waited for: so the number can't be anybody else's meanwhile.
    """
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if entry.isdigit() and int(entry) != session and _session(int(entry)) == session:
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(int(entry))
                try:
                    if _session(int(entry)) == session:
                        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                finally:
                    os.close(descriptor)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:  # it is gone, or none of ours
        return -1
