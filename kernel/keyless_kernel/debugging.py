"""Puts off loading debugpy until somebody debugs: it is a fifth of what ipykernel loads.

ipykernel imports its module ``ipykernel.debugger``, and debugpy with it, in every kernel.
:func:`defer` puts a stand-in for that module in place before.  It says whether there is a debugger,
and makes the real one at the first request that is for it.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import socket
import sys
from types import ModuleType
from typing import Any

_NAME = "ipykernel.debugger"


class DeferredDebugger:
    """Stands for ``ipykernel.debugger.Debugger`` until it is asked for anything.

    Args:
        arguments: for the real one.
    """

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self._real: Any = None
        self._made: asyncio.Event = asyncio.Event()

    async def process_request(self, message: dict[str, Any]) -> Any:
        """A front end's request; the first one loads the debugger."""
        return await self._get().process_request(message)

    async def handle_stopped_event(self) -> None:
        """Pass on that a thread has stopped.  None has, as long as there is no debugger."""
        await self._made.wait()
        await self._real.handle_stopped_event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get(), name)

    def _get(self) -> Any:
        if self._real is None:
            self._real = _load().Debugger(*self._arguments)
            self._made.set()
        return self._real


class _StandIn(ModuleType):
    """``ipykernel.debugger`` as far as a kernel that nobody debugs needs it."""

    Debugger = DeferredDebugger

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_load(), name)


def defer() -> None:
    """Put the stand-in in place, where the real module isn't loaded yet."""
    if _NAME not in sys.modules:
        module = _StandIn(_NAME)
        module.__dict__["_is_debugpy_available"] = _available()
        sys.modules[_NAME] = module


def _available() -> bool:
    """Whether debugpy is there, and may have the loopback sockets that it lives by."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return importlib.util.find_spec("debugpy") is not None


def _load() -> Any:
    """The real module, from now on under its own name."""
    if isinstance(sys.modules.get(_NAME), _StandIn):
        del sys.modules[_NAME]
    return importlib.import_module(_NAME)


__all__ = ["DeferredDebugger", "defer"]
