"""``--out``: the variable that a magic leaves its result in, as it is or as a DataFrame.

``--out NAME`` binds the result.  ``--out NAME:df`` binds a ``pandas.DataFrame`` of its rows, and
``--out df`` is short for ``--out df:df``, since nobody gives that name to anything else.
"""

from __future__ import annotations

import keyword
from collections.abc import MutableMapping
from typing import Any

from keyless.magics.rendering import one_line
from keyless.magics.tabular import need_pandas
from keyless.protocol.errors import ExecError, InvalidRequest

__all__ = ["bind", "check_frame", "read_out", "variable"]

_FRAME = "df"


def read_out(value: str) -> tuple[str, bool]:
    """The variable's name, and whether it is to hold a DataFrame.

    Raises:
        InvalidRequest: no name of a variable, or an unknown form.
    """
    name, colon, form = value.partition(":")
    if colon and form != _FRAME:
        raise InvalidRequest(
            f"--out takes NAME, or NAME:df for a pandas DataFrame, not {one_line(value, 80)!r}"
        )
    return variable("--out", name), bool(colon) or name == _FRAME


def variable(option: str, value: str) -> str:
    """``value``, if a variable can be called so.

    Raises:
        InvalidRequest: it can't.
    """
    if not value.isidentifier() or keyword.iskeyword(value):
        raise InvalidRequest(f"{option} takes the name of a variable, not {value!r}")
    return value


def check_frame(commands: int = 1) -> None:
    """Whether there can be a DataFrame; asked before anything runs.

    Raises:
        InvalidRequest: there are several commands, or pandas isn't there.
    """
    if commands > 1:
        raise InvalidRequest(
            "several commands have several results: use --out NAME, then NAME[0].df()"
        )
    need_pandas()


def bind(names: MutableMapping[str, Any], name: str, result: Any, *, frame: bool) -> None:
    """Put a result that came well into a variable.

    Args:
        names: of the cell.
        name: the variable; empty for none.
        result: an ``ExecResult`` or ``CallResult``, or a list of them.
        frame: whether to bind its rows as a DataFrame.

    Raises:
        InvalidRequest: there are no rows in it.  The variable holds the result then.
    """
    if not name:
        return
    names[name] = result
    if not frame or result.dry_run:
        return
    try:
        names[name] = result.df()
    except ExecError as error:
        raise InvalidRequest(
            f"it ran, and {name} holds its result; a DataFrame can't be made of it: {error}",
            record_id=result.record_id,
            result=result,
        ) from None
