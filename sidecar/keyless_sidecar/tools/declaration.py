"""Which tools there are: a person's declarations, checked when the sidecar starts.

Only what a person configured counts.  Nothing is ever looked up on a PATH, in a folder of the
kernel side, or in an environment variable (trust rule T2).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from keyless.protocol.calls import SDK
from keyless_sidecar.tools.aws_tool import aws_declaration
from keyless_sidecar.tools.interpreter import command_for
from keyless_sidecar.tools.psql_tool import psql_declaration

__all__ = ["Tool", "ToolConfigError", "load_tools", "missing_tool"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FIELD = re.compile(r"[a-z][a-z0-9_-]*:[a-z][a-z0-9_]*\??")
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9][A-Za-z0-9.-]*:([0-9]{1,5}|\*)")
_OPERATION = re.compile(r"(?:aws:)?([a-z0-9-]+:[A-Za-z0-9]+)")
#: Variables that the execution sets itself, and those that load code into a program.
_OURS = re.compile(
    r"HOME|PATH|(?i:https?_proxy|all_proxy|no_proxy)|LD_.*|PYTHON(PATH|HOME|STARTUP)"
)

#: Tools that need no declaration, with what makes theirs of a person's changes.
_BUILT_IN = {"aws": aws_declaration, "psql": psql_declaration}
_STRINGS = ("arguments", "credentials", "binds", "hosts", "deny", "allow_operations", "preload")
_FLAGS = ("proc", "unix_sockets", "warm")
_OTHERS = ("path", "delivery", "secret_env", "environment", "rules", "timeout", "description")
_KEYS = frozenset((*_STRINGS, *_FLAGS, *_OTHERS, "max_output", "max_args", "model_path"))


class ToolConfigError(Exception):
    """The declaration of a tool is wrong; the message is one sentence that says where and why."""


@dataclass(frozen=True)
class Tool:
    """A program that the sidecar may run.

    Attributes:
        name: as cells write it.
        path: absolute path of what is executed (a script's interpreter, where that is fixed).
        arguments: fixed arguments before those of the command.
        program: the path that the person declared, for people to read.
        delivery: how the credential reaches it.
        credentials: names of the vault entries that it may get.
        secret_env: variable → ``kind:field`` of a credential; a ``?`` at the end: may be missing.
        environment: variables without secrets.
        binds: host paths that its sandbox shows read-only, beyond the system's.
        hosts: ``host:port`` patterns that it may connect to.
        rules: which rules check its arguments.
        timeout: seconds, where a request names none.
        max_output: bytes of output after which it is ended.
        proc: whether its sandbox has /proc.
        unix_sockets: whether it may make AF_UNIX sockets.
        description: one line for ``%keyless tools``.
        deny: regular expressions; an argument in which one is found is refused (plain rules).
        max_args: most arguments (plain rules).
        allow_operations: ``service:Operation`` that the AWS rules' defaults would refuse.
        model_path: folder of the service models that the AWS rules use; empty: botocore's own.
        script: the Python script among ``arguments`` that is run; empty where there is none.
        warm: whether a process that has imported the script's modules is kept and forked for
            each command.
        preload: further modules that it imports.
    """

    name: str
    path: str
    arguments: tuple[str, ...] = ()
    program: str = ""
    delivery: Literal["proxy", "env", "none"] = "env"
    credentials: tuple[str, ...] = ()
    secret_env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    binds: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    rules: Literal["aws", "plain"] = "plain"
    timeout: float = 300.0
    max_output: int = 64 * 1024 * 1024
    proc: bool = False
    unix_sockets: bool = False
    description: str = ""
    deny: tuple[str, ...] = ()
    max_args: int = 1024
    allow_operations: tuple[str, ...] = ()
    model_path: str = ""
    script: str = ""
    warm: bool = False
    preload: tuple[str, ...] = ()

    @property
    def script_words(self) -> tuple[str, ...]:
        """The script and its fixed arguments, without its interpreter and that one's options."""
        return self.arguments[self.arguments.index(self.script) :]


def load_tools(config: Mapping[str, Any], *, workspace: str = "") -> dict[str, Tool]:
    """Read the ``Tools`` section of the configuration.

    Args:
        config: ``{"declared": {name: {...}}, "aws": {...} or None, "psql": ...}``; False leaves a
            built-in one out.
        workspace: host path of the workspace; no tool may lie in it.

    Returns:
        The tools by name.  Without an AWS CLI in the places that are trusted there is no ``aws``
        (unless the configuration names a path, which must then be good).

    Raises:
        ToolConfigError: something in it is wrong.
    """
    unknown = sorted(set(config) - {"declared", *_BUILT_IN})
    if unknown:
        raise ToolConfigError(f"c.Tools has no setting {unknown[0]!r}.")
    declared = config.get("declared") or {}
    if not isinstance(declared, Mapping):
        raise ToolConfigError("c.Tools.declared must be a dictionary of name to declaration.")
    tools: dict[str, Tool] = {}
    for name, declare in _BUILT_IN.items():
        settings = config.get(name)
        if settings is False or name in declared:
            continue
        if settings is not None and not isinstance(settings, Mapping):
            raise ToolConfigError(f"c.Tools.{name} must be a dictionary, None or False.")
        declaration = declare(settings or {})
        if declaration is not None:
            tools[name] = _tool(name, declaration, workspace)
    for name, declaration in declared.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ToolConfigError(
                f"The tool name {name!r} is not usable: letters, digits, '.', '_', '+' and '-'."
            )
        if name == SDK:
            raise ToolConfigError(f"The tool name {SDK} is taken: it stands for secure_call.")
        if not isinstance(declaration, Mapping):
            raise ToolConfigError(f"The declaration of the tool {name} must be a dictionary.")
        if declaration.get("rules") == "aws":
            # Another AWS CLI: it must be kept from profiles, aliases and plugins like the first.
            declaration = aws_declaration(declaration) or declaration
        tools[name] = _tool(name, declaration, workspace)
    return tools


def missing_tool(name: str, tools: Mapping[str, Tool]) -> str:
    """The sentence for a tool that isn't declared."""
    if name == SDK:
        return f"{SDK} is no program: it stands for calls, as in %secure_call SERVICE OPERATION."
    if name == "aws":
        return (
            "No AWS CLI was found: install it (`make`, `apt-get install awscli`), or set its path "
            "in c.Tools.aws = {'path': …}, and restart the kernel."
        )
    known = ", ".join(sorted(tools)) or "none"
    safe = name[:40] if name[:40].isprintable() else ascii(name[:40])
    return (
        f"There is no tool named {safe!r} (declared: {known}); a person declares tools in "
        "c.Tools.declared of jupyter_keyless_config.py."
    )


def _tool(name: str, declaration: Mapping[str, Any], workspace: str) -> Tool:
    where = f"The tool {name}"
    unknown = sorted(map(str, set(declaration) - _KEYS))
    if unknown:
        raise ToolConfigError(f"{where} has no setting {unknown[0]!r}.")
    program = declaration.get("path")
    if not isinstance(program, str):
        raise ToolConfigError(f"{where} needs a path.")
    _check_program(where, program, workspace)
    rules = _choice(where, declaration, "rules", ("plain", "aws"), "plain")
    lists = {key: _strings(where, declaration, key) for key in _STRINGS}
    flags = {key: _typed(where, declaration, key, bool, False) for key in _FLAGS}
    command = command_for(program, isolated_python=rules == "aws", explicit=flags["warm"])
    warm = flags["warm"] or (declaration.get("warm") is None and rules == "aws")
    if flags["warm"] and not command.script:
        raise ToolConfigError(
            f"{where} can't be kept warm: {program} is no script that begins with the path of a "
            "Python interpreter."
        )
    for pattern in lists["deny"]:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ToolConfigError(
                f"{where} has a deny pattern that is no regular expression: {error}."
            ) from error
    for host in lists["hosts"]:
        if not _HOST.fullmatch(host):
            raise ToolConfigError(f"{where} has a host that is not 'host:port': {host!r}.")
    for bind in lists["binds"]:
        if not Path(bind).is_absolute() or not Path(bind).exists():
            raise ToolConfigError(f"{where} binds {bind!r}, which is no existing absolute path.")
        _check_apart(where, bind, workspace)
    for bind in (command.path, *command.binds):
        _check_apart(where, bind, workspace)
    return Tool(
        name=name,
        path=command.path,
        arguments=(*command.arguments, *lists["arguments"]),
        program=program,
        delivery=_choice(where, declaration, "delivery", ("proxy", "env", "none"), "env"),
        credentials=lists["credentials"],
        secret_env=_variables(where, declaration, "secret_env"),
        environment=_variables(where, declaration, "environment"),
        binds=tuple(dict.fromkeys((*command.binds, *lists["binds"]))),
        hosts=lists["hosts"],
        rules=rules,
        timeout=_number(where, declaration, "timeout", 300.0),
        max_output=int(_number(where, declaration, "max_output", 64 * 1024 * 1024)),
        proc=flags["proc"],
        unix_sockets=flags["unix_sockets"],
        description=_typed(where, declaration, "description", str, ""),
        deny=lists["deny"],
        max_args=int(_number(where, declaration, "max_args", 1024)),
        allow_operations=_operations(where, lists["allow_operations"]),
        model_path=_typed(where, declaration, "model_path", str, ""),
        script=command.script,
        warm=warm and bool(command.script),
        preload=lists["preload"],
    )


def _check_program(where: str, program: str, workspace: str) -> None:
    """The file must be one that only a trusted person could have put there."""
    path = Path(program)
    if not path.is_absolute():
        raise ToolConfigError(f"{where} needs an absolute path, not {program!r}.")
    try:
        real = path.resolve(strict=True)
        info = real.stat()
    except (OSError, RuntimeError) as error:
        raise ToolConfigError(f"{where} is not at {program}: no such file.") from error
    if not stat.S_ISREG(info.st_mode):
        raise ToolConfigError(f"{where} is not a regular file: {program}.")
    if not os.access(real, os.X_OK):
        raise ToolConfigError(f"{where} is not executable: {program}.")
    _check_apart(where, program, workspace)
    for candidate in (real, *real.parents, path.parent):
        mode = candidate.stat()
        sticky_folder = stat.S_ISDIR(mode.st_mode) and mode.st_mode & stat.S_ISVTX
        if mode.st_mode & stat.S_IWOTH and not sticky_folder:
            raise ToolConfigError(f"{where} could be changed by others: {candidate} is writable.")
        if mode.st_uid not in (0, os.geteuid()):
            raise ToolConfigError(f"{where} could be changed by others, who own {candidate}.")


def _check_apart(where: str, path: str, workspace: str) -> None:
    if not workspace:
        return
    root = Path(workspace).resolve()
    for candidate in (Path(path), Path(path).resolve()):
        if candidate == root or root in candidate.parents:
            raise ToolConfigError(
                f"{where} lies in the workspace, which the kernel side can change: {path}."
            )


def _typed(where: str, declaration: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value = declaration.get(key)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise ToolConfigError(f"{where}: {key} must be of type {kind.__name__}.")
    return value


def _number(where: str, declaration: Mapping[str, Any], key: str, default: float) -> float:
    value = declaration.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 2**53:
        raise ToolConfigError(f"{where}: {key} must be a positive number.")
    return value


def _choice(
    where: str, declaration: Mapping[str, Any], key: str, choices: Sequence[str], default: str
) -> Any:
    value = declaration.get(key, default)
    if value not in choices:
        raise ToolConfigError(f"{where}: {key} must be one of {', '.join(choices)}.")
    return value


def _strings(where: str, declaration: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = declaration.get(key) or ()
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ToolConfigError(f"{where}: {key} must be a list of strings.")
    if not all(isinstance(item, str) and item and "\0" not in item for item in value):
        raise ToolConfigError(f"{where}: {key} must be a list of non-empty strings.")
    return tuple(value)


def _variables(where: str, declaration: Mapping[str, Any], key: str) -> Mapping[str, str]:
    value = declaration.get(key) or {}
    if not isinstance(value, Mapping):
        raise ToolConfigError(f"{where}: {key} must be a dictionary of variable to text.")
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str) or "\0" in text:
            raise ToolConfigError(f"{where}: {key} must be a dictionary of variable to text.")
        if not _VARIABLE.fullmatch(name) or _OURS.fullmatch(name):
            raise ToolConfigError(f"{where}: {key} may not set the variable {name!r}.")
        if key == "secret_env" and not _FIELD.fullmatch(text):
            raise ToolConfigError(
                f"{where}: secret_env must name 'kind:field' for {name}, such as 'token:value'."
            )
    return MappingProxyType(dict(value))


def _operations(where: str, names: Sequence[str]) -> tuple[str, ...]:
    found = []
    for name in names:
        match = _OPERATION.fullmatch(name)
        if match is None:
            raise ToolConfigError(
                f"{where}: allow_operations needs names such as 'lambda:GetFunction', not {name!r}."
            )
        found.append(match.group(1))
    return tuple(found)
