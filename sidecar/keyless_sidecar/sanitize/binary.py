"""Tells text from binary data in a stream, so that binary data is withheld instead of shown.

Called by `text.TextStream` on a tool's raw output. A secret in compressed data, UTF-16 or an image
can't be found by looking at bytes, so none of it is passed on. The place where a stream turns
binary doesn't depend on how the stream is cut into pieces.
"""

from __future__ import annotations

import re

# The place where binary data begins: NUL, or the first byte of a magic that no text has.
_START = re.compile(
    rb"\0"
    rb"|\x1f(?=\x8b|\x9d)"  # gzip, compress
    rb"|(?<![\x80-\xff])\x89(?=PNG)"
    rb"|\xfd(?=7zXZ)"
    rb"|(?<=\()\xb5(?=/\xfd)"  # zstd
    rb"|(?<=PK)[\x03\x05\x07](?=[\x04\x06\x08])"  # zip
    rb"|(?<=BZh[1-9]1AY&SY)[\x00-\xff]"
    rb"|(?<=x)(?:\x01|\x9c|\xda(?![\x80-\xbf]))"  # zlib
    rb"|(?<=7z)\xbc(?=\xaf)"
    rb"|[\xfe\xff]"  # never in UTF-8; the byte order marks of UTF-16 and UTF-32
)
_UNSETTLED = re.compile(
    rb"(?:\x1f|(?<![\x80-\xff])\x89(?:P|PN)?|\xfd(?:7|7z|7zX)?|(?<=\()\xb5/?"
    rb"|(?<=PK)[\x03\x05\x07]|(?<=x)\xda|(?<=7z)\xbc)\Z"
)
_BEFORE = 10  # bytes in front of a piece that the look-behinds need

_INVALID_LIMIT = 8
_INVALID_WINDOW = 64


class BinaryGuard:
    """Passes on the part of a stream that is text (UTF-8 with a few wrong bytes at most).

    `withheld` counts the bytes that were not passed on, `invalid` the wrong bytes that were;
    `tripped` says that the stream turned binary: from there on nothing is passed on.
    """

    def __init__(self) -> None:
        self.tripped = False
        self.withheld = 0
        self.invalid = 0
        self._before = b""
        self._held = b""
        self._position = 0
        self._recent: list[int] = []  # where the latest wrong bytes stand in the stream

    @property
    def idle(self) -> bool:
        """Whether plain text (see `patterns.PLAIN`) would pass through as it is."""
        return not self.tripped and not self._held

    def skip(self, data: bytes) -> None:
        """Take the next piece, plain text, of an idle guard; all of it passes."""
        self._position += len(data)
        self._before = data if len(data) >= _BEFORE else self._before + data
        self._before = self._before[-_BEFORE:]

    def feed(self, data: bytes, final: bool = False) -> bytes:
        """Take the next piece; return what of it is text. `final`: nothing follows."""
        if self.tripped:
            self.withheld += len(data)
            return b""
        data = self._held + data
        self._held = b""
        end = _text_end(data) if _plain(self._before + data) else -1
        if end == len(data) or (end >= 0 and not final):
            self._held = data[end:]
            data = data[:end]
        else:
            text = self._before + data
            shift = len(self._before)
            end = len(data)
            if not final:
                end = min(end, _settled(text, shift) - shift)
            found = _START.search(text, shift)
            if found and found.start() - shift >= end:
                found = None  # it isn't settled yet: what follows may tell that it is text
            binary = found.start() - shift if found else len(data)
            end = self._validate(data, min(end, binary), final)
            if not self.tripped and found and end == binary:
                self.tripped = True
            if self.tripped:
                self.withheld += len(data) - end
            else:
                self._held = data[end:]
            data = data[:end]
        self._position += len(data)
        self._before = (self._before + data)[-_BEFORE:]
        return data

    def finish(self) -> bytes:
        """End the stream; return what was held back of it."""
        return self.feed(b"", final=True)

    def _validate(self, data: bytes, end: int, final: bool) -> int:
        """Count the wrong bytes in data[:end]; return how far the data is text."""
        at = 0
        while at < end:
            try:
                data[at:end].decode()
                return end
            except UnicodeDecodeError as error:
                wrong, width = at + error.start, error.end - error.start
                if error.reason == "unexpected end of data" and end == len(data) and not final:
                    return wrong
                for place in range(wrong, wrong + width):
                    self._recent = [*self._recent, self._position + place][-_INVALID_LIMIT:]
                    first = self._recent[0]
                    if (
                        len(self._recent) == _INVALID_LIMIT
                        and self._position + place - first < _INVALID_WINDOW
                    ):
                        self.tripped = True
                        return place
                    self.invalid += 1
                at = wrong + width
        return end


def _text_end(data: bytes) -> int:
    """Where a character begins that the data's end cuts off, or its length; -1 if it isn't UTF-8.

    In UTF-8, nothing above ASCII begins binary data: what magics hold of it stands alone in them.
    """
    if data.isascii():
        return len(data)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start if error.reason == "unexpected end of data" else -1
    return len(data)


def _plain(data: bytes) -> bool:
    """Whether data holds none of the ASCII that binary data begins with."""
    return not any(c in data for c in (0, 1, 3, 5, 7, 0x1F)) and b"1AY&SY" not in data


def _settled(text: bytes, shift: int) -> int:
    """How much of the text can be judged before more of the stream is known."""
    match = _UNSETTLED.search(text, max(shift, len(text) - 5))
    return match.start() if match else len(text)
