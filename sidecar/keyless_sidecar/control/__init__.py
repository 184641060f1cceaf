"""The control API: what a person, a host or a command line may ask of a running sidecar.

HTTP over a unix socket outside of every sandbox; `docs/control-api.md` describes it.  What answers
requests is loaded when somebody connects for the first time.
"""

from __future__ import annotations

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

    def open(
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
        """Make socket and token, and serve.

        Args:
            most: commands under way at once.
            notebook: path of the notebook, empty where it isn't known.

        Raises:
            ControlUnavailable: that can't be done.
        """
        if not self._folder:
            return
        api: ControlApi | None = None

        async def router(request: Request) -> Answer | Stream:
            nonlocal api
            if api is None:
                from keyless_sidecar.control.api import ControlApi
                from keyless_sidecar.control.executor import Executor

                self._executor = Executor(runner, keeper, most)
                api = ControlApi(
                    approvals=approvals,
                    events=events,
                    news=news,
                    keeper=keeper,
                    executor=self._executor,
                    reporter=reporter,
                    audit=audit,
                    notebook=notebook,
                )
            return await api(request)

        self._events = events
        self._server = ControlServer(self._folder, router)
        self._server.start()

    async def close(self) -> None:
        """End what runs for it, and every connection."""
        if self._server is None:
            return
        if self._events is not None:
            self._events.close()
        if self._executor is not None:
            await self._executor.close()
        await self._server.close()
