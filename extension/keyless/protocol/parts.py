"""What messages are made of; :mod:`keyless.protocol.messages` says what each side may send."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

RequestId = Annotated[int, Meta(ge=1, le=2**53)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """Base of every message: immutable, closed, told apart by its ``type``."""


class CellInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which cell asks.  The kernel side says so: a claim for the audit, never an authority."""

    execution_count: Annotated[int, Meta(ge=0, le=2**53)] = 0
    cell_hash: Annotated[str, Meta(max_length=64)] = ""


class WrittenFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that was left in the workspace."""

    path: str
    size: int
    sha256: str
