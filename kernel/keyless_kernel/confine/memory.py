"""Anonymous files in memory: how content reaches another process by descriptor, off every disk."""

from __future__ import annotations

import os


def memory_file(content: bytes) -> int:
    """A descriptor of a file that holds ``content``, at its beginning; the caller closes it."""
    descriptor = os.memfd_create("keyless")
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
