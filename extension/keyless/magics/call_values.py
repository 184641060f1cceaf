"""A call's parameters: from what a cell holds to what a message carries.  Pure.

A text that begins with ``file://`` or ``fileb://`` names a workspace file, as with the AWS CLI; so
does a :class:`pathlib.Path`.  The sidecar reads it.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from keyless.protocol.calls import MAX_NESTING, MAX_PARAMETERS, file_reference
from keyless.protocol.errors import InvalidRequest

__all__ = ["coded", "read_parameters"]

_SCHEMES = (("fileb://", False), ("file://", True))


def read_parameters(text: str, names: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The parameters in a cell's body.

    Args:
        text: a JSON object or a Python dictionary; nothing at all means no parameters.
        names: of the cell, which a dictionary may use; None allows literals only.

    Raises:
        InvalidRequest: it is neither.
    """
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _python(text.strip(), names)
    if not isinstance(found, Mapping):
        raise InvalidRequest(
            "parameters are a JSON object or a Python dictionary, such as "
            '{"FunctionName": "orders"}'
        )
    return dict(found)


def _python(text: str, names: Mapping[str, Any] | None) -> Any:
    try:
        if names is None:
            return ast.literal_eval(text)
        # The cell's own text with the cell's own names: what the cell could do anyway.
        return eval(compile(text, "<parameters>", "eval"), dict(names))  # noqa: S307
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f" (line {line}: {getattr(error, 'msg', '')})" if line else ""
        raise InvalidRequest(
            f"the parameters are neither JSON nor a Python dictionary{where}"
        ) from None
    except NameError as error:
        raise InvalidRequest(f"in the parameters, {error}") from None


def coded(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as a message carries them.

    Raises:
        InvalidRequest: a value of a kind that can't be sent, or too much of it.
    """
    found = {_name(name, "parameters"): _coded(value, str(name), 1) for name, value in
             parameters.items()}  # fmt: skip
    try:
        size = len(msgspec.msgpack.encode(found))
    except (OverflowError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"the parameters can't be sent: {error}") from None
    if size > MAX_PARAMETERS:
        raise InvalidRequest(
            f"the parameters hold {size} bytes (limit {MAX_PARAMETERS}); write the large one into "
            "a workspace file and pass fileb://NAME"
        )
    return found


def _coded(value: Any, place: str, depth: int) -> Any:
    if depth > MAX_NESTING:
        raise InvalidRequest(f"{place[:80]} is nested deeper than {MAX_NESTING} levels")
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(str.__str__(value), place)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.astimezone()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return _reference(os.fspath(value), False, place)
    if isinstance(value, Mapping):
        return {
            _name(name, place): _coded(each, f"{place}.{name}", depth + 1)
            for name, each in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_coded(each, f"{place}[{n}]", depth + 1) for n, each in enumerate(value)]
    return _other(value, place, depth)


def _other(value: Any, place: str, depth: int) -> Any:
    """Numbers and arrays of other libraries, which know how to become Python's own."""
    for way in ("tolist", "item"):
        convert = getattr(value, way, None)
        if callable(convert):
            plain = convert()
            if type(plain) is not type(value):
                return _coded(plain, place, depth + 1)
    hint = "; name the file: fileb://NAME" if hasattr(value, "read") else ""
    raise InvalidRequest(f"{place[:80]} can't be sent: it is of type {type(value).__name__}{hint}")


def _text(value: str, place: str) -> Any:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{place[:80]} holds text that UTF-8 can't; pass bytes") from None
    for scheme, text in _SCHEMES:
        if value.startswith(scheme):
            return _reference(value.removeprefix(scheme), text, place)
    return value


def _reference(path: str | bytes, text: bool, place: str) -> Any:
    if not isinstance(path, str) or not path:
        raise InvalidRequest(f"{place[:80]} names no file: write fileb://NAME")
    return file_reference(path, text=text)


def _name(name: object, place: str) -> str:
    if not isinstance(name, str):
        raise InvalidRequest(f"the names in {place[:80]} must be texts, not {type(name).__name__}")
    return str.__str__(name)
