"""What some servers let a request say instead of its own method or path.  Pure.

Policy decides on the method and path of a request, so those who send it on (`tokens`, `aws.parts`)
ask here first.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote_plus

__all__ = ["override"]

_NAMES = frozenset(
    {
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-method",
        "x-original-url",
        "x-rewrite-url",
    }
)
#: The same as parameters of the query, where frameworks look for them.
_PARAMETERS = _NAMES | {"-method"}


def override(headers: Sequence[tuple[str, str]], target: str) -> str:
    """The header or query parameter that would change a request's method or path.

    Args:
        headers: as sent.
        target: in origin form, as sent.

    Returns:
        Its name as sent, safe in a sentence; empty where there is none.
    """
    for name, _ in headers:
        if _plain(name) in _NAMES:
            return name
    for pair in target.partition("?")[2].replace(";", "&").split("&"):
        name = unquote_plus(pair.partition("=")[0]).strip()
        if _plain(name) in _PARAMETERS:
            return name
    return ""


def _plain(name: str) -> str:
    """As servers compare names: without case, and some read an underscore as a hyphen."""
    return name.lower().replace("_", "-")
