"""What CloudTrail shows of a session: which kernel, which cell, how often it had run.  Pure."""

from __future__ import annotations

import re

from keyless.protocol.messages import CellInfo

__all__ = ["session_name"]

_OTHERS = re.compile(r"[^A-Za-z0-9]")
_HASH = re.compile(r"[0-9a-f]{12,64}")
#: STS takes 64 characters for a session's name and for a source identity.
_KERNEL, _CELL = 8, 12


def session_name(kernel_id: str, cell: CellInfo) -> str:
    """Role session name and source identity: ``keyless-KERNEL-CELL-COUNT``.

    Args:
        kernel_id: the first 8 letters and digits of it are used.
        cell: what the kernel says of itself.  Of a hash that is none, nothing is used.

    Returns:
        At most 46 characters that STS takes: the first 12 digits of the cell's SHA-256, and its
        execution count.
    """
    kernel = _OTHERS.sub("", kernel_id)[:_KERNEL] or "unknown"
    cell_hash = cell.cell_hash[:_CELL] if _HASH.fullmatch(cell.cell_hash) else "none"
    return f"keyless-{kernel}-{cell_hash}-{cell.execution_count}"
