"""What a request must look like before it is sent: one sentence for each mistake.

The sidecar checks all of it again; this is here for a clear and early answer.  Pure.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from keyless.magics.words import check_characters
from keyless.protocol.errors import InvalidRequest
from keyless.protocol.messages import (
    MAX_ARGV_BYTES,
    MAX_STDIN_BYTES,
    MAX_STDIN_CHUNK,
    MAX_TIMEOUT,
    CellInfo,
    Exec,
    Stdin,
    Terminal,
)

__all__ = ["Command", "checked", "workspace_folder"]

#: Where the workspace is in the sandbox, for the kernel and for each tool alike.
WORKSPACE = os.environ.get("KEYLESS_WORKSPACE", "/workspace")

_MAX_NAME = 128
_MAX_CREDENTIALS = 16
_MAX_ARGUMENTS = 16384
_MAX_FOLDER = 4096


@dataclass(frozen=True)
class Command:
    """One command as it will be asked for.

    Args:
        tool: a declared tool's name.
        argv: its arguments, without the tool itself.
        credentials: names of vault entries; ``None`` means those that the tool is bound to.
        timeout: seconds; ``None`` means the tool's default.
        isolated: whether it gets a sandbox of its own.
        cwd: folder relative to the workspace.
        stdin: its standard input; ``None`` means an empty one.
        dry_run: only ask whether it would be allowed.
        terminal: which it gets in place of its streams; ``None`` means none.
        cell: which cell asks, for the audit.
    """

    tool: str
    argv: tuple[str, ...]
    credentials: tuple[str, ...] | None = None
    timeout: float | None = None
    isolated: bool = True
    cwd: str = ""
    stdin: bytes | None = field(default=None, repr=False)
    dry_run: bool = False
    terminal: Terminal | None = None
    cell: CellInfo = field(default_factory=CellInfo)

    def messages(self, request_id: int) -> Iterator[Exec | Stdin]:
        """The ``Exec`` message and the ``Stdin`` messages that follow it."""
        credentials = self.credentials
        yield Exec(
            id=request_id,
            tool=_text(self.tool),
            argv=[_text(word) for word in self.argv],
            credentials=None if credentials is None else [_text(name) for name in credentials],
            timeout=None if self.timeout is None else float(self.timeout),
            isolated=self.isolated,
            cwd=_text(self.cwd),
            stdin_size=None if self.stdin is None else len(self.stdin),
            dry_run=self.dry_run,
            terminal=self.terminal,
            cell=self.cell,
        )
        for start in range(0, len(self.stdin or b""), MAX_STDIN_CHUNK):
            yield Stdin(id=request_id, data=(self.stdin or b"")[start : start + MAX_STDIN_CHUNK])


def checked(command: Command) -> Command:
    """``command``, if it makes sense.

    Raises:
        InvalidRequest: a name, argument, timeout, folder or input that can't be right.
    """
    _check_name("the tool", command.tool)
    if len(command.argv) > _MAX_ARGUMENTS:
        raise InvalidRequest(
            f"{len(command.argv)} arguments are too many (limit {_MAX_ARGUMENTS}); "
            "split the work into several commands"
        )
    check_characters(command.argv, f"an argument for {command.tool}")
    size = sum(len(word.encode()) for word in command.argv)
    if size > MAX_ARGV_BYTES:
        raise InvalidRequest(
            f"the arguments hold {size} bytes (limit {MAX_ARGV_BYTES}); put the data in a "
            "workspace file and name it (file://NAME), or pass it as standard input"
        )
    if command.credentials is not None:
        if len(command.credentials) > _MAX_CREDENTIALS:
            raise InvalidRequest(f"at most {_MAX_CREDENTIALS} credentials for one command")
        for name in command.credentials:
            _check_name("a credential", name)
    _check_timeout(command.timeout)
    check_characters((command.cwd,), "the folder")
    if len(command.cwd) > _MAX_FOLDER:
        raise InvalidRequest(f"the folder's name is too long (limit {_MAX_FOLDER} characters)")
    if command.stdin is not None and len(command.stdin) > MAX_STDIN_BYTES:
        raise InvalidRequest(
            f"the standard input holds {len(command.stdin)} bytes (limit {MAX_STDIN_BYTES}); "
            "put the data in a workspace file and name it"
        )
    if command.terminal is not None and command.stdin is not None:
        raise InvalidRequest(
            "the standard input is given beforehand (--stdin) or typed (--interactive), not both"
        )
    return command


def input_bytes(value: object, what: str) -> bytes | None:
    """``value`` as standard input.

    Raises:
        InvalidRequest: it is neither text nor bytes, or text with lone surrogates.
    """
    if value is None:
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str):
        raise InvalidRequest(f"{what} must be text or bytes, not {type(value).__name__}")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{what} holds text that UTF-8 can't; pass bytes") from None


def argument_list(args: Iterable[object]) -> tuple[str, ...]:
    """``args`` as words; numbers and paths become text.

    Raises:
        InvalidRequest: an argument that has no plain text form.
    """
    words: list[str] = []
    for value in args:
        if hasattr(value, "__fspath__"):
            value = value.__fspath__()
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise InvalidRequest(
                f"arguments are text, not {type(value).__name__}: convert {str(value)[:40]!r}"
            )
        words.append(value)
    return tuple(words)


def workspace_folder(cwd: str, here: str) -> str:
    """The folder to run in, relative to the workspace (empty: the workspace itself).

    Args:
        cwd: what the user asked for; empty means where the kernel is now.
        here: the kernel's current folder, empty if unknown.

    Raises:
        InvalidRequest: ``cwd`` is no text.
    """
    if not isinstance(cwd, str):
        raise InvalidRequest(f"the folder is text, not {type(cwd).__name__}")
    if not cwd:
        cwd = here if here.startswith(WORKSPACE + "/") else ""
    if cwd == WORKSPACE or cwd.startswith(WORKSPACE + "/"):
        cwd = cwd[len(WORKSPACE) :].lstrip("/")
    return "" if posixpath.normpath(cwd) == "." else cwd


def _text(value: str) -> str:
    """An exact ``str``, as the encoder wants it, where NumPy or an enumeration gave a subclass."""
    return str.__str__(value)


def _check_name(what: str, name: str) -> None:
    if not isinstance(name, str):
        raise InvalidRequest(f"the name of {what} is text, not {type(name).__name__}")
    if not 0 < len(name) <= _MAX_NAME:
        raise InvalidRequest(f"the name of {what} must have 1 to {_MAX_NAME} characters")
    check_characters((name,), f"the name of {what}")


def _check_timeout(timeout: float | None) -> None:
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise InvalidRequest(f"the timeout is a number of seconds, not {timeout!r}")
    if not 0 < timeout <= MAX_TIMEOUT:  # not a number is out of range too
        raise InvalidRequest(
            f"the timeout must be more than 0 and at most {MAX_TIMEOUT:.0f} seconds"
        )
