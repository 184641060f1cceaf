"""How a server may read a request's path.  Pure; `tokens` asks it before it decides.

Servers differ: some decode ``%2F`` before they route, some collapse ``//``.  `readings` gives every
reading that counts, and each must be allowed; a path with dot segments, or one that a server may
decode twice, is refused.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

__all__ = ["AmbiguousPath", "readings", "under"]

_PATH = re.compile(r"/[\x21-\x7e]*")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TWICE = re.compile(r"%25[0-9A-Fa-f]{2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class AmbiguousPath(ValueError):
    """A path that two servers could read differently; the message is one sentence."""


def readings(target: str) -> tuple[str, ...]:
    """The decoded paths that a target in origin form may mean.

    The first one keeps encoded slashes (as ``%2F``) and empty segments; the second, where it
    differs, has them as servers see it that decode and collapse.

    Raises:
        AmbiguousPath: dot segments, backslashes, control characters, broken or double encoding.
    """
    path = target.partition("?")[0]
    if not _PATH.fullmatch(path) or "#" in path:
        raise AmbiguousPath("the path has characters that must be percent-encoded")
    if _ESCAPE.search(path):
        raise AmbiguousPath("the path has a broken percent-encoding")
    if _TWICE.search(path):
        raise AmbiguousPath("the path is percent-encoded twice")
    try:
        whole = unquote(path, errors="strict")
        kept = unquote(re.sub("%2[Ff]", "%252F", path), errors="strict")
    except UnicodeDecodeError:
        raise AmbiguousPath("the path is not UTF-8") from None
    if "\\" in whole or _CONTROL.search(whole):
        raise AmbiguousPath("the path has a backslash or a control character")
    # Some servers take what follows a semicolon off before they look for dots.
    if any(segment.partition(";")[0] in (".", "..") for segment in whole.split("/")):
        raise AmbiguousPath("the path has . or .. segments")
    collapsed = re.sub("/{2,}", "/", whole)
    return (kept,) if kept == collapsed else (kept, collapsed)


def under(path: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a path is one of the prefixes, or below one (whole segments count)."""
    return any(
        path == prefix or path.startswith(prefix if prefix.endswith("/") else prefix + "/")
        for prefix in prefixes
    )
