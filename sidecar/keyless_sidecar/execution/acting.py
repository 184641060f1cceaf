"""Touch files with the sandbox user's rights, though the sidecar runs as root.

The kernel side may rearrange the workspace at any moment.  With its user id on file accesses
(``setfsuid``, which counts for the calling thread only, and lays down root's file capabilities),
the sidecar can't be led to change there what the kernel side itself could not.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

_QUERY = ctypes.c_uint32(0xFFFFFFFF)


@contextlib.contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """Use ``uid`` and ``gid`` for this thread's file accesses; nothing to do unless we are root.

    Raises:
        OSError: the ids could not be set, or not be set back.
    """
    if os.geteuid() != 0 or uid == 0:
        yield
        return
    libc = ctypes.CDLL(None)
    _set(libc.setfsgid, gid)
    try:
        _set(libc.setfsuid, uid)
        try:
            yield
        finally:
            _set(libc.setfsuid, os.geteuid())
    finally:
        _set(libc.setfsgid, os.getegid())


def _set(call: ctypes._NamedFuncPointer, number: int) -> None:
    call(ctypes.c_uint32(number))
    # The call reports no failure; a second one with an invalid id tells what is in force.
    if call(_QUERY) != number:
        raise OSError("the file access ids could not be changed")
