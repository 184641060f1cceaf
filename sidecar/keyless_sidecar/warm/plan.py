"""What a tool's zygote is started with: pure, from the tool's declaration."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

from keyless_sidecar.tools import Tool

_HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class WarmPlan:
    """How a tool is kept warm.

    Args:
        interpreter: the Python that would run the tool's script.
        flags: its options.
        script: the tool's script.
        modules: imported beside those that the script imports.
        prepare: text of a Python module whose ``prepare()`` is called after the imports.
    """

    interpreter: str
    flags: tuple[str, ...]
    script: str
    modules: tuple[str, ...]
    prepare: str


def warm_plan(tool: Tool) -> WarmPlan:
    """The plan for a tool that is to be kept warm."""
    prepare = _text("aws_preparation.py") if tool.rules == "aws" else ""
    return WarmPlan(
        interpreter=tool.path,
        flags=tool.arguments[: tool.arguments.index(tool.script)],
        script=tool.script,
        modules=tool.preload,
        prepare=prepare,
    )


@cache
def program() -> str:
    """Text of the zygote's program."""
    return _text("zygote.py")


@cache
def running() -> str:
    """Text of what runs a script in a zygote's fork."""
    return _text("running.py")


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
