"""How a program is started, and what its sandbox must show for that.

A sandbox holds the system's /usr and libraries only.  A program elsewhere needs itself and, where
it is a script, its interpreter with the packages.  Called when tools are declared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from keyless_kernel.confine.view import venv_home

__all__ = ["Command", "command_for"]

_SYSTEM = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/lib32/")
_PYTHON = re.compile(r"python[0-9.]*")
#: What pip writes where the interpreter's path is too long for a ``#!`` line.
_LONG = re.compile(rb"'''exec' \"?([^\" \n]+)\"? \"\$0\" \"\$@\"")


@dataclass(frozen=True)
class Command:
    """What is executed for a declared program.

    Attributes:
        path: absolute path to execute.
        arguments: what comes first.
        binds: host paths that the sandbox must show read-only.
        script: the Python script among the arguments; empty where there is none.
    """

    path: str
    arguments: tuple[str, ...]
    binds: tuple[str, ...]
    script: str = ""


def command_for(program: str, *, isolated_python: bool, explicit: bool = False) -> Command:
    """What to execute for a declared program.

    Args:
        program: absolute path of an existing file.
        isolated_python: start a Python script as ``python -I -B script``, so that neither
            ``PYTHON*`` variables nor the user's packages nor the current folder count.
        explicit: start a Python script by its interpreter in any case, as the system would.
    """
    real = str(Path(program).resolve())
    interpreter, flags = _interpreter(real)
    binds: list[str] = []
    if not real.startswith(_SYSTEM):
        binds.append(real)
    if interpreter and Path(interpreter).is_file():
        binds += _interpreter_binds(interpreter)
        if (isolated_python or explicit) and _PYTHON.fullmatch(Path(interpreter).name):
            flags = ("-I", "-B") if isolated_python else flags
            return Command(interpreter, (*flags, real), _outermost(binds), real)
    return Command(real, (), _outermost(binds))


def _interpreter(script: str) -> tuple[str, tuple[str, ...]]:
    """The interpreter that a script's first lines name, with its option; empty for a binary."""
    with open(script, "rb") as file:
        head = file.read(4096)
    if not head.startswith(b"#!"):
        return "", ()
    words = head.split(b"\n", 1)[0][2:].split(maxsplit=1)
    if not words:
        return "", ()
    name = words[0].decode(errors="replace")
    if name == "/bin/sh":
        found = _LONG.search(head)
        if found:
            name, words = found.group(1).decode(errors="replace"), words[:1]
    options = tuple(word.decode(errors="replace").strip() for word in words[1:])
    return (name, options) if name.startswith("/") else ("", ())


def _interpreter_binds(interpreter: str) -> list[str]:
    """The folders that an interpreter outside the system needs: its environment and its base."""
    if not _PYTHON.fullmatch(Path(interpreter).name):
        return [] if interpreter.startswith(_SYSTEM) else [interpreter]
    prefix = Path(interpreter).parent.parent
    prefixes = [prefix]
    if home := venv_home(prefix):
        prefixes.append(home.parent)
    prefixes.append(Path(interpreter).resolve().parent.parent)
    unique = dict.fromkeys(map(str, prefixes))
    return [path for path in unique if path != "/" and not f"{path}/".startswith(_SYSTEM)]


def _outermost(paths: list[str]) -> tuple[str, ...]:
    """Without those that lie in another one."""
    unique = dict.fromkeys(paths)
    return tuple(
        path
        for path in unique
        if not any(other != path and path.startswith(f"{other}/") for other in unique)
    )
