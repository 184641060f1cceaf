"""The control API: what a person, a host or a command line may ask of a running sidecar.

HTTP over a unix socket outside of every sandbox; `docs/control-api.md` describes it.  What answers
requests is loaded when somebody connects for the first time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from keyless_sidecar.control.requests import Answer, Request, Stream
from keyless_sidecar.control.server import ControlServer

if TYPE_CHECKING:
    from keyless_sidecar.approvals import Approvals
    from keyless_sidecar.audit import AuditLog
    from keyless_sidecar.control.api import ControlApi
    from keyless_sidecar.control.executor import Executor
    from keyless_sidecar.events import Events
    from keyless_sidecar.execution.news import News
    from keyless_sidecar.execution.runner import Runner
    from keyless_sidecar.keeper import Keeper
    from keyless_sidecar.status import StatusReporter

__all__ = ["Control"]


class Control:
    """The control API of one sidecar.  Owned by the event loop's thread.

    Args:
        folder: private folder for socket and token; empty: there is no control API.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._server: ControlServer | None = None
        self._executor: Executor | None = None
        self._events: Events | None = None
        self._make: Callable[[], ControlApi] | None = None
        self._api: ControlApi | None = None
        self._served = asyncio.Event()

    def open(self) -> None:
        """Make socket and token; whoever connects is answered as soon as there is what serves.

        Raises:
            ControlUnavailable: that can't be done.
        """
        if self._folder:
            self._server = ControlServer(self._folder, self._route)
            self._server.start()

    def serve(
        self,
        *,
        approvals: Approvals,
        events: Events,
        news: News,
        keeper: Keeper,
        runner: Runner,
        reporter: StatusReporter,
        audit: AuditLog,
        most: int,
        notebook: str,
    ) -> None:
        """Answer from now on.

        Args:
            most: commands under way at once.
            notebook: path of the notebook, empty where it isn't known.
        """

        def make() -> ControlApi:
            from keyless_sidecar.control.api import ControlApi
            from keyless_sidecar.control.executor import Executor

            self._executor = Executor(runner, keeper, most)
            return ControlApi(
                approvals=approvals,
                events=events,
                news=news,
                keeper=keeper,
                executor=self._executor,
                reporter=reporter,
                audit=audit,
                notebook=notebook,
            )

        self._events = events
        self._make = make
        self._served.set()

    async def _route(self, request: Request) -> Answer | Stream:
        await self._served.wait()
        if self._api is None and self._make is not None:
            self._api = self._make()
        if self._api is None:
            raise RuntimeError("nothing serves this socket")
        return await self._api(request)

    async def close(self) -> None:
        """End what runs for it, and every connection."""
        if self._server is None:
            return
        if self._events is not None:
            self._events.close()
        if self._executor is not None:
            await self._executor.close()
        await self._server.close()
