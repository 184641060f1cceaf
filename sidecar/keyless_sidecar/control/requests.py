"""One request and its answer, apart from how they travel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from keyless_sidecar.control.types import Failure

__all__ = ["Answer", "Refusal", "Request", "Stream"]

JSON = "application/json"


@dataclass(frozen=True)
class Request:
    """What came, checked as far as HTTP goes.

    Attributes:
        method: in capitals.
        path: without the query, as sent.
        query: the text behind the question mark.
        body: whole.
        peer: process and user at the other end, as the system says.
        gone: set when the client has gone.
    """

    method: str
    path: str
    query: str = ""
    body: bytes = field(default=b"", repr=False)
    content_type: str = ""
    peer: Mapping[str, int] = field(default_factory=dict)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes = field(repr=False)
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Answer:
        """A value as JSON."""
        return cls(status, msgspec.json.encode(value))


@dataclass(frozen=True)
class Stream:
    """An answer without an end of its own."""

    parts: AsyncGenerator[bytes, None]
    content_type: str = "text/event-stream"


class Refusal(Exception):
    """A request isn't served.

    Args:
        status: of HTTP.
        error: one word for programs.
        message: one sentence for people.
        record_id: the audit record, where there is one.
    """

    def __init__(
        self,
        status: int,
        error: str,
        message: str,
        record_id: str = "",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.failure = Failure(error, message, record_id)
        self.headers = headers

    def answer(self) -> Answer:
        """The refusal as an answer."""
        return Answer(self.status, msgspec.json.encode(self.failure), headers=self.headers)
