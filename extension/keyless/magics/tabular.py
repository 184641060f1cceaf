"""Finds the rows in an answer: what can be shown as a table, and become a DataFrame.  Pure.

An answer is tabular where it is a list of objects, or an object with one such list, as the answers
of AWS are: ``{"Functions": [{...}, {...}], "NextToken": ...}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from keyless.magics.rendering import one_line
from keyless.protocol.errors import InvalidRequest

__all__ = ["Row", "frame_of", "is_flat", "need_pandas", "rows_of"]

Row = Mapping[str, Any]

#: What boto3 puts beside an answer.
_BESIDE = "ResponseMetadata"
_NAMES = 8


def rows_of(value: object, member: str = "") -> list[dict[str, Any]]:
    """The rows of an answer; objects in a row become columns such as ``State.Name``.

    Only one level is taken apart: what is nested deeper stays a value of its cell.

    Args:
        value: what an answer held, read from JSON.
        member: which list is meant, where an object holds several.

    Raises:
        InvalidRequest: the answer isn't tabular; the message says what it is.
    """
    return [_flat(row) for row in _records(value, member)]


def is_flat(value: object) -> bool:
    """Whether a list holds objects with plain values only: a table says more of it than a tree."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, Mapping) and row and _plain(row.values()) for row in value)
    )


def need_pandas() -> None:
    """Look for pandas before something runs whose answer it is to hold.

    Raises:
        InvalidRequest: it isn't there.
    """
    if find_spec("pandas") is None:
        raise InvalidRequest(
            "pandas isn't installed beside the kernel, so there are no DataFrames: "
            "pip install 'keyless[pandas]', and restart the kernel"
        )


def frame_of(value: object, member: str = "") -> Any:
    """A ``pandas.DataFrame`` of an answer's rows; see :func:`rows_of`.

    Raises:
        InvalidRequest: the answer isn't tabular, or pandas isn't there.
    """
    need_pandas()
    rows = rows_of(value, member)
    import pandas  # late: it takes a second, and most cells have no use for it

    return pandas.DataFrame(rows)


def _records(value: object, member: str) -> Sequence[Row]:
    if isinstance(value, Mapping):
        member = member or _only_list(value)
        if member not in value:
            raise InvalidRequest(f"the answer has no {_name(member)}; it has {_names(value)}")
        value = value[member]
    elif member:
        raise InvalidRequest(f"the answer is no object, so it has no {_name(member)}")
    if not isinstance(value, list | tuple):
        raise InvalidRequest(f"the answer isn't tabular: it is {_kind(value)}, not a list")
    if all(isinstance(row, Mapping) for row in value):
        return value
    if _plain(value):
        return [{member or "value": each} for each in value]
    raise InvalidRequest(
        "the answer isn't tabular: its list holds other things than objects; select some, "
        "such as with --query 'Functions[].{name: FunctionName, memory: MemorySize}'"
    )


def _only_list(value: Row) -> str:
    """The one member that is a list; of several, the one that holds objects."""
    lists = [name for name, each in value.items() if isinstance(each, list) and name != _BESIDE]
    of_objects = [name for name in lists if any(isinstance(row, Mapping) for row in value[name])]
    found = of_objects if of_objects else lists
    if len(found) == 1:
        return found[0]
    if not found:
        raise InvalidRequest(
            f"the answer isn't tabular: it is an object without a list (it has {_names(value)})"
        )
    raise InvalidRequest(
        f"the answer holds several lists ({', '.join(map(_name, found[:_NAMES]))}): "
        f"name one, such as .df({found[0][:60]!r}), or select one with --query"
    )


def _flat(row: Row) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping) and value:
            columns |= {f"{name}.{inner}": each for inner, each in value.items()}
        else:
            columns[str(name)] = value
    return columns


def _plain(values: Any) -> bool:
    return not any(isinstance(value, Mapping | list | tuple) for value in values)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    return {str: "a text", int: "a number", float: "a number"}.get(type(value), "one value")


def _names(value: Row) -> str:
    names = [_name(name) for name in value if name != _BESIDE]
    more = ", …" if len(names) > _NAMES else ""
    return (", ".join(names[:_NAMES]) or "nothing") + more


def _name(name: object) -> str:
    return one_line(str(name), 60)
