"""Turns the text of a cell into commands: the words of each line, and nothing else.

Quotes and backslashes work as in a POSIX shell.  There is no shell behind it: whatever a shell
would interpret outside quotes is refused with a sentence that says what to do instead, and
nothing is expanded inside them.  Pure; used by the magics, ``secure_exec`` and the
control API.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from keyless.protocol.errors import InvalidRequest

__all__ = ["Line", "check_characters", "split_lines", "split_words"]

#: Longest text (characters) that is looked at; far above what a command may carry.
MAX_TEXT = 1024 * 1024

_LITERALLY = "or quote it if it is meant literally"
_INSTEAD = {
    "|": f"take the output with --out NAME and go on in Python, {_LITERALLY}",
    ";": f"write one command a line, {_LITERALLY}",
    "&": f"write one command a line (nothing runs in the background), {_LITERALLY}",
    ">": f"take the output with --out NAME and write the file in Python, {_LITERALLY}",
    "<": f"give the input with --stdin NAME, {_LITERALLY}",
    "$": f"pass values with secure_exec(tool, [...]) in Python, {_LITERALLY}",
    "`": f"take the output with --out NAME and go on in Python, {_LITERALLY}",
    "(": _LITERALLY.removeprefix("or "),
    ")": _LITERALLY.removeprefix("or "),
    "*": f"name each file, or use Python's glob with secure_exec(tool, [...]), {_LITERALLY}",
    "?": f"name each file, or use Python's glob with secure_exec(tool, [...]), {_LITERALLY}",
    "[": f"name each file, {_LITERALLY}",
    "~": f"write a path relative to the workspace, {_LITERALLY}",
    "#": f"put a comment on a line of its own, {_LITERALLY}",
}

#: Controls, lone surrogates, and the characters that make text look different from what it is.
_FORBIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_TOKEN = re.compile(
    r"""
      (?P<blank>[ \t]+)
    | (?P<newline>\r?\n)
    | (?P<joined>\\(?:\r?\n|\Z))
    | (?P<escaped>\\.)
    | '(?P<single>[^']*)'
    | "(?P<double>[^"\\]*+(?:\\.[^"\\]*+)*+)"
    | (?P<open>['"])
    | (?P<special>[|;&<>$`()*?\[])
    | (?P<plain>[^\s\\'"|;&<>$`()*?\[]++|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE_IN_DOUBLE = re.compile(r'\\(["\\$`]|\r?\n)')


@dataclass(frozen=True)
class Line:
    """One command: where it starts, and its words."""

    number: int
    words: tuple[str, ...]


def split_words(text: str) -> tuple[str, ...]:
    """The words of one command.

    Raises:
        InvalidRequest: shell syntax, an unbalanced quote, a control character, several commands.
    """
    lines = list(split_lines(text))
    if len(lines) > 1:
        raise InvalidRequest(
            "one command at a time here; use the cell magic %%secure_exec for several, one a line"
        )
    return lines[0].words if lines else ()


def split_lines(text: str, first_number: int = 1) -> Iterator[Line]:
    """The commands in ``text``, one a line; blank lines and comment lines are left out.

    A backslash at a line's end continues it; a quoted text may hold line breaks and tabs.

    Args:
        text: what the user wrote.
        first_number: the number of its first line, for messages.

    Raises:
        InvalidRequest: shell syntax, an unbalanced quote, a control character, a huge text.
    """
    if len(text) > MAX_TEXT:
        raise InvalidRequest(
            f"the command text holds {len(text)} characters (limit {MAX_TEXT}); put large data "
            "in a workspace file, or pass it with --stdin NAME"
        )
    number = start = first_number
    words: list[str] = []
    word: list[str] | None = None
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise InvalidRequest(f"line {number} can't be read")
        kind, value = match.lastgroup, match.group(match.lastgroup)
        position = match.end()
        if kind == "newline":
            if word is not None:
                words.append("".join(word))
            if words:
                yield _line(start, words)
            words, word, start = [], None, number + 1
        elif kind == "blank":
            if word is not None:
                words.append("".join(word))
            word = None
        elif kind == "joined":
            pass
        elif kind == "open":
            raise InvalidRequest(f"line {number}: the quote {value} is never closed")
        elif kind == "special" or (kind == "plain" and word is None and value[0] in "~#"):
            if value[0] == "#" and not words:
                position = _end_of_line(text, position)
            else:
                raise InvalidRequest(
                    f"line {number}: there is no shell here, so {value[0]!r} does nothing: "
                    f"{_INSTEAD[value[0]]}"
                )
        else:
            word = word if word is not None else []
            word.append(_literal(kind, value))
        number += match.group(0).count("\n")
    if word is not None:
        words.append("".join(word))
    if words:
        yield _line(start, words)


def check_characters(words: tuple[str, ...] | list[str], where: str) -> None:
    """Refuse characters that no command line should hold.

    Raises:
        InvalidRequest: a NUL, another control character but tab and line break, a lone
            surrogate, or a character that reorders text on screen.
    """
    for word in words:
        found = _FORBIDDEN.search(word)
        if found:
            raise InvalidRequest(
                f"{where}: the character U+{ord(found.group(0)):04X} isn't allowed in an argument;"
                " put such data in a workspace file, or pass it with --stdin NAME"
            )


def _line(number: int, words: list[str]) -> Line:
    check_characters(words, f"line {number}")
    return Line(number, tuple(words))


def _literal(kind: str, value: str) -> str:
    if kind == "escaped":
        return value[1:]
    if kind == "double":
        return _ESCAPE_IN_DOUBLE.sub(lambda m: "" if m[1].endswith("\n") else m[1], value)
    return value


def _end_of_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end
