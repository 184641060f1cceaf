"""Memory that the sidecar needs no longer goes back to the system, though what it has is locked.

What is locked can't be given back page by page: neither what lies free between things that are
kept, nor code that has run its only time.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["one_heap", "trim", "unmap_code"]

_M_ARENA_MAX = -8
_MADV_DONTNEED = 4
#: Mappings of files that nobody can write to, and in which no page differs from its file.
_UNCHANGED = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ [1-9][0-9]* .*\n"
    rb"(?:[A-Z].*\n)*?Anonymous: +0 kB",
    re.MULTILINE,
)


def one_heap() -> None:
    """Let all threads share the C library's main heap; called before there are any.

    That one shrinks at its end, which locked memory allows; heaps of threads don't.  They would
    gain little by their own, since they hold Python's lock where they allocate.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc's
        libc.mallopt(_M_ARENA_MAX, 1)


def trim() -> None:
    """Give back what is free at the heap's end."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def unmap_code() -> None:
    """Unlock and unmap the pages of libraries until they are used again.

    Much of them runs at the start only: what reads policies, for one.  They are as they are in
    their files, so they hold no secret and are never swapped out, and come back from the page
    cache.  All else stays locked.

    Called while no other thread loads a library, whose mappings would change meanwhile.
    """
    libc = ctypes.CDLL(None)
    for start, length in _unchanged():
        place, size = ctypes.c_void_p(start), ctypes.c_size_t(length)
        if libc.munlock(place, size) == 0:  # else the pages stay, as they were
            libc.madvise(place, size, _MADV_DONTNEED)


def _unchanged() -> Iterator[tuple[int, int]]:
    """Start and length of each."""
    try:
        text = Path("/proc/self/smaps").read_bytes()
    except OSError:
        return
    for found in _UNCHANGED.finditer(text):
        start, end = int(found[1], 16), int(found[2], 16)
        yield start, end - start
