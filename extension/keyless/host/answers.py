"""Questions to :mod:`keyless.magics.host_cells`, and what comes back.

The kernel side says what it likes, so answers are read by closed types, and a wrong one is an
error of the sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from keyless.host.errors import SandboxError, SandboxFileError
from keyless.host.outputs import Message, mapping
from keyless.magics.results import ExecResult
from keyless.protocol.errors import CommandCancelled, CommandTimeout, error_for
from keyless.protocol.messages import WrittenFile

__all__ = ["Completed", "completed", "expression", "secured", "value_of"]

_MIME = "application/vnd.keyless.answer+json"
_MODULE = "keyless.magics.host_cells"


@dataclass(frozen=True)
class Completed:
    """A plain command's end.

    Attributes:
        exit_code: its exit status; ``None`` where it was ended at its time limit.
        stdout: its output, the first 32 Mi characters.
        stderr: its error output, likewise.
        duration: seconds.
        truncated: there was more output.
    """

    exit_code: int | None
    stdout: str
    stderr: str
    duration: float
    truncated: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ended with exit code 0."""
        return self.exit_code == 0


class _Secured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An :class:`ExecResult`, as it travels."""

    tool: str
    argv: tuple[str, ...]
    exit_code: int | None
    stdout: str = ""
    stderr: str = ""
    duration: float = 0.0
    redactions: dict[str, int] = {}
    record_id: str = ""
    files: tuple[WrittenFile, ...] = ()
    notes: tuple[str, ...] = ()
    truncated: bool = False


class _Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: Any = None
    error: str = ""
    message: str = ""
    record_id: str = ""


def expression(operation: str, parameters: Mapping[str, Any]) -> str:
    """The expression that asks a kernel."""
    text = json.dumps(parameters)
    return f"__import__({_MODULE!r}, fromlist=['answer']).answer({operation!r}, {text!r})"


def value_of(reply: Message | None, name: str) -> Any:
    """The value of an expression in an ``execute_reply``.

    Args:
        reply: the message; ``None`` where there was none.
        name: of the expression.

    Raises:
        ExecError: what the operation raised in the kernel.
        SandboxFileError: a file or program there can't be used.
        SandboxError: no answer that makes sense.
    """
    content = mapping(reply.get("content")) if reply is not None else {}
    found = mapping(mapping(content.get("user_expressions")).get(name))
    if found.get("ename") == "KeyboardInterrupt":
        raise CommandCancelled("the command was interrupted")
    try:
        answer = msgspec.convert(mapping(found.get("data"))[_MIME], _Answer)
    except (KeyError, msgspec.ValidationError) as error:
        said = str(found.get("evalue") or error)[:300]
        raise SandboxError(f"the kernel gave no usable answer ({said})") from None
    if not answer.error:
        return answer.value
    if answer.error == "OSError":
        raise SandboxFileError(answer.message)
    result: Any = None
    if answer.value is not None:
        plain = "tool" not in mapping(answer.value)
        result = completed(answer.value) if plain else secured(answer.value)
    kind = CommandTimeout.__name__ if isinstance(result, Completed) else answer.error
    raise error_for(kind, answer.message, record_id=answer.record_id, result=result)


def completed(value: object) -> Completed:
    """A plain command's result.

    Raises:
        SandboxError: it is none.
    """
    try:
        return msgspec.convert(value, Completed)
    except msgspec.ValidationError as error:
        raise SandboxError(f"the kernel gave no usable answer ({error})") from None


def secured(value: object) -> ExecResult:
    """A secured command's result.

    Raises:
        SandboxError: it is none.
    """
    try:
        found = msgspec.convert(value, _Secured)
    except msgspec.ValidationError as error:
        raise SandboxError(f"the kernel gave no usable answer ({error})") from None
    return ExecResult(**msgspec.structs.asdict(found))
