"""Removes terminal control from a stream of text, all but colours and line feeds.

Called by `text.TextStream`, before the sanitizer, so that the sanitizer sees the characters that a
reader will see: text which a cursor movement hides, moves or overwrites stays plain text. Kept are
SGR sequences (colours, bold), tab, line feed, carriage return (progress bars) and, for the
sanitizer only, backspace. Removed are other escape sequences, window titles and links (OSC), the
other C0 controls and the C1 controls.
"""

from __future__ import annotations

import re

_DROPPED = bytes(c for c in range(0x20) if c not in b"\a\b\t\n\r\x1b") + b"\x7f"
_SGR = rb"\x1b\[[0-9;:]{0,256}m"
_STRING = rb"\x1b[\]PX^_][^\x1b\x07]{0,4096}"
_OTHER = (
    _STRING + rb"(?:\x07|\x1b\\)"
    rb"|\x1b\[[0-?]{0,256}[ -/]{0,8}[@-~]"
    rb"|\x1b[ -/]{0,8}[0-Z\\^_`-~]"
    rb"|\x1b"
    rb"|\xc2[\x80-\x9f]|\x07"
)
_CONTROL = re.compile(b"(" + _SGR + b")|" + _OTHER)
_CUT = re.compile(
    rb"(?:\x1b(?:\[[0-?]{0,256}[ -/]{0,8}|[ -/]{0,8})?|" + _STRING + rb"\x1b?|\xc2)\Z"
)
_LONGEST = 4100


class TerminalFilter:
    """Filters one stream. The output doesn't depend on how the input is cut into pieces."""

    def __init__(self) -> None:
        self._held = b""

    @property
    def idle(self) -> bool:
        """Whether plain text would pass through as it is."""
        return not self._held

    def feed(self, data: bytes, final: bool = False) -> bytes:
        """Take the next piece; return it without terminal control. `final`: nothing follows."""
        data = self._held + data.translate(None, _DROPPED)
        self._held = b""
        if not any(byte in data for byte in (0x1B, 0x07, 0xC2)):
            return data
        if not final:
            cut = _CUT.search(data, max(0, len(data) - _LONGEST))
            if cut is not None:
                self._held = data[cut.start() :]
                data = data[: cut.start()]
        return _CONTROL.sub(lambda match: match[1] or b"", data)

    def finish(self) -> bytes:
        """End the stream; return what was held back."""
        return self.feed(b"", final=True)
