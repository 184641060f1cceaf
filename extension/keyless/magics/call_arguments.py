"""The line of ``%secure_call``: which operation, with which options.  Pure.

::

    %%secure_call SERVICE OPERATION [options]
    {"Parameter": "value"}

    %secure_call [options] SERVICE OPERATION {"Parameter": "value"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from keyless.magics.arguments import Option, read_option, read_seconds
from keyless.magics.outs import read_out
from keyless.magics.words import split_words
from keyless.protocol.errors import InvalidRequest

__all__ = ["OPTIONS", "CallLine", "CallOptions", "parse_call"]

OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "--region": Option("NAME", "region, where it isn't that of the credential"),
        "--credentials": Option("NAME", "vault entry to sign with"),
        "--timeout": Option("SECONDS", "give the call up after this time"),
        "--paginate": Option("", "follow all pages, and put them together"),
        "--wait": Option("WAITER", "after the call, wait until this state is reached"),
        "--query": Option("EXPRESSION", "JMESPath; its result is in `selected`"),
        "--save": Option("MEMBER=FILE", "save content of the answer into a workspace file"),
        "--out": Option(
            "NAME", "put the result into this variable; NAME:df its rows, as DataFrame"
        ),
        "--quiet": Option("", "show neither progress nor result"),
        "--dry-run": Option("", "ask whether it would be allowed, without calling"),
        "--no-raise": Option("", "an error of the service is no exception"),
    }
)
_SWITCHES: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "--paginate": {"paginate": True},
        "--quiet": {"quiet": True},
        "--dry-run": {"dry_run": True},
        "--no-raise": {"raise_error": False},
    }
)


@dataclass(frozen=True)
class CallOptions:
    """The options of one call."""

    region: str = ""
    credentials: tuple[str, ...] | None = None
    timeout: float | None = None
    paginate: bool = False
    wait: str = ""
    query: str = ""
    save: Mapping[str, str] = field(default_factory=dict)
    out: str = ""
    frame: bool = False
    quiet: bool = False
    dry_run: bool = False
    raise_error: bool = True


@dataclass(frozen=True)
class CallLine:
    """What a line asks for.

    Args:
        service: as written; empty where only help is asked for.
        operation: likewise.
        options: of the call.
        parameters: text of a dictionary behind them, empty for none.
        help: whether the line ends with a question mark.
    """

    service: str
    operation: str
    options: CallOptions
    parameters: str = ""
    help: bool = False


def parse_call(text: str) -> CallLine:
    """Read a line.

    Raises:
        InvalidRequest: no operation, an unknown or incomplete option, or text that can't be split.
    """
    text = text.strip()
    if text.endswith("?"):
        words = split_words(text.rstrip("?"))
        names = [word for word in words if not word.startswith("-")]
        service, operation = ([*names, "", ""])[:2]
        return CallLine(service, operation, CallOptions(), help=True)
    head, brace, rest = text.partition("{")
    words = split_words(head)
    options, names = CallOptions(), []
    position = 0
    while position < len(words):
        if not words[position].startswith("-"):
            names.append(words[position])
            position += 1
            continue
        name, value, position = read_option(OPTIONS, words, position)
        if OPTIONS[name].value:
            options = _with_value(options, name, value)
        else:
            options = replace(options, **_SWITCHES[name])
    if len(names) != 2:
        found = f", not {' '.join(map(repr, names))}" if names else ""
        raise InvalidRequest(
            "name a service and an operation, such as lambda update_function_code; parameters are "
            f"a dictionary behind them{found}"
        )
    return CallLine(names[0], names[1], options, brace + rest)


def _with_value(options: CallOptions, name: str, value: str) -> CallOptions:
    if name == "--credentials":
        return replace(options, credentials=(value,))
    if name == "--timeout":
        return replace(options, timeout=read_seconds(value))
    if name == "--save":
        member, equals, path = value.partition("=")
        if not (member and equals and path):
            raise InvalidRequest(f"--save takes MEMBER=FILE, such as Body=a.csv, not {value!r}")
        return replace(options, save={**options.save, member: path})
    if name == "--out":
        out, frame = read_out(value)
        return replace(options, out=out, frame=frame)
    plain: dict[str, Any] = {name.removeprefix("--"): value}
    return replace(options, **plain)
