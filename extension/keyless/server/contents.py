"""The server's contents manager, whatever its class, with Keyless' two checks before it.

Subclasses made at the start instead of hooks: a hook blocks the server while it looks, and is run
for some ways of saving only.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Any

from jupyter_server.services.contents.manager import AsyncContentsManager
from tornado import web
from traitlets import default

from keyless.server.hygiene import Cleaner

__all__ = ["GUARDED", "guarded"]

#: Attribute by which such a manager is known.
GUARDED = "keyless_guarded"

#: Says of a path why it may not be used; empty where it may.
Check = Callable[[str, str], str]


def guarded(kind: type[Any], check: Check, cleaner: Cleaner) -> type[Any]:
    """A subclass that saves clean notebooks, and only files that may be used.

    Args:
        kind: a contents manager's class.
        check: see :data:`Check`; takes path and the manager's folder.
        cleaner: looks through notebooks.
    """
    bases: tuple[type[Any], ...] = (
        _saving(cleaner, asynchronous=issubclass(kind, AsyncContentsManager)),
        kind,
    )
    members: dict[str, Any] = {"__module__": __name__, GUARDED: True}
    if hasattr(kind, "_get_os_path"):
        bases = (_checking(check), *bases)
        # In the class itself: traitlets finds a default there only.
        members["_keyless_checkpoints"] = default("checkpoints")(_guarded_checkpoints(check))
    return type(f"Keyless{kind.__name__}", bases, members)


class Unreachable(web.HTTPError, PermissionError):
    """A file that may not be used.  As a permission error it is left out of listings."""

    def __init__(self, why: str) -> None:
        super().__init__(404, why)
        self.errno = errno.EACCES


def _saving(cleaner: Cleaner, *, asynchronous: bool) -> type[Any]:
    class SavesClean:
        def save(self, model: dict[str, Any], path: str = "") -> Any:
            if cleaner.wanted(model, path):
                model = cleaner.clean(model, path)
            return super().save(model, path)  # type: ignore[misc]

    class SavesCleanLater:
        async def save(self, model: dict[str, Any], path: str = "") -> Any:
            if cleaner.wanted(model, path):
                model = await asyncio.to_thread(cleaner.clean, model, path)
            return await super().save(model, path)  # type: ignore[misc]

    return SavesCleanLater if asynchronous else SavesClean


def _checking(check: Check) -> type[Any]:
    """For managers that keep files in a folder."""

    class ChecksPaths:
        def _get_os_path(self, path: str) -> str:
            found: str = super()._get_os_path(path)  # type: ignore[misc]
            return _checked(check, found, str(self.root_dir))  # type: ignore[attr-defined]

    return ChecksPaths


def _guarded_checkpoints(check: Check) -> Callable[[Any], Any]:
    """Makes a manager's keeper of earlier versions."""

    def make(manager: Any) -> Any:
        kind: type[Any] = manager.checkpoints_class
        if hasattr(kind, "checkpoint_path"):
            kind = type(f"Keyless{kind.__name__}", (_checkpoints(check), kind), {})
        return kind(**manager.checkpoints_kwargs)

    return make


def _checkpoints(check: Check) -> type[Any]:
    """Checkpoints lie in a folder beside the file: it may be a link, too."""

    class ChecksPaths:
        def checkpoint_path(self, checkpoint_id: str, path: str) -> str:
            found: str = super().checkpoint_path(checkpoint_id, path)  # type: ignore[misc]
            root = str(self.root_dir)  # type: ignore[attr-defined]
            # Where the folder can't be written in, they go to the system's temporary folder.
            return _checked(check, found, root) if found.startswith(root) else found

    return ChecksPaths


def _checked(check: Check, path: str, root: str) -> str:
    refusal = check(path, root)
    if refusal:
        raise Unreachable(refusal)
    return path
