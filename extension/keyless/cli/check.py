"""What ``jupyter keyless doctor`` found about one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Check"]


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        state: ``failed`` means that a run would be refused; ``note`` that it would not, though
            something is worth knowing.
        fix: what to do, empty where nothing is to be done.
    """

    name: str
    state: Literal["ok", "note", "failed"]
    detail: str
    fix: str = ""
