"""What the rules answer: :class:`Checked`, or the exception :class:`Refused`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Checked", "CheckedFile", "Refused", "check_text", "shown"]

#: Most arguments, the longest one, and all of them together (bytes of UTF-8).  The kernel's own
#: limit is 128 KiB for one argument.
MAX_ARGUMENTS = 4096
MAX_ARGUMENT = 120_000
MAX_TOTAL = 256 * 1024

_SHOWN = 80
#: They print as nothing, or change the order of what a person reads.
_INVISIBLE = frozenset(
    chr(code)
    for code in (
        *(0xAD, 0x61C, 0x180E, 0xFEFF),
        *range(0x200B, 0x2010),
        *range(0x2028, 0x202F),
        *range(0x2060, 0x2070),
    )
)


class Refused(Exception):
    """A command may not run.

    Attributes:
        kind: as in the protocol's ``Failed``.
        message: one sentence that says what is wrong and what to do instead.
        rule: the name of the rule that decided, for the audit and ``%keyless why``.
    """

    def __init__(
        self, kind: Literal["PolicyDenied", "InvalidRequest"], message: str, rule: str
    ) -> None:
        super().__init__(message)
        self.kind: Literal["PolicyDenied", "InvalidRequest"] = kind
        self.message = message
        self.rule = rule


@dataclass(frozen=True)
class CheckedFile:
    """A file or folder of the workspace that a command names.

    Attributes:
        path: relative to the workspace; ``""`` is the workspace itself.
        use: what the tool does with it.
        size: bytes of a file that is read, when it was checked.
        json: it must hold JSON, or the tool would read further references in it.
        sha256: what its content must have, since a person approved it so; empty for whatever it is.
    """

    path: str
    use: Literal["read", "write", "folder"]
    size: int = 0
    json: bool = False
    sha256: str = ""


@dataclass(frozen=True)
class Checked:
    """A command that may run.

    Attributes:
        argv: the arguments to run it with, without the tool itself.  They are written anew from
            what was understood, so that the tool can't understand something else.
        operation: canonical name, ``aws:lambda:UpdateFunctionCode`` or ``exec``.
        mutating: whether it changes something; ``None`` where that isn't known.
        files: what it reads and writes in the workspace.
        rule: the name of the rule that allowed it.
    """

    argv: tuple[str, ...]
    operation: str
    mutating: bool | None
    files: tuple[CheckedFile, ...]
    rule: str


def shown(text: str) -> str:
    """An argument as a message may show it: quoted, control characters escaped, short."""
    cut = text[: _SHOWN + 1]
    safe = "".join(
        char if char.isprintable() and char not in _INVISIBLE else ascii(char)[1:-1] for char in cut
    )
    if len(text) > _SHOWN or len(safe) > _SHOWN:
        safe = safe[: _SHOWN - 1] + "…"
    return f"'{safe}'"


def check_text(argv: Sequence[str], *, most: int = MAX_ARGUMENTS, json: bool = False) -> None:
    """Refuse what no argument may hold, whatever the tool.

    Args:
        argv: the arguments.
        most: how many there may be.
        json: let line breaks and tabs pass in arguments that are JSON.

    Raises:
        Refused: too many, too long, not text, or with control characters.
    """
    if len(argv) > most:
        raise Refused(
            "InvalidRequest",
            f"The command has {len(argv)} arguments; at most {most} are allowed, so put the data "
            "into a workspace file instead.",
            "arguments.count",
        )
    total = 0
    for number, argument in enumerate(argv, 1):
        try:
            size = len(argument.encode())
        except UnicodeEncodeError:
            raise Refused(
                "InvalidRequest",
                f"Argument {number} is not valid Unicode text.",
                "arguments.unicode",
            ) from None
        total += size
        if size > MAX_ARGUMENT or total > MAX_TOTAL:
            raise Refused(
                "InvalidRequest",
                f"The arguments are too long at number {number} (one may have {MAX_ARGUMENT} "
                f"bytes, all together {MAX_TOTAL}); put the data into a workspace file and name "
                "the file.",
                "arguments.size",
            )
        allowed = "\n\t\r" if json and argument.lstrip()[:1] in ("{", "[") else ""
        for char in argument:
            # C0, DEL, C1, and the separators that a terminal treats as a line's end.
            if (char < " " or "\x7f" <= char <= "\x9f" or char in "\u2028\u2029") and (
                char not in allowed
            ):
                raise Refused(
                    "InvalidRequest",
                    f"Argument {number} holds the control character {char!a}, which is not "
                    "allowed on a command line; write one command a line, without escapes.",
                    "arguments.control",
                )
