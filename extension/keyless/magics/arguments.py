"""The options of the magics, and what stands around them.

``%%secure_exec TOOL [options]`` takes its options before or after the tool, the commands stand in
the cell, one a line.  ``%secure_exec [options] TOOL ARGUMENTS`` takes them before the tool:
everything after the tool's name belongs to the tool, but for ``--interactive`` right behind it.

::

    %%secure_exec aws --timeout 60 --out listing
    lambda list-functions --query 'Functions[].FunctionName'

    %secure_exec --timeout 60 aws sts get-caller-identity

Pure: text in, a :class:`Plan` out.  Used by the magics and, for the option names, by completion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from keyless.magics.outs import read_out, variable
from keyless.magics.words import split_lines, split_words
from keyless.protocol.errors import InvalidRequest

__all__ = [
    "OPTIONS",
    "Option",
    "Options",
    "Plan",
    "parse_cell",
    "parse_line",
    "read_option",
    "read_seconds",
    "strip_tool",
    "tool_word",
]


@dataclass(frozen=True)
class Option:
    """One option: what stands after it (empty: a switch), and what it does."""

    value: str
    help: str


OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "--credentials": Option("NAMES", "vault entries by name, separated by commas"),
        "--timeout": Option("SECONDS", "end the command after this time"),
        "--isolated": Option("", "run in a sandbox of its own (the default)"),
        "--no-isolated": Option("", "without a sandbox of its own, where a policy allows it"),
        "--cwd": Option("FOLDER", "folder to run in, in the workspace"),
        "--stdin": Option("NAME", "give the text or bytes in this variable as standard input"),
        "--out": Option(
            "NAME", "put the result into this variable; NAME:df its rows, as DataFrame"
        ),
        "--interactive": Option("", "run it on a terminal, with the input box as its keyboard"),
        "--quiet": Option("", "show neither output nor result"),
        "--dry-run": Option("", "ask whether it would be allowed, without running it"),
        "--no-raise": Option("", "a non-zero exit code is no error"),
    }
)

#: What each switch sets.
_SWITCHES: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "--isolated": {"isolated": True},
        "--no-isolated": {"isolated": False},
        "--interactive": {"interactive": True},
        "--quiet": {"quiet": True},
        "--dry-run": {"dry_run": True},
        "--no-raise": {"raise_error": False},
    }
)


@dataclass(frozen=True)
class Options:
    """The options of one magic call."""

    credentials: tuple[str, ...] | None = None
    timeout: float | None = None
    isolated: bool = True
    cwd: str = ""
    stdin: str = ""
    out: str = ""
    frame: bool = False
    interactive: bool = False
    quiet: bool = False
    dry_run: bool = False
    raise_error: bool = True


@dataclass(frozen=True)
class Plan:
    """What a magic call asks for: the same tool and options for each command."""

    tool: str
    options: Options
    commands: tuple[tuple[str, ...], ...]


def parse_line(text: str) -> Plan:
    """Read ``[options] TOOL ARGUMENTS``.

    Raises:
        InvalidRequest: no tool, an unknown or incomplete option, or text that can't be split.
    """
    options, rest = _take_options(split_words(text))
    if not rest:
        raise InvalidRequest("name a tool: %secure_exec [options] TOOL ARGUMENTS")
    tool, arguments = rest[0], rest[1:]
    if arguments[:1] == ("--interactive",):
        options, arguments = replace(options, interactive=True), arguments[1:]
    return Plan(tool, _sensible(options), (arguments,))


def parse_cell(line: str, body: str) -> Plan:
    """Read ``TOOL [options]`` with the commands in ``body``.

    Raises:
        InvalidRequest: no tool, no command, an unknown option, or text that can't be split.
    """
    options, rest = _take_options(split_words(line))
    if not rest:
        raise InvalidRequest("name a tool: %%secure_exec TOOL [options], then one command a line")
    tool = rest[0]
    options, rest = _take_options(rest[1:], options)
    if rest:
        raise InvalidRequest(
            f"{rest[0]!r} stands after the tool: in %%secure_exec the arguments go into the lines "
            "below (for one line: %secure_exec TOOL ARGUMENTS)"
        )
    commands = tuple(strip_tool(tool, command.words) for command in split_lines(body, 2))
    if not commands and options.interactive:
        commands = ((),)
    if not commands:
        raise InvalidRequest(
            f"no command: write the arguments for {tool} below the first line, one command a line"
        )
    return Plan(tool, _sensible(options), commands)


def strip_tool(tool: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """``words`` without a leading ``tool``, which users may write or leave out."""
    return words[1:] if words[:1] == (tool,) else words


def tool_word(line: str) -> str:
    """The tool's name as far as it can be seen in a line that may not be valid; for the record."""
    words = line[:1000].split()
    position = 0
    while position < len(words) and words[position].startswith("-"):
        option = OPTIONS.get(words[position])
        position += 2 if option and option.value else 1
    return words[position] if position < len(words) else ""


def _take_options(
    words: tuple[str, ...], options: Options | None = None
) -> tuple[Options, tuple[str, ...]]:
    """Read options up to the first other word; return them and what follows."""
    options = options or Options()
    position = 0
    while position < len(words) and words[position].startswith("-"):
        name, value, position = read_option(OPTIONS, words, position)
        if OPTIONS[name].value:
            options = _with_value(options, name, value)
        else:
            options = replace(options, **_SWITCHES[name])
    return options, words[position:]


def read_option(
    known: Mapping[str, Option], words: Sequence[str], position: int
) -> tuple[str, str, int]:
    """One option out of a line.

    Args:
        known: those that there are.
        words: of the line.
        position: of the option's word.

    Returns:
        its name, its value (empty for a switch), and where the line goes on.

    Raises:
        InvalidRequest: there is no such option, or its value is missing or one too many.
    """
    name, equals, value = words[position].partition("=")
    position += 1
    option = known.get(name)
    if option is None:
        raise InvalidRequest(f"no such option {name!r}; there are {', '.join(known)}")
    if not option.value:
        if equals:
            raise InvalidRequest(f"{name} takes no value")
        return name, "", position
    if not equals:
        if position >= len(words):
            raise InvalidRequest(f"{name} needs a value: {name} {option.value}")
        value = words[position]
        position += 1
    return name, value, position


def read_seconds(value: str) -> float:
    """The value of ``--timeout``.

    Raises:
        InvalidRequest: no number.
    """
    try:
        return float(value)
    except ValueError:
        raise InvalidRequest(f"--timeout takes seconds, such as 60, not {value!r}") from None


def _sensible(options: Options) -> Options:
    if options.interactive and options.quiet:
        raise InvalidRequest("--interactive shows what it asks, so --quiet doesn't go with it")
    return options


def _with_value(options: Options, name: str, value: str) -> Options:
    if name == "--credentials":
        names = tuple(part.strip() for part in value.split(",") if part.strip())
        if not names:
            raise InvalidRequest("--credentials needs at least one name, separated by commas")
        return replace(options, credentials=names)
    if name == "--timeout":
        return replace(options, timeout=read_seconds(value))
    if name == "--cwd":
        return replace(options, cwd=value)
    if name == "--stdin":
        return replace(options, stdin=variable(name, value))
    out, frame = read_out(value)
    return replace(options, out=out, frame=frame)
