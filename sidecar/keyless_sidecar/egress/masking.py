"""Real values back to placeholders, in an answer's headers and its streamed body.

Handlers call :class:`Masks` on what comes from the real server.  Compressed bodies are decompressed
and passed on plain.  ``ETag`` is left as it is (it is only ever sent back to the server that made
it); checksums of the body as it was sent (``Content-MD5``, ``Digest``) are dropped.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Self
from urllib.parse import quote

from keyless_sidecar.egress.codings import BadCoding, Stack, accept_decodable, decoders_for
from keyless_sidecar.egress.messages import Response, UpstreamFailed, values, without

__all__ = ["Masks", "Stream", "accept_decodable", "variants"]

_SAME = re.compile("[0-9A-Za-z]+")
_CHECKSUMS = ("content-md5", "digest", "content-digest", "repr-digest")


def variants(real: str, placeholder: str, dumps: bool = False) -> dict[bytes, bytes]:
    """The ways in which servers write a value, each with the placeholder written alike.

    Args:
        real: the value.
        placeholder: what stands for it.
        dumps: byte by byte too, as AWS's errors show what was signed (``41 4b 49``).
    """
    found: dict[bytes, bytes] = {}
    if _SAME.fullmatch(real) and not dumps:  # there is but one way
        return {real.encode(): placeholder.encode()}
    for write in (
        _plain,
        _percent,
        _percent_lower,
        _percent_parts,
        _slashed,
        _json,
        _json_all,
        _xml,
        *((_dump, _dump_upper) if dumps else ()),
    ):
        found.setdefault(write(real).encode(), write(placeholder).encode())
    return found


def _plain(text: str) -> str:
    return text


def _percent(text: str) -> str:
    return quote(text, safe="")


def _percent_lower(text: str) -> str:
    return re.sub("%[0-9A-F]{2}", lambda found: found.group().lower(), quote(text, safe=""))


def _percent_parts(text: str) -> str:
    return quote(text, safe="/")


def _slashed(text: str) -> str:
    return text.replace("/", "\\/")


def _json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _json_all(text: str) -> str:
    """As encoders do that escape for HTML too."""
    return re.sub("[^0-9A-Za-z_./-]", lambda found: f"\\u{ord(found.group()):04X}", text)


def _xml(text: str) -> str:
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return text


def _dump(text: str) -> str:
    return text.encode().hex(" ")


def _dump_upper(text: str) -> str:
    return _dump(text).upper()


class Stream:
    """Replaces on a stream; holds back only what may be the beginning of a value.

    Args:
        pairs: value → what takes its place.
    """

    def __init__(self, pairs: Mapping[bytes, bytes]) -> None:
        self._pairs = {real: placeholder for real, placeholder in pairs.items() if real}
        ordered = sorted(self._pairs, key=len, reverse=True)
        self._ordered = ordered
        self._held = b""

    @functools.cached_property
    def _any(self) -> re.Pattern[bytes]:
        """Any of the values; needed only where one is there."""
        return re.compile(b"|".join(re.escape(real) for real in self._ordered))

    def feed(self, data: bytes) -> bytes:
        """What can be passed on now."""
        if not self._ordered:
            return data
        data = self._held + data if self._held else data
        hold = self._hold(data, 0)
        if not any(real in data for real in self._ordered):
            self._held = data[hold:]
            return data[:hold] if self._held else data
        parts: list[bytes] = []
        position = 0
        # A value that begins before `hold` is complete, and no longer one begins at its place.
        while (found := self._any.search(data, position)) is not None and found.start() < hold:
            parts += [data[position : found.start()], self._pairs[found.group()]]
            position = found.end()
            if position > hold:
                hold = self._hold(data, position)
        self._held = data[hold:]
        return b"".join([*parts, data[position:hold]])

    def end(self) -> bytes:
        """What was held back, at the end of the body."""
        data, self._held = self._held, b""
        return self.whole(data)

    def whole(self, data: bytes) -> bytes:
        """The same for bytes that are complete."""
        if not any(real in data for real in self._ordered):
            return data
        return self._any.sub(lambda found: self._pairs[found.group()], data)

    def _hold(self, data: bytes, begin: int) -> int:
        """Where the first suffix begins that is the start, and not all, of a value."""
        hold = len(data)
        for real in self._ordered:
            start = max(begin, len(data) - len(real) + 1)
            while (start := data.find(real[:1], start, hold)) >= 0:
                if real.startswith(data[start:]):
                    hold = start
                    break
                start += 1
        return hold


class Masks:
    """The real values that were put into one request, and the placeholders that stood there.

    Args:
        values: real value → placeholder; both are also looked for as servers write them in URLs,
            JSON and XML.
        dumps: and as a row of bytes.
    """

    def __init__(self, values: Mapping[str, str], *, dumps: bool = False) -> None:
        self._pairs: dict[bytes, bytes] = {}
        for real, placeholder in values.items():
            if real and real != placeholder:
                self._pairs |= variants(real, placeholder, dumps)
        self._texts = Stream(self._pairs)

    def __repr__(self) -> str:
        return f"Masks({len(self._pairs)} values)"

    def __bool__(self) -> bool:
        return bool(self._pairs)

    def text(self, text: str) -> str:
        """The same in a header's value."""
        return self._texts.whole(text.encode("latin-1")).decode("latin-1")

    def apply(self, response: Response) -> Response:
        """The answer as the tool may see it; closing it closes the one that was given.

        Raises:
            UpstreamFailed: its coding can't be looked into.
        """
        if not self._pairs:
            return response
        headers = [(self.text(name), self.text(value)) for name, value in response.headers]
        reason = self.text(response.reason)
        if response.bodiless:
            return dataclasses.replace(response, reason=reason, headers=headers)
        decoders = decoders_for(response.headers)
        partial = response.status == 206 or bool(values(response.headers, "content-range"))
        if decoders is None or (decoders and partial):
            raise UpstreamFailed(
                "The answer's Content-Encoding can't be looked into for credentials: ask for an "
                "uncompressed one (Accept-Encoding: identity)."
            )
        headers = without(headers, *_CHECKSUMS, *(["content-encoding"] if decoders else []))
        same = not decoders and all(len(one) == len(other) for one, other in self._pairs.items())
        return dataclasses.replace(
            response,
            reason=reason,
            headers=headers,
            length=response.length if same or response.length == 0 else None,
            body=_Masked(response, Stack(decoders), Stream(self._pairs)),
        )


class _Masked:
    """The body of a masked answer.  A pull that failed or was cancelled ends it with an error."""

    def __init__(self, response: Response, stack: Stack, stream: Stream) -> None:
        self._response = response
        self._source: AsyncIterator[bytes] = response.body
        self._stack = stack
        self._stream = stream
        self._pending: Iterator[bytes] = iter(())
        self._ended = False
        self._broken = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._broken:
            raise UpstreamFailed("The answer's body was refused.")
        try:
            while not self._ended:
                for piece in self._pending:
                    if data := self._stream.feed(piece):
                        return data
                try:
                    self._pending = iter(self._stack.feed(await anext(self._source)))
                except StopAsyncIteration:
                    self._stack.end()
                    self._ended = True
                    if rest := self._stream.end():
                        return rest
        except BadCoding as error:
            self._broken = True
            await self.aclose()
            raise UpstreamFailed(f"The answer's body is refused: {error}.") from None
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Give up what is left."""
        await self._response.close()
