"""Reading an AWS command line: strictly, so that the CLI can't read it in another way.

The CLI's own parser takes abbreviations (``--endpoint-u``), options in any place, and ``--x=y`` as
well as ``--x y``.  This one knows exact names only, and the rules write the line anew from what it
understood.  Pure text: no file, no model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from keyless_sidecar.tools.aws_names import ALLOWED_GLOBALS, REFUSED_GLOBALS
from keyless_sidecar.tools.aws_operations import OptionSpec
from keyless_sidecar.tools.verdict import Refused, shown

__all__ = ["Given", "Line", "read_line", "write_option"]

_GLOBALS = frozenset(ALLOWED_GLOBALS) | frozenset(REFUSED_GLOBALS)
_NEGATIVE = re.compile(r"-\d+|-\d*\.\d+")
_CHECKS: Mapping[str, re.Pattern[str]] = {
    "region": re.compile(r"[a-z][a-z0-9-]{1,40}"),
    "output": re.compile(r"json|text|table|yaml|yaml-stream|off"),
    "color": re.compile(r"on|off|auto"),
    "cli-read-timeout": re.compile(r"\d{1,5}"),
    "cli-connect-timeout": re.compile(r"\d{1,5}"),
    "cli-binary-format": re.compile(r"raw-in-base64-out|base64"),
    "query": re.compile(r"(?!fileb?://|https?://)(?s:.+)"),
}


@dataclass(frozen=True)
class Given:
    """An option with its values, as it stood on the line."""

    name: str
    values: tuple[str, ...]


@dataclass
class Line:
    """A command line, taken apart.

    Attributes:
        shared: global options.
        command: first word, the service.
        operation: second word.
        waiter: third word of ``aws <service> wait <waiter>``.
        options: those of the operation, in order.
        words: what is neither option nor value.
    """

    command: str = ""
    operation: str = ""
    waiter: str = ""
    shared: list[Given] = field(default_factory=list)
    options: list[Given] = field(default_factory=list)
    words: list[str] = field(default_factory=list)


#: Gives the options of ``(command, operation, waiter)``; raises Refused for what doesn't exist.
Table = Callable[[str, str, str], Mapping[str, OptionSpec]]


def read_line(argv: Sequence[str], table: Table, *, repeatable: frozenset[str]) -> Line:
    """Take a command line apart.

    Args:
        argv: the arguments after ``aws``.
        table: asked once, when the operation is known.
        repeatable: options that may be given more than once.

    Raises:
        Refused: an option is unknown, abbreviated, refused, given twice, or lacks its value.
    """
    line = Line()
    specs: Mapping[str, OptionSpec] | None = None
    position = 0
    while position < len(argv):
        word = argv[position]
        position += 1
        if not _is_option(word):
            if specs is not None:
                line.words.append(word)
            elif not line.command:
                line.command = word
            elif not line.operation:
                line.operation = word
                if word != "wait":
                    specs = table(line.command, word, "")
            else:
                line.waiter = word
                specs = table(line.command, line.operation, word)
            continue
        name, equals, attached = word[2:].partition("=")
        if not word.startswith("--") or not name:
            raise Refused(
                "InvalidRequest",
                f"{shown(word)} is no option of the AWS CLI; options start with two dashes, and a "
                "value that starts with a dash is written --option=value.",
                "aws.options",
            )
        if name in _GLOBALS:
            spec = OptionSpec("flag" if ALLOWED_GLOBALS.get(name) == "flag" else "value")
            _refuse_global(name)
            target = line.shared
        else:
            spec = _spec(name, specs)
            target = line.options
        if equals:
            if spec.takes == "flag":
                raise Refused(
                    "InvalidRequest", f"The option --{name} takes no value.", "aws.options"
                )
            values: tuple[str, ...] = (attached,)
        else:
            values, position = _values(argv, position, name, spec)
        if any(given.name == name for given in target) and name not in repeatable:
            raise Refused(
                "InvalidRequest", f"The option --{name} is given twice; keep one.", "aws.options"
            )
        target.append(Given(name, values))
    for given in line.shared:
        _check_global(given)
    if specs is None:
        if line.command:
            table(line.command, line.operation, "")  # knows better what is wrong with it
        raise Refused(
            "InvalidRequest",
            "The command is not complete: aws <service> <operation> [options], such as "
            "aws sts get-caller-identity.",
            "aws.incomplete",
        )
    return line


def write_option(given: Given) -> list[str]:
    """The words of an option, such that the CLI reads just this option with just these values."""
    if len(given.values) == 1 and (given.values[0].startswith("-") or not given.values[0]):
        return [f"--{given.name}={given.values[0]}"]
    return [f"--{given.name}", *given.values]


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-" and not _NEGATIVE.fullmatch(word)


def _values(
    argv: Sequence[str], position: int, name: str, spec: OptionSpec
) -> tuple[tuple[str, ...], int]:
    """The values that follow an option, and where the rest starts."""
    start = position
    most = {"flag": 0, "value": 1, "maybe": 1, "list": len(argv)}[spec.takes]
    while position < len(argv) and position - start < most and not _is_option(argv[position]):
        position += 1
    values = tuple(argv[start:position])
    if spec.takes == "value" and not values:
        raise Refused(
            "InvalidRequest",
            f"The option --{name} needs a value (write --{name}=VALUE where it starts with a "
            "dash).",
            "aws.options",
        )
    if spec.takes == "list" and any(value.startswith("-") for value in values[1:]):
        raise Refused(
            "InvalidRequest",
            f"The values of --{name} that start with a dash must be given as JSON.",
            "aws.options",
        )
    return values, position


def _refuse_global(name: str) -> None:
    if name in REFUSED_GLOBALS:
        raise Refused(
            "PolicyDenied",
            f"The option --{name} is not allowed: {REFUSED_GLOBALS[name]}.",
            "aws.global-options",
        )


def _check_global(given: Given) -> None:
    check = _CHECKS.get(given.name)
    if check is not None and not check.fullmatch(given.values[0]):
        raise Refused(
            "InvalidRequest",
            f"The value of --{given.name} is not usable: {shown(given.values[0])}.",
            "aws.options",
        )


def _spec(name: str, specs: Mapping[str, OptionSpec] | None) -> OptionSpec:
    """The option of this exact name."""
    longer = sorted(known for known in _GLOBALS if known.startswith(name) and known != name)
    if longer:
        # Refused even where the operation has an option of this name: the CLI would take it for
        # the global one.
        raise Refused(
            "PolicyDenied",
            f"The option {shown('--' + name)} could be read as --{longer[0]}; abbreviations are "
            "not allowed.",
            "aws.abbreviation",
        )
    if specs is None:
        raise Refused(
            "InvalidRequest",
            f"The option {shown('--' + name)} stands before the operation; write "
            "aws <service> <operation> first.",
            "aws.options",
        )
    if name not in specs:
        near = sorted(known for known in specs if known.startswith(name))
        hint = f"; did you mean --{near[0]}? Options are written in full" if near else ""
        raise Refused(
            "InvalidRequest",
            f"The operation has no option {shown('--' + name)}{hint}.",
            "aws.options",
        )
    return specs[name]
