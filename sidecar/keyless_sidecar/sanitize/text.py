"""A tool's output as sanitized text: what the sidecar sends to the kernel comes from here.

Called by the runner for each output stream of a tool, and for whole strings (`sanitize_text`).
"""

from __future__ import annotations

import codecs

from .binary import BinaryGuard
from .patterns import Patterns
from .stream import StreamSanitizer
from .terminal import TerminalFilter

#: Letters and digits of a prompt that may turn out to have begun a secret: half of the shortest
#: part of one that is replaced by itself.
_MOST_SHOWN = 4


class TextStream:
    """Turns one output stream into sanitized, valid text. Owned by the task that reads the stream.

    Bytes pass through three steps. Binary output is withheld, from the place on where the stream
    turns binary (see `binary`). Terminal control is removed, all but colours, tab, line feed and
    carriage return (see `terminal`). Secrets are replaced (see `stream`). A wrong byte in text
    becomes U+FFFD; a character is never split between two pieces.

    `notes` holds sentences for the reader, complete after `finish`. `redactions` counts the
    replacements by label.
    """

    def __init__(self, sanitizer: StreamSanitizer, name: str = "stdout"):
        """`name` of the stream is used in the notes."""
        self._sanitizer = sanitizer
        self._name = name
        self._guard = BinaryGuard()
        self._terminal = TerminalFilter()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._idle = True  # whether plain text would pass the other steps as it is
        self.notes: list[str] = []

    @property
    def redactions(self) -> dict[str, int]:
        """How many replacements were made so far, by label."""
        return self._sanitizer.redactions

    def feed(self, data: bytes) -> str:
        """Take the next bytes of the stream; return the text that may be shown now."""
        look = None
        if self._idle:
            look = self._sanitizer.look(data)
            if not look[1]:  # all is plain: there is nothing for the other steps to do
                self._guard.skip(data)
                return self._sanitizer.feed(data, look).decode()
        clean = self._terminal.feed(self._guard.feed(data))
        text = self._decode(self._sanitizer.feed(clean, look if clean is data else None))
        self._idle = (
            self._guard.idle and self._terminal.idle and self._decoder.getstate() == (b"", 0)
        )
        return text

    def show_held(self) -> str:
        """What is held back of a prompt, if it is short (see `StreamSanitizer.show_held`)."""
        return self._decode(self._sanitizer.show_held(_MOST_SHOWN))

    def finish(self) -> str:
        """End the stream; return the rest of its text and complete `notes`."""
        rest = self._terminal.feed(self._guard.finish(), final=True)
        text = self._decode(self._sanitizer.feed(rest) + self._sanitizer.finish(), final=True)
        guard = self._guard
        if guard.invalid:
            self.notes.append(f"{self._name} is not UTF-8; {guard.invalid} bytes shown as U+FFFD")
        if guard.tripped:
            self.notes.append(
                f"binary output withheld ({guard.withheld} bytes); "
                "write it to a file in the workspace instead"
            )
        return text

    def _decode(self, data: bytes, final: bool = False) -> str:
        text = self._decoder.decode(data, final)
        return text.replace("\b", "") if "\b" in text else text


def sanitize_text(patterns: Patterns, text: str) -> tuple[str, dict[str, int]]:
    """Sanitize a whole string (a command line for the audit, an error message).

    Returns the string with its secrets replaced, and the count of replacements by label.
    """
    sanitizer = StreamSanitizer(patterns)
    data = text.encode("utf-8", "surrogatepass")
    out = sanitizer.feed(data) + sanitizer.finish()
    return out.decode("utf-8", "surrogatepass"), dict(sanitizer.redactions)
