"""A sidecar on a disk that fails: ``python -I failing_disk.py NUMBER serve ...``.

The first NUMBER times that something is brought to disk go well, all later ones don't.
"""

from __future__ import annotations

import errno
import os
import sys

from keyless_sidecar.__main__ import main

left = int(sys.argv.pop(1))
real = os.fdatasync


def fdatasync(descriptor: int) -> None:
    global left
    left -= 1
    if left < 0:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    real(descriptor)


os.fdatasync = fdatasync  # type: ignore[assignment]
if __name__ == "__main__":
    sys.exit(main())
