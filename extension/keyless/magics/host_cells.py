"""What the host API asks of a kernel, where it has no better way: commands, files, variables.

``keyless.host`` evaluates :func:`answer` beside a cell and reads the value from the execution's
reply.  This runs in the sandbox, so its answers are claims like anything else that a kernel says.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from keyless.magics.checks import WORKSPACE
from keyless.magics.function_api import secure_exec
from keyless.magics.results import ExecResult
from keyless.protocol.errors import CommandTimeout, ExecError, InvalidRequest

__all__ = ["MIME", "Answer", "answer"]

#: How the host finds the value in the reply.
MIME = "application/vnd.keyless.answer+json"
#: Most characters of each stream of a plain command that are kept.
_KEPT = 32 * 1024 * 1024


class Answer:
    """A value for the host; in a notebook it would show as one dull line."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "an answer for the host"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {MIME: self._value}


def answer(operation: str, parameters: str) -> Answer:
    """Do one thing for the host.

    Args:
        operation: a name of the table below.
        parameters: its keywords, as JSON.

    Returns:
        ``{"value": ...}``, or ``{"error": kind, "message": ..., "record_id": ..., "value": ...}``.
    """
    try:
        return Answer({"value": _OPERATIONS[operation](**json.loads(parameters))})
    except ExecError as error:
        return Answer(
            {
                "error": type(error).__name__,
                "message": str(error),
                "record_id": error.record_id,
                "value": _shown(error.result),
            }
        )
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        return Answer({"error": "OSError", "message": f"{name}{error.strerror or error}"})


def _secure(
    tool: str, argv: list[str], *, stdin: str | None, stream: bool, **options: Any
) -> dict[str, Any]:
    return _plain(
        secure_exec(
            tool,
            argv,
            stdin=None if stdin is None else base64.b64decode(stdin),
            raise_error=False,
            quiet=not stream,
            **options,
        )
    )


def _call(service: str, operation: str, parameters: dict[str, Any]) -> Any:
    from keyless.magics.call_function import secure_call

    result = secure_call(service, operation, **parameters)
    answer = result.selected if result.queried else dict(result)
    return json.loads(json.dumps(answer, default=_as_text))


def _as_text(value: object) -> str:
    """What JSON has no form for: times in ISO 8601, bytes in base64."""
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _shown(result: object) -> dict[str, Any] | None:
    """The result that an error carries, where the host has a form for it."""
    if isinstance(result, ExecResult):
        return _plain(result)
    return result if type(result) is dict else None


def _plain(result: ExecResult) -> dict[str, Any]:
    return {
        "tool": result.tool,
        "argv": list(result.argv),
        "exit_code": result.exit_code,
        "stdout": result.stdout,
        "stderr": result.stderr,
        "duration": result.duration,
        "redactions": dict(result.redactions),
        "record_id": result.record_id,
        "files": [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in result.files],
        "notes": list(result.notes),
        "truncated": result.truncated,
    }


def _run(
    command: str | list[str],
    cwd: str,
    timeout: float | None,
    stdin: str | None,
    environment: dict[str, str],
) -> dict[str, Any]:
    argv = ["/bin/sh", "-c", command] if isinstance(command, str) else command
    if not argv:
        raise InvalidRequest("the command is empty")
    began = time.monotonic()
    with subprocess.Popen(
        argv,
        cwd=_path(cwd) if cwd else None,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        data, late = None if stdin is None else base64.b64decode(stdin), False
        try:
            out, err = process.communicate(data, timeout)
        except subprocess.TimeoutExpired:
            _kill(process.pid)
            out, err = process.communicate()
            late = True
        except BaseException:  # an interrupt: nothing of the command stays
            _kill(process.pid)
            raise
    texts = [each.decode(errors="replace") for each in (out, err)]
    value = {
        "exit_code": None if late else process.returncode,
        "stdout": texts[0][:_KEPT],
        "stderr": texts[1][:_KEPT],
        "duration": time.monotonic() - began,
        "truncated": any(len(text) > _KEPT for text in texts),
    }
    if late:
        raise CommandTimeout(f"the command was ended after {timeout:g} seconds", result=value)
    return value


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has just ended


def _write(path: str, data: str, token: str, offset: int, last: bool) -> None:
    """One piece of a file; it gets its name with the last one."""
    target = _path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{token}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (0 if offset else os.O_EXCL)
    descriptor = os.open(part, flags, 0o644)
    try:
        with open(descriptor, "wb") as file:
            file.seek(offset)
            file.write(base64.b64decode(data))
        if last:
            part.rename(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _discard(path: str, token: str) -> None:
    _path(path).with_name(f".{token}.part").unlink(missing_ok=True)


def _read(path: str, offset: int, size: int) -> dict[str, Any]:
    with _path(path).open("rb") as file:
        whole = os.fstat(file.fileno()).st_size
        file.seek(offset)
        return {"data": base64.b64encode(file.read(size)).decode(), "size": whole}


def _list(path: str) -> list[dict[str, Any]]:
    found = []
    for entry in sorted(os.scandir(_path(path)), key=lambda entry: entry.name):
        info = entry.stat(follow_symlinks=False)
        kind = "link" if entry.is_symlink() else "folder" if entry.is_dir() else "file"
        found.append({"name": entry.name, "kind": kind, "size": info.st_size})
    return found


def _environment(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _path(path: str) -> Path:
    """A path as the host means it: relative to the workspace."""
    return Path(WORKSPACE, path)


def _token() -> str:
    return secrets.token_hex(8)


_OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "secure": _secure,
    "call": _call,
    "run": _run,
    "write": _write,
    "discard": _discard,
    "read": _read,
    "list": _list,
    "environment": _environment,
    "token": _token,
}
