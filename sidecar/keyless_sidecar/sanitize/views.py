"""Views of a stream's buffer in which a secret may show: as it is, and with its escapes decoded.

Called by `stream`. A view is a text and a map from its positions back to the buffer, so that what
is found in the view is redacted where it really stands. The decoded view leaves out terminal
escape sequences and zero-width characters and characters that a backspace takes back, and decodes
`%41`, `&#65;`, `\\u0041`, `\\x41`, `\\101` and `0x41`.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate, chain

from .index import Trigger

_HEX = rb"[0-9a-fA-F]"
_STRING = rb"[^\x07\x1b\n]{0,256}"  # body of an OSC, DCS, PM or APC string
# What begins a token, then (complete, cut off by the end of the buffer) after it.
_TOKENS = {
    b"\x1b": (
        rb"\[[0-?]{0,256}[ -/]{0,8}[@-~]|[\]PX^_]" + _STRING + rb"(?:\x07|\x1b\\)|[ -/]{0,4}[0-~]",
        rb"(?:\[[0-?]{0,256}[ -/]{0,8}|[\]PX^_]" + _STRING + rb"\x1b?|[ -/]{0,4})?",
    ),
    b"%": (
        rb"[uU]" + _HEX + rb"{4}|" + _HEX + rb"{2}",
        rb"[uU]" + _HEX + rb"{0,3}|" + _HEX + rb"?",
    ),
    b"&": (
        rb"(?:#(?:[0-9]{1,7}|[xX]" + _HEX + rb"{1,6})|[A-Za-z]{2,8});",
        rb"#(?:[0-9]{0,7}|[xX]" + _HEX + rb"{0,6})|[A-Za-z]{0,8}",
    ),
    b"\\": (
        rb"\\{0,3}(?:u" + _HEX + rb"{4}|u\{" + _HEX + rb"{1,6}\}|U" + _HEX + rb"{8}"
        rb"|x" + _HEX + rb"{2}|[0-7]{1,3}|[\x00-\x5b\x5d-\x7f])",
        rb"\\{0,3}(?:u" + _HEX + rb"{0,3}|u\{" + _HEX + rb"{0,6}|U" + _HEX + rb"{0,7}"
        rb"|x" + _HEX + rb"?|[0-7]{0,2})",
    ),
}
_NUMBERS = {
    b"0": (rb"[xX]" + _HEX + rb"{2}(?!" + _HEX + rb")", rb"(?:[xX]" + _HEX + rb"{0,2})?"),
}
# Base64 is full of 0x, and an address is 0x with more than two digits: neither is a token.
DECODE_TRIGGER = Trigger(
    "decode",
    (b"0x", b"0X"),
    re.compile(b"0(?:%b|%b\\Z)" % _NUMBERS[b"0"]),
    b"0123456789abcdefABCDEF",
)
_ZERO_WIDTH = {
    b"\xe2": (rb"\x80[\x8b-\x8f\xaa-\xae]|\x81[\xa0-\xaf]", rb"[\x80\x81]?"),
    b"\xef": (rb"\xbb\xbf|\xb8[\x80-\x8f]", rb"[\xbb\xb8]?"),
    b"\xc2": (rb"\xad", b""),
    b"\xcd": (rb"\x8f", b""),
    b"\xe1": (rb"\xa0\x8e", rb"\xa0?"),
}
# An escaped symbol, which is the symbol: of no use where only letters and digits count. What the
# buffer may be cut in front of isn't here, nor what begins a token.
_DULL = rb"(?!\\{0,3}[]\"'.,:;{}()<>[|~^$#@!? ])"
_ERASED = rb"(?<=[\x00-\x07\x09\x0b-\x7f]\x08)"


#: More bytes than a token that isn't whole has.
_LONGEST_CUT = 300


@cache
def _tokens(final: bool, erased: bool, numbers: bool, symbols: bool) -> re.Pattern[bytes]:
    """The expression for one token.

    All its branches begin with one certain byte, so that `re` searches for the set of these. What
    the end cuts off is tried first, so that `\\10` waits for another digit.
    """
    tokens = dict(_TOKENS)
    if numbers:
        tokens |= _NUMBERS
    if symbols:
        tokens |= _ZERO_WIDTH
    elif not erased:
        whole, part = tokens[b"\\"]
        tokens[b"\\"] = (_DULL + b"(?:%b)" % whole, part)
    branches = [b"%b(?:%b)" % (re.escape(lead), whole) for lead, (whole, _) in tokens.items()]
    if erased:
        branches.append(b"\x08" + _ERASED)
    if not final:
        cut = [b"%b(?:%b)" % (re.escape(lead), part) for lead, (_, part) in tokens.items()]
        branches.insert(0, rb"(?P<cut>(?:%b)\Z)" % b"|".join(cut))
    return re.compile(b"|".join(branches))


def _found(buffer: bytes, final: bool, numbers: bool, symbols: bool) -> Iterator[re.Match[bytes]]:
    """The tokens of a buffer; that its end may cut one off is only asked close to the end."""
    erased = 0x08 in buffer
    at, close = 0, len(buffer) if final else max(0, len(buffer) - _LONGEST_CUT)
    if close:
        for match in _tokens(True, erased, numbers, symbols).finditer(buffer):
            if match.start() >= close:
                break
            yield match
            at = match.end()
    if not final:
        yield from _tokens(False, erased, numbers, symbols).finditer(buffer, max(at, close))


@dataclass(frozen=True)
class View:
    """A text and where its bytes stand in the buffer.

    `text_at[i]` is where run i begins in the text, `buffer_at[i]` where it begins in the buffer;
    `widths[i]` is 0 for a run that stands in the buffer as it is, or the length in the buffer of
    the one token that the run was decoded from.
    """

    text: bytes
    text_at: list[int]
    buffer_at: list[int]
    widths: list[int]

    @classmethod
    def plain(cls, buffer: bytes) -> View:
        """The buffer as it is."""
        return cls(buffer, [0], [0], [0])

    def start(self, position: int) -> int:
        """Where the byte at `position` of the text begins in the buffer."""
        run = bisect_right(self.text_at, position) - 1
        if self.widths[run]:
            return self.buffer_at[run]
        return self.buffer_at[run] + position - self.text_at[run]

    def end(self, position: int) -> int:
        """Where the byte at `position` of the text ends in the buffer."""
        run = bisect_right(self.text_at, position) - 1
        if self.widths[run]:
            return self.buffer_at[run] + self.widths[run]
        return self.buffer_at[run] + position - self.text_at[run] + 1


@dataclass(frozen=True)
class Decoded:
    """The decoded view of a buffer.

    `views` are of the parts of the buffer that are near to a token, and of its end; none when no
    token stands in the buffer, whole or cut off. `tokens` are their (start, end): the buffer may
    not be cut inside one. `cut` is where an unfinished one begins.
    """

    views: list[View]
    tokens: list[tuple[int, int]]
    cut: int


def needs_decoding(buffer: bytes, symbols: bool) -> bool:
    """Whether the buffer may hold a token, as far as a quick look tells.

    `symbols`: whether any pattern holds other bytes than ASCII letters and digits, so that
    zero-width characters matter.
    """
    return (
        b"%" in buffer
        or b"\\" in buffer
        or b"&" in buffer
        or b"\x1b" in buffer
        or b"\x08" in buffer
        or (symbols and not buffer.isascii() and any(lead in buffer for lead in _ZERO_WIDTH))
    )


def decode(buffer: bytes, final: bool, numbers: bool, symbols: bool, reach: int) -> Decoded:
    """Find the tokens of `buffer`; `final` says that nothing follows, so a cut token is text.

    `numbers`: 0x41 may stand in the buffer. `symbols`: as for `needs_decoding`. `reach`: how many
    bytes from a token on the view is of use, as what is further away is found without it.
    """
    tokens: list[tuple[int, int]] = []
    values: list[bytes] = []
    done = 0
    cut = size = len(buffer)
    for match in _found(buffer, final, numbers, symbols):
        start, end = match.span()
        if end == size and match.lastgroup == "cut":
            cut = start
            break
        if buffer[start] == 0x08:  # it takes back the byte before it, unless that is a token's
            start -= 1
            if start < done:
                continue
        tokens.append((start, end))
        token = buffer[start:end]
        values.append(_short_value(token) if end - start <= 4 else _value(token))
        done = end
    views: list[View] = []
    if tokens or cut < size:
        for start, end, first, behind in _parts(tokens, size, cut, reach):
            views.append(_view(buffer, start, end, tokens[first:behind], values[first:behind]))
    return Decoded(views, tokens, cut)


def safe_cut(cut: int, unsafe: list[tuple[int, int]]) -> int:
    """The last place at or before `cut` that is inside no unsafe span."""
    moved = True
    while moved:
        moved = False
        for start, end in unsafe:
            if start < cut < end:
                cut, moved = start, True
    return cut


def _parts(
    tokens: list[tuple[int, int]], size: int, cut: int, reach: int
) -> list[tuple[int, int, int, int]]:
    """The parts of a buffer near its tokens: (start, end, first token, token behind the last)."""
    count = len(tokens)
    if 2 * reach * (count + 1) >= size:
        return [(0, cut, 0, count)]
    parts = []
    first = 0
    for number in range(1, count + 1):
        end = tokens[number - 1][1] + reach
        if number == count or tokens[number][0] - reach > end:
            parts.append((max(0, tokens[first][0] - reach), end, first, number))
            first = number
    if parts and parts[-1][1] >= size - reach:
        start, _, first, _ = parts.pop()
        return [*parts, (start, cut, first, count)]
    return [*parts, (size - reach, cut, count, count)]


def _view(
    buffer: bytes, start: int, end: int, tokens: list[tuple[int, int]], values: list[bytes]
) -> View:
    """The view of one part of the buffer, with the tokens in it and what these stand for."""
    buffer_at = [start, *chain.from_iterable(tokens)]
    ends = [*buffer_at[1:], end]
    pieces = [b""] * len(buffer_at)
    pieces[::2] = [buffer[a:b] for a, b in zip(buffer_at[::2], ends[::2], strict=True)]
    pieces[1::2] = values
    widths = [0] * len(buffer_at)
    widths[1::2] = [b - a for a, b in tokens]
    text_at = list(accumulate(map(len, pieces[:-1]), initial=0))
    return View(b"".join(pieces), text_at, buffer_at, widths)


def _value(token: bytes) -> bytes:
    """What a token stands for; nothing for a terminal sequence or an erased character."""
    first = token[0]
    if token[-1] == 0x08 or first == 0x1B or first >= 0x80:
        return b""
    if first == ord("&"):
        return html.unescape(token.decode("ascii")).encode("utf-8", "replace")
    if first == ord("0"):
        return bytes([int(token[2:], 16)])
    if first == ord("%"):
        return _character(token[2:]) if token[1] in b"uU" else bytes([int(token[1:], 16)])
    body = token.lstrip(b"\\")
    if len(body) > 1 and body[:1] in b"uUx":
        return _character(body[1:].strip(b"{}")) if body[:1] != b"x" else bytes([int(body[1:], 16)])
    if body.isdigit() and body < b"8":
        return bytes([int(body, 8) & 0xFF])
    return b"" if body in b"nrtfv\n\r" else body


#: The values of tokens of one character, which are few.
_short_value = lru_cache(4096)(_value)


def _character(digits: bytes) -> bytes:
    number = int(digits, 16)
    return chr(number).encode("utf-8", "replace") if number < 0x110000 else b"?"
