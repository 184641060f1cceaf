"""The words of a line: see :mod:`keyless.protocol.words`, which both sides use."""

from keyless.protocol.words import Line, check_characters, split_lines, split_words

__all__ = ["Line", "check_characters", "split_lines", "split_words"]
